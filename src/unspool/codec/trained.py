"""Trained codecs by name: from the run that trained one, back into a codec.

Its checkpoint is a folder of config.json, {"format": 1, "codec": {"kind": "frames", ...}, ...}, and model.safetensors.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal

from annotated_types import Interval

from unspool import store
from unspool.codec.causal import Causal
from unspool.codec.frames import Frames
from unspool.codec.layers import STRIDE
from unspool.errors import UserError
from unspool.types import Count

FORMAT = 1
SHIPPED = Path(__file__).parents[1] / "shipped"


@dataclass(frozen=True)
class CodecOptions:
    """kind: each frame for itself, or looking back in time. channels: of the latents. width: channels inside, twice as many at
    the latents' resolution. depth: blocks at each resolution. time: frames that the causal one puts into a latent."""

    kind: Literal["frames", "causal"] = "frames"
    channels: Count = 16
    width: Annotated[int, Interval(ge=2, le=1024)] = 64
    depth: Count = 2
    time: Count = 2

    def build(self) -> Frames | Causal:
        """An untrained codec. Raises UserError for more channels than a patch has numbers, of which they are components."""
        most = 3 * STRIDE**2 * (self.time if self.kind == "causal" else 1)
        if self.channels > most:
            raise UserError(f"codec.channels is 1 to {most}, the numbers of a patch of {STRIDE} pixels, not {self.channels}")
        codec: Frames | Causal
        if self.kind == "frames":
            codec = Frames(self.channels, self.width, self.depth)
        else:
            codec = Causal(self.channels, self.width, self.depth, self.time)
        codec.options = self
        return codec


def load_codec(where: str | Path) -> Frames | Causal:
    """The codec that a run trained, by its folder or that of a checkpoint; nothing of it is trained any more.

    Raises UserError when there is none, or its files are not whole.
    """
    folder = find_codec(where)
    codec = build_codec(store.read_json(folder / "config.json")["codec"], folder)
    try:
        codec.load_state_dict(store.load_tensors(folder / "model.safetensors")[0])
    except RuntimeError as error:
        raise UserError(f"{folder} holds weights of another codec than its config.json says; copy it again") from error
    return codec


def build_codec(options: Any, where: str | Path) -> Frames | Causal:
    """An empty codec by what `where` (a checkpoint, shards) says of its options; nothing of it is trained any more.

    Raises UserError for options of another version.
    """
    import pydantic

    try:
        if not isinstance(options, dict) or options.keys() != {field.name for field in fields(CodecOptions)}:
            raise ValueError
        chosen = pydantic.TypeAdapter(CodecOptions).validate_python(options)
    except ValueError as error:  # that of pydantic is one as well
        raise UserError(f"{where} has a codec of another version; train it again with this one") from error
    return chosen.build().eval().requires_grad_(False)


def is_codec(where: str | Path) -> bool:
    """Whether a folder is that of a trained codec, as far as its config.json says."""
    config = _folder(where) / "config.json"
    if not config.is_file():
        return False
    told = store.read_json(config)
    return isinstance(told, dict) and told.get("codec") is not None and "recipe" not in told


def find_codec(where: str | Path) -> Path:
    """The folder that holds config.json and model.safetensors, of a run, a checkpoint or a shipped name. Raises UserError when
    that is not a codec's."""
    folder = path = _folder(where)
    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        known = sorted(found.parent.name for found in SHIPPED.glob("codec-*/config.json"))
        raise UserError(f"{where} holds no trained codec; give the run of `unspool train codec`, or one of {', '.join(known)}")
    told = store.read_json(folder / "config.json")
    if not is_codec(path):
        raise UserError(f"{where} holds a model, not a codec; give the run of `unspool train codec`")
    if told.get("format") != FORMAT:
        raise UserError(f"{path} has format {told.get('format')}, this version reads {FORMAT}; install a newer unspool")
    return folder


def _folder(where: str | Path) -> Path:
    """What exists here wins over a shipped name."""
    path = Path(where)
    if not path.exists() and path.name == str(where) and (SHIPPED / path / "config.json").is_file():
        return SHIPPED / path
    return path / "checkpoints" / "last" if (path / "checkpoints").is_dir() else path
