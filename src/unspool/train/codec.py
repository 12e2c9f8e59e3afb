"""How a codec is trained: on pixels that go in and come out again, by the loop that trains models too."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast, final

import numpy as np
import torch
from torch import Tensor

from unspool import flops, store
from unspool import noise as rng
from unspool.blend import AlphaBlend, Blend
from unspool.codec import CodecOptions, Pixels, to_video
from unspool.codec.layers import STRIDE, Autoencoder
from unspool.codec.patches import check_size
from unspool.codec.trained import FORMAT
from unspool.data import ClipSource, open_source
from unspool.errors import UserError
from unspool.model.video import VideoModel
from unspool.schedule import Staircase
from unspool.solver import euler
from unspool.system import Loss, System
from unspool.train.job import Report, Where, conduct, held_out_of
from unspool.train.options import TrainOptions
from unspool.train.ranks import Ranks
from unspool.train.run import clips_for, describe
from unspool.train.trainer import Trainer
from unspool.types import Clip, Video

TRAINING = TrainOptions(steps=6000, batch=8, lr=1.5e-3)
"""What a codec is trained with unless told otherwise: at 4e-3 its figures got worse after some hundred steps, on two worlds."""


SQUARE = 3.0
"""At 1 the absolute error rules, which keeps edges sharp; at 30 the squared one, which PSNR measures."""


@dataclass(frozen=True)
class CodecJob:
    """One invocation of `train codec`. resolution: pixels of a frame's side; square: see `Reconstruction`; resume: a checkpoint
    folder; notes: what to tell the user before it begins; told: for run.json."""

    codec: CodecOptions
    train: TrainOptions
    data: str
    resolution: int
    square: float
    out: Path
    resume: Path | None = None
    notes: tuple[str, ...] = ()
    told: Mapping[str, Any] = field(default_factory=dict)

    def nested(self) -> dict[str, Any]:
        """As config.yaml holds it."""
        train = asdict(self.train)
        del train["compile"]  # no setting of a codec
        sections = {"codec": asdict(self.codec), "train": train}
        return {"data": self.data, "resolution": self.resolution, "square": self.square, **sections}


class PreparedCodec(NamedTuple):
    """A job whose settings, data and weights have proved whole, the codec begun on the data; flops: of one step; warnings: what
    to think twice about. Nothing is written yet."""

    job: CodecJob
    system: System
    data: ClipSource
    held_out: ClipSource | None
    description: dict[str, Any]
    flops: int
    warnings: tuple[str, ...] = ()


def prepare_codec(
    job: CodecJob, decoded: Callable[[int, int], None] | None = None, ranks: Ranks | None = None
) -> PreparedCodec:
    """Build and load everything. Raises UserError for what the user can mend.

    decoded(done, total): called after each video of a folder, which are decoded on their first use.
    """
    system = system_of(job.codec, job.train.seed, job.square)
    check_size((job.resolution, job.resolution), STRIDE)
    if job.resume is not None:
        Trainer(system, job.train).load(job.resume)  # weights that do not fit are refused before anything is written
    data = open_source(job.data, job.resolution, "train", decoded, pad=job.train.pad)
    description = describe(job.data, data, system, job.train.seed)
    clip = clips_for(system, data, np.arange(1, dtype=np.int64), job.train.seed)
    if clip.frames.dtype != np.uint8:
        raise UserError(f"{job.data} holds latents, not pictures; train a codec on the videos that they were made of")
    held_out = held_out_of(job.data, system, job.resolution, "test", job.train.pad, decoded)
    if job.resume is None:
        frames = data(np.arange(64, dtype=np.int64), system.frames, seed=job.train.seed).frames
        cast(Autoencoder, system.model).begin(to_video(frames))
    cost = _flops(system, to_video(clip.frames)) * job.train.effective((ranks or Ranks()).size)
    if isinstance(held_out, str):
        return PreparedCodec(job, system, data, None, description, cost, (held_out,))
    return PreparedCodec(job, system, data, held_out, description, cost)


def train_codec(prepared: PreparedCodec, report: Report | None = None, where: Where | None = None) -> Path:
    """Train; gives the run folder. Raises as `train.job.conduct` does."""
    job, system, data, held_out, description, cost, _ = prepared
    conduct(
        system, data, held_out, job.out, job.train, {"format": FORMAT, **job.nested()}, settings=job.nested(), flops=cost,
        told={**job.told, "data": description, "changes": job.notes}, resume=job.resume,
        samples=lambda path: _write_samples(system, held_out or data, path), report=report, where=where,
    )  # fmt: skip
    return job.out


def system_of(options: CodecOptions, seed: int, square: float = SQUARE) -> System:
    """A codec where the loop expects a model: it asks of one only parameters, which of them are matrices, and `controls`.

    Frames of one clip look alike, so there are two for a codec that has no use for more; a causal one learns of four groups.
    """
    torch.manual_seed(seed)
    frames = 2 if options.kind == "frames" else 1 + 4 * options.time
    model = cast(VideoModel, options.build())
    return System(model, Pixels(), AlphaBlend(), Staircase(), euler, Reconstruction(square), frames)


@final
@dataclass(frozen=True)
class Reconstruction:
    """Absolute error of the pixels, which keeps edges sharp, and `square` times its square, which is what PSNR measures and
    learns the large things first: 25.1 dB after 700 steps on `rooms`, against 23.7 without.

    `noise` on the latents in training teaches the decoder to forgive what a model will get wrong; `size` of their squares keeps
    them near a mean square of 1, which they begin with, where the noise alone would have them grow.
    """

    square: float = SQUARE
    noise: float = 0.05
    size: float = 1e-3

    def __call__(self, model: VideoModel, blend: Blend, clip: Clip, key: Tensor) -> Iterator[Loss]:
        codec = cast(Autoencoder, model)
        latents, _ = codec.encode(clip.frames, {})
        noise = self.noise * rng.normal(rng.fold(key, 1), *latents.shape[1:]) if codec.training else 0
        made, real = codec.decode(latents + noise, {})[0].float(), clip.frames
        if clip.valid is not None:
            made, real = made[clip.valid], real[clip.valid]
        error = made - real
        power = latents.float().square().mean()
        value = error.abs().mean() + self.square * error.square().mean() + self.size * power
        figures = {"psnr": psnr(made.detach(), real), "sharpness": sharpness(made.detach(), real), "power": power.detach()}
        yield Loss(value, {"loss": value.detach(), **figures})


def psnr(made: Video, real: Video) -> Tensor:
    """Decibels, over all pixels of all frames (..., 3, H, W) together; a peak is the whole range from -1 to 1."""
    return 10 * torch.log10(4 / (made.clamp(-1, 1) - real).square().mean().clamp(min=1e-10))


def sharpness(made: Video, real: Video) -> Tensor:
    """The mean size of the pixels' gradient, as a share of what it is in the real frames: 1 is as sharp as those."""
    sizes = [torch.hypot(v.diff(dim=-1)[..., :-1, :], v.diff(dim=-2)[..., :-1]).mean() for v in (made.clamp(-1, 1), real)]
    return sizes[0] / sizes[1].clamp(min=1e-6)


def _flops(system: System, video: Video) -> int:
    """Multiplications and additions of one training step on one clip, both passes, counted on shapes alone."""
    model, clip = flops.on_meta(system.model), Clip(video.to("meta"))

    def step() -> None:
        for loss in system.objective(model, system.blend, clip, torch.zeros(1, dtype=torch.int64, device="meta")):
            loss.value.backward()

    return flops.count(step).total


@torch.no_grad()
def _write_samples(system: System, source: ClipSource, path: Path, *, clips: int = 8, scale: int = 3) -> None:
    """The last frames of some held-out clips, what becomes of them below, and below that the difference, around grey."""
    from PIL import Image

    codec = cast(Autoencoder, system.model)
    real = to_video(clips_for(system, source, np.arange(clips, dtype=np.int64), 0).frames)
    made = codec.decode(codec.encode(real, {})[0], {})[0]
    rows = torch.stack([video[:, -1] for video in (real, made, made - real)])
    pixels = ((rows.clamp(-1, 1) + 1) * 127.5).round().byte().permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1).numpy()
    picture = Image.fromarray(pixels.repeat(scale, 0).repeat(scale, 1))
    store.write_aside(path, lambda aside: picture.save(aside, format="png"))
