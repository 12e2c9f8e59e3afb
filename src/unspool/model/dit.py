"""The video transformer: patches of frames, per-frame adaptive norm (DiT, 2212.09748), blocks that hold a list of memories."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, NamedTuple, final

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from unspool.blend import AlphaBlend, Blend
from unspool.context import Cached, Context, Local
from unspool.errors import UserError
from unspool.memory.base import Memory
from unspool.model.video import Reader, VideoModel
from unspool.text import Text
from unspool.types import Cond, Known, Levels, State, Tokens, Video

Predict = Literal["velocity", "clean", "change", "masked"]
COPIED = 2.0
"""Logit of the mask as long as nothing is learned: 0.88 of the newest frame is copied."""


class Part(NamedTuple):
    """What one branch of a block is told, by frame."""

    shift: Tensor
    scale: Tensor
    gate: Tensor


class Block(nn.Module):
    """Each memory, then an MLP: x += gate * branch(norm(x) * (1 + scale) + shift), with shift, scale, gate per frame."""

    memories: Sequence[Memory]

    def __init__(self, width: int, memories: Sequence[Memory], mlp: float = 4) -> None:
        super().__init__()
        self.memories = nn.ModuleList(memories)  # type: ignore[assignment]
        self.last = max((i for i, memory in enumerate(memories) if memory.keeps), default=len(memories) - 1)
        """The last memory that keeps something, or simply the last: what it makes of clean frames, nobody behind it keeps."""
        self.keeps = any(memory.keeps for memory in memories)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.bias = nn.Parameter(torch.zeros(len(memories) + 1, 3, width))
        inside = round(mlp * width)
        self.mlp = nn.Sequential(nn.Linear(width, inside), nn.GELU("tanh"), nn.Linear(inside, width))
        self.recompute = False
        """Whether a backward pass computes the activations of `scan` and `read` again, rather than find them kept."""

    def write(self, x: Tokens, states: State, cond: Cond, mods: Tensor) -> tuple[Tokens, State]:
        after, parts = {}, self._parts(mods)
        for i, memory in enumerate(self.memories):
            out, after[str(i)] = memory.write(self._enter(x, parts[i]), states[str(i)], cond)
            x = self._leave(x, out, parts[i])
        return self._feed(x, parts), after

    def commit(self, x: Tokens, states: State, cond: Cond, mods: Tensor) -> State:
        """The states that `write` returns: what the frames become is not computed further than these need."""
        after, parts = dict(states), self._parts(mods)
        for i, memory in enumerate(self.memories[: self.last]):
            out, after[str(i)] = memory.write(self._enter(x, parts[i]), states[str(i)], cond)
            x = self._leave(x, out, parts[i])
        last = str(self.last)
        after[last] = self.memories[self.last].commit(self._enter(x, parts[self.last]), states[last], cond)
        return after

    def start(self, batch: int, *, grid: tuple[int, int], device: torch.device, dtype: torch.dtype) -> State:
        starts = (memory.start(batch, grid=grid, device=device, dtype=dtype) for memory in self.memories)
        return {str(i): state for i, state in enumerate(starts)}

    def prepare(self, states: State, grid: tuple[int, int]) -> State:
        return {str(i): memory.prepare(states[str(i)], grid) for i, memory in enumerate(self.memories)}

    def read(self, x: Tokens, views: State, cond: Cond, mods: Tensor) -> Tokens:
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._read, x, views, cond, mods, use_reentrant=False)
        return self._read(x, views, cond, mods)

    def _read(self, x: Tokens, views: State, cond: Cond, mods: Tensor) -> Tokens:
        parts = self._parts(mods)
        for i, memory in enumerate(self.memories):
            x = self._leave(x, memory.read(self._enter(x, parts[i]), views[str(i)], cond), parts[i])
        return self._feed(x, parts)

    def scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], states: State | None,
        conds: tuple[Cond, Cond], mods: tuple[Tensor, Tensor], asked: bool,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        """asked: False in the last block that keeps something: what clean frames become is not computed further than needed."""
        if self.recompute and torch.is_grad_enabled():
            return checkpoint(self._scan, clean, noisy, starts, states, conds, mods, asked, use_reentrant=False)
        return self._scan(clean, noisy, starts, states, conds, mods, asked)

    def _scan(
        self, clean: Tokens, noisy: Tokens, starts: tuple[int, ...], states: State | None,
        conds: tuple[Cond, Cond], mods: tuple[Tensor, Tensor], asked: bool,
    ) -> tuple[Tokens, Tokens, State]:  # fmt: skip
        after, (of_clean, of_noisy) = {}, (self._parts(m) for m in mods)
        for i, memory in enumerate(self.memories):
            state = None if states is None else states[str(i)]
            entered = self._enter(clean, of_clean[i]), self._enter(noisy, of_noisy[i])
            wanted = asked or i < self.last
            clean_out, noisy_out, after[str(i)] = memory.scan(*entered, starts, state, *conds, asked=wanted)
            clean = self._leave(clean, clean_out, of_clean[i]) if wanted else clean
            noisy = self._leave(noisy, noisy_out, of_noisy[i])
        return self._feed(clean, of_clean) if asked else clean, self._feed(noisy, of_noisy), after

    def _parts(self, mods: Tensor) -> list[Part]:
        """mods (..., F, parts, 3, D) -> for each memory, then the MLP: shift, scale, gate, each (..., F, 1, D)."""
        mine = torch.cat([mods[..., : len(self.memories), :, :], mods[..., -1:, :, :]], -3) + self.bias.to(mods)
        return [Part(*part.unbind(-2)) for part in mine[..., None, :, :, :].unbind(-3)]

    def _enter(self, x: Tokens, part: Part) -> Tokens:
        return self.norm(x) * (1 + part.scale) + part.shift

    def _leave(self, x: Tokens, out: Tokens, part: Part) -> Tokens:
        return x + part.gate * out

    def _feed(self, x: Tokens, parts: list[Part]) -> Tokens:
        return self._leave(x, self.mlp(self._enter(x, parts[-1])), parts[-1])


@final
class VideoTransformer(VideoModel):
    """A diffusion transformer over frames cut into patches; the past enters through `memories` and `context`.

    shape: (C, H, W) of a frame. memories: of each block, one list a block. chunk: frames of a flight that see each other both
    ways; earlier chunks are seen by later ones, never the reverse (1: frame-causal). local: place for frames of the flight that
    are known already. predict: what the last layer gives: the velocity, the clean frame, its change since the newest clean
    frame (the last known one of `local`, else a channel of the context `Channels`), or new content and a mask that says where
    that frame is copied instead (as in video prediction, 1605.07157, 1609.02612); the model returns velocities all the same.
    controls: features of an action per frame, 0 for none. mlp: widths of the model inside each block's MLP. text: what prompts
    are made of, None for a model that hears none; then each block's `memories` should hold a `Prompt`.
    """

    def __init__(
        self,
        shape: tuple[int, int, int],
        *,
        patch: int,
        width: int,
        memories: Sequence[Sequence[Memory]],
        chunk: int = 1,
        context: Context | None = None,
        local: Local | None = None,
        blend: Blend | None = None,
        predict: Predict = "clean",
        controls: int = 0,
        mlp: float = 4,
        text: Text | None = None,
    ) -> None:
        super().__init__()
        self.shape, self.patch, self.chunk = shape, patch, chunk
        self.grid = (shape[1] // patch, shape[2] // patch)
        self.context: Context = context or Cached()
        self.local = local
        self.blend = blend or AlphaBlend()
        self.predict = predict
        if predict in ("change", "masked") and not self.context.newest and local is None:
            raise UserError(f"predict {predict} builds on the newest frame, which must stand beside: channels 1 or more")
        pixels = shape[0] * patch * patch
        extra = local.width(shape[0]) * patch * patch if local else 0
        self.enter = nn.Linear((1 + self.context.beside) * pixels + extra, width)
        self.blocks: Sequence[Block] = nn.ModuleList(Block(width, held, mlp) for held in memories)  # type: ignore[assignment]
        self.level = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.controls = controls
        self.control = nn.Linear(controls, width, bias=False) if controls else None
        self.text = text
        self.prompts = text.numbers if text else 0
        self.keeping = max((b + 1 for b, block in enumerate(self.blocks) if block.keeps), default=0)
        """Blocks that clean frames must pass: behind the last that keeps something nobody looks at them."""
        self.parts = max(len(held) for held in memories) + 1
        self.modulation = nn.Linear(width, (3 * self.parts + 2) * width)  # shared by all blocks; each adds its bias (PixArt)
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.leave = nn.Linear(width, pixels + (patch * patch if predict == "masked" else 0))
        self.place: Tensor
        self.register_buffer("place", _places(self.grid, width), persistent=False)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def hidden_matrices(self) -> list[nn.Parameter]:
        """Not what is one row a map, a gate or a place: its steps would all be of one size."""
        return [p for block in self.blocks for p in block.parameters() if p.dim() == 2 and min(p.shape) >= 16]

    # -- the three verbs ------------------------------------------------------------------------------------------------

    def start(self, batch: int, *, seed: Tensor, device: torch.device | str, dtype: torch.dtype) -> State:
        device = torch.device(device)
        inner = self.enter.weight.dtype
        return {
            "at": torch.zeros(batch, device=device, dtype=torch.int64),
            "seed": seed.to(device),
            "context": self.context.start(batch, self.shape, device=device, dtype=dtype),
            "blocks": {
                str(b): block.start(batch, grid=self.grid, device=device, dtype=inner) for b, block in enumerate(self.blocks)
            },
        }

    def remember(self, clean: Video, state: State, *, level: Levels | None = None, control: Tensor | None = None) -> State:
        frames = clean.shape[1]
        if frames == 0:
            return state
        after = {**state, "at": state["at"] + frames, "context": self.context.remember(clean, state["context"])}
        if not self.keeping:
            return after
        level = clean.new_zeros(clean.shape[:2]) if level is None else level
        emb, mods, _ = self._embed(level, control)
        cond = Cond(emb, self.grid, tuple(range(frames)), text=self._said(level, control))
        beside = self.context.channels(state["context"], clean)
        x = self._patches(clean, self._beside(None if beside is None else beside[:, :-1], None, clean))
        blocks, last = dict(state["blocks"]), self.keeping - 1
        for b, block in enumerate(self.blocks[:last]):
            x, blocks[str(b)] = block.write(x, blocks[str(b)], cond, mods)
        blocks[str(last)] = self.blocks[last].commit(x, blocks[str(last)], cond, mods)
        return {**after, "blocks": blocks}

    def anchored(self, first: Video, state: State) -> State:
        return {**state, "context": self.context.anchored(first, state["context"])}

    def recached(self, newest: Video, state: State, *, control: Tensor | None = None) -> State:
        after = super().recached(newest, state, control=control)
        return {**after, "context": state["context"]}  # frames as they are, however old: no control is in them

    def reader(self, state: State, known: Known | None = None) -> Reader:
        views = [block.prepare(state["blocks"][str(b)], self.grid) for b, block in enumerate(self.blocks)]
        past = self.context.channels(state["context"])

        def read(x: Video, level: Levels, *, present: Tensor | None = None, control: Tensor | None = None) -> Video:
            noisy, levels, exists, ahead = self._in_front(x, level, present, state["context"])
            if control is not None and ahead:
                control = torch.cat([control.new_zeros(len(control), ahead, control.shape[2]), control], 1)
            emb, mods, last = self._embed(levels, control)
            cond = Cond(emb, self.grid, self.order(x.shape[1]), -ahead, exists, self._said(levels, control))
            beside = self._beside(past, known, noisy)
            tokens = self._patches(noisy, beside)
            for block, view in zip(self.blocks, views, strict=True):
                tokens = block.read(tokens, view, cond, mods)
            return self._velocity(tokens[:, ahead:], x, level, last[:, ahead:], self._newest(past, known))

        return read

    def denoise(
        self, x: Video, level: Levels, state: State, *,
        present: Tensor | None = None, control: Tensor | None = None, known: Known | None = None,
    ) -> Video:  # fmt: skip
        return self.reader(state, known)(x, level, present=present, control=control)

    # -- the parallel pass ----------------------------------------------------------------------------------------------

    def forward(
        self,
        clean: Video,
        x: Video,
        level: Levels,
        starts: tuple[int, ...],
        state: State | None = None,
        *,
        context_level: Levels | None = None,
        control: Tensor | None = None,
        known: Known | None = None,
        present: Tensor | None = None,
    ) -> tuple[Video, State]:
        if self.context.frames:  # the obvious loop
            return super().forward(
                clean, x, level, starts, state, context_level=context_level, control=control, known=known, present=present
            )
        fresh, zero = state is None, torch.zeros(len(x), device=x.device, dtype=torch.int64)
        state = self.start(len(x), seed=zero, device=x.device, dtype=x.dtype) if state is None else state
        clean_control, noisy_control = None, None
        if control is not None:
            columns = torch.tensor(starts, device=x.device)[:, None] + torch.arange(x.shape[2], device=x.device)
            clean_control, noisy_control = control[:, : clean.shape[1]], control[:, columns]
        emb, mods, last = self._embed(level, noisy_control)
        cond = Cond(emb, self.grid, self.order(x.shape[2]), present=present, text=self._said(level, noisy_control))
        local = self.context.channels(state["context"], clean)
        past = None if local is None else local[:, list(starts), None]
        tokens, blocks = self._patches(x, self._beside(past, known, x)), dict(state["blocks"])
        if self.keeping:
            context_level = clean.new_zeros(clean.shape[:2]) if context_level is None else context_level
            clean_emb, clean_mods, _ = self._embed(context_level, clean_control)
            said = self._said(context_level, clean_control)
            conds = Cond(clean_emb, self.grid, tuple(range(clean.shape[1])), text=said), cond
            kept = self._patches(clean, self._beside(None if local is None else local[:, :-1], None, clean))
            for b, block in enumerate(self.blocks[: self.keeping]):
                states = None if fresh else blocks[str(b)]
                asked = b < self.keeping - 1
                kept, tokens, blocks[str(b)] = block.scan(kept, tokens, starts, states, conds, (clean_mods, mods), asked)
        tokens = self._apart(tokens, cond, mods)
        context = self.context.remember(clean, state["context"])
        state = {**state, "at": state["at"] + clean.shape[1], "context": context, "blocks": blocks}
        return self._velocity(tokens, x, level, last, self._newest(past, known)), state

    def _apart(self, groups: Tokens, cond: Cond, mods: Tensor) -> Tokens:
        """The blocks that keep nothing: no group depends on another, they are flights of one large batch."""
        present = None if cond.present is None else cond.present.flatten(0, 1)
        text = None if cond.text is None else cond.text.flatten(0, 1)
        cond = cond._replace(emb=cond.emb.flatten(0, 1), present=present, text=text)
        x, mods = groups.flatten(0, 1), mods.flatten(0, 1)
        for block in self.blocks[self.keeping :]:
            nothing = block.start(len(x), grid=self.grid, device=x.device, dtype=x.dtype)
            x = block.read(x, block.prepare(nothing, self.grid), cond, mods)
        return x.unflatten(0, groups.shape[:2])

    # -- parts ----------------------------------------------------------------------------------------------------------

    def order(self, flight: int) -> tuple[int, ...]:
        """Context frames see what is older, joined ones the first chunk too; flight frames see chunks up to their own."""
        ahead = self.context.frames
        before = (0,) * ahead if self.context.joined else tuple(range(-ahead, 0))
        return before + tuple(j // self.chunk for j in range(flight))

    def _in_front(
        self, x: Video, level: Levels, present: Tensor | None, context: State
    ) -> tuple[Video, Levels, Tensor | None, int]:
        """The flight with the context's clean frames in front of it, and how many these are."""
        ahead = self.context.frames
        if not ahead:
            return x, level, present, 0
        filled = torch.arange(ahead, device=x.device) >= ahead - context["count"][:, None]
        here = torch.ones(x.shape[:2], device=x.device, dtype=torch.bool) if present is None else present
        noisy = torch.cat([context["last"].to(x), x], 1)
        return noisy, torch.cat([level.new_zeros(len(x), ahead), level], 1), torch.cat([filled, here], 1), ahead

    def _embed(self, level: Levels, control: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """emb (..., D); mods (..., parts, 3, D) for the blocks; last (..., 2, D) for the output layer."""
        emb = self.level(_sinusoids(level * 1000).to(self.enter.weight.dtype))
        if control is not None:
            if not self.controls + self.prompts:
                raise UserError("this model was built without controls; give it controls, the number of features of an action")
            if self.control is not None:
                emb = emb + self.control(control[..., : self.controls].to(emb))
        mods = self.modulation(nn.functional.silu(emb))
        width = emb.shape[-1]
        blocks, last = mods.split([3 * self.parts * width, 2 * width], -1)
        return emb, blocks.unflatten(-1, (self.parts, 3, width)), last.unflatten(-1, (2, width))

    def _said(self, level: Levels, control: Tensor | None) -> Tensor | None:
        """(..., L, D): what is said of frames with these levels (...,), nothing where no control is told; None in a model that
        hears nothing."""
        if self.text is None:
            return None
        told = level.new_zeros(*level.shape, self.prompts) if control is None else control[..., self.controls :]
        return self.text(told)

    def _beside(self, past: Video | None, known: Known | None, frames: Video) -> Video | None:
        """What is channels beside these frames (..., F, C, H, W): of what came before, and of what is known of the flight."""
        if self.local is None:
            return past
        local = self.local.channels(known, frames)[..., None, :, :, :]
        return local if past is None else torch.cat([past.to(local), local.expand(*past.shape[:-3], -1, -1, -1)], -3)

    def _newest(self, past: Video | None, known: Known | None) -> Video | None:
        """The newest clean frame, (..., 1, C, H, W), zeros where there is none."""
        if known is not None and self.local is not None:
            return (known.frames * (known.position >= 0)[..., None, None, None])[..., -1:, :, :, :]
        return None if past is None else past[..., -self.shape[0] :, :, :]

    def _patches(self, video: Video, beside: Video | None) -> Tokens:
        """(..., F, C, H, W), and what is beside each frame or all of them, -> (..., F, N, D)."""
        if beside is not None:
            video = torch.cat([video, beside.to(video).expand(*video.shape[:-3], -1, -1, -1)], -3)
        patches = rearrange(video, "... c (y p) (x q) -> ... (y x) (c p q)", p=self.patch, q=self.patch)
        return self.enter(patches.to(self.enter.weight.dtype)) + self.place.to(self.enter.weight.dtype)

    def _velocity(self, tokens: Tokens, x: Video, level: Levels, last: Tensor, newest: Video | None) -> Video:
        shift, scale = last[..., None, :].unbind(-3)
        out = self.leave(self.norm(tokens) * (1 + scale) + shift)
        out = rearrange(
            out, "... (y x) (c p q) -> ... c (y p) (x q)", y=self.grid[0], p=self.patch, q=self.patch
        ).to(x.dtype)  # fmt: skip
        if self.predict == "velocity":
            return out
        newest = torch.zeros_like(x[..., :1, :, :, :]) if newest is None else newest.to(out)
        if self.predict == "change":
            out = out + newest
        if self.predict == "masked":
            out, mask = out.split([self.shape[0], 1], -3)
            out = out + (newest - out) * torch.sigmoid(mask + COPIED)
        return self.blend.velocity(x, out, level)


def _sinusoids(t: Tensor, dim: int = 256) -> Tensor:
    """(...,) -> (..., dim): the sinusoidal embedding made for timesteps 0 .. 1000."""
    freqs = torch.exp(-math.log(10_000) * torch.arange(dim // 2, device=t.device) / (dim // 2))
    angle = t[..., None].float() * freqs
    return torch.cat([angle.cos(), angle.sin()], -1)


def _places(grid: tuple[int, int], width: int) -> Tensor:
    """(N, D): fixed sinusoids of row and column, so that a token knows where it stands."""
    rows, columns = grid
    freqs = 50.0 ** (-torch.arange(width // 4) / (width // 4))
    y = torch.arange(rows)[:, None, None].expand(rows, columns, 1) * freqs
    x = torch.arange(columns)[None, :, None].expand(rows, columns, 1) * freqs
    return torch.cat([y.sin(), y.cos(), x.sin(), x.cos()], -1).reshape(rows * columns, width)
