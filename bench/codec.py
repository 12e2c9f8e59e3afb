"""How fast the trained codecs decode 64 x 64 frames, on one thread, whatever their weights.

    python bench/codec.py

Rollouts call a decoder with a frame at a time: three streams, one latent a call, the state handed on.
"""

from __future__ import annotations

from time import perf_counter

import torch

from unspool.codec import CodecOptions

STREAMS, CALLS = 3, 40


@torch.no_grad()
def frames_a_second(options: CodecOptions) -> float:
    """The fastest of three runs."""
    codec, best = options.build().eval(), 0.0
    for _ in range(3):
        latents, shown, state = torch.randn(STREAMS, CALLS, options.channels, 8, 8), 0, {}  # type: ignore[var-annotated]
        begun = perf_counter()
        for t in range(CALLS):
            video, state = codec.decode(latents[:, t : t + 1], state)
            shown += video.shape[0] * video.shape[1]
        best = max(best, shown / (perf_counter() - begun))
    return best


if __name__ == "__main__":
    torch.set_num_threads(1)
    for kind in ("frames", "causal"):
        for width in (32, 48, 64):
            print(f"{kind:<8}width {width}  {frames_a_second(CodecOptions(kind, width=width)):6.0f} frames/s")  # type: ignore[arg-type]
