"""Who steps the weights: Muon the matrices inside the blocks, AdamW all else; how high the learning rate stands."""

from __future__ import annotations

import torch

from unspool.model.video import VideoModel
from unspool.train.options import TrainOptions


def rate(step: int, options: TrainOptions) -> float:
    """Of the learning rate's height, as a share."""
    warm = min(1.0, (step + 1) / max(1, options.warmup))
    left = (options.steps - step) / max(1.0, options.decay * options.steps)
    return warm * min(1.0, left)


def optimizers_of(model: VideoModel, options: TrainOptions) -> list[torch.optim.Optimizer]:
    """Muon (Jordan et al. 2024) for the matrices inside the blocks, AdamW for all else; weight decay on matrices only."""
    hidden = model.hidden_matrices()
    inside = {id(p) for p in hidden}
    others = [p for p in model.parameters() if id(p) not in inside]
    groups = [
        {"params": [p for p in others if p.dim() == 2], "weight_decay": options.weight_decay},
        {"params": [p for p in others if p.dim() != 2], "weight_decay": 0.0},
    ]
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, lr=options.lr, betas=(0.9, 0.95), fused=True)]
    if hidden:  # its steps are scaled to the size of AdamW's, so that one learning rate serves both
        decay = options.weight_decay
        optimizers.append(torch.optim.Muon(hidden, lr=options.lr, weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers
