"""What metrics.jsonl says, for TensorBoard as well: `tensorboard --logdir RUN/tensorboard`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from unspool.errors import UserError


class Board(Protocol):
    """Takes the figures of a step."""

    def __call__(self, step: int, figures: Mapping[str, float]) -> None: ...


@contextmanager
def board(run: Path, step: int) -> Iterator[Board]:
    """Events below run/tensorboard. step: that the run goes on from; what was told of later ones is taken back.

    Raises UserError where tensorboardX is not installed.
    """
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise UserError("--train.tensorboard needs tensorboardX: pip install 'unspool[tensorboard]'") from None
    purge = step + 1 if step else None
    # Files are named by the second: one that goes on at once must not fall on the file it goes on from.
    with SummaryWriter(str(run / "tensorboard"), purge_step=purge, filename_suffix=f".{step}") as writer:

        def tell(step: int, figures: Mapping[str, float]) -> None:
            for name, value in figures.items():
                writer.add_scalar(name, value, step)

        yield tell
