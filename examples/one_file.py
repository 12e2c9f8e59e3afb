"""The whole of unspool in one file: train a small video diffusion model on a CPU, then let it dream for ever.

    python examples/one_file.py     # three to four minutes on one thread; writes one_file.gif and one_file.png

A world of tumbling propellers, a transformer, its training, an endless rollout: two real frames go in, three futures come out.
Names are the library's, and so are the numbers: a test loads these weights into unspool and compares. Read from top to bottom.
Shapes: B batch, T frames of a clip, F noisy frames under way (the flight), G flights trained at once, N tokens of a frame,
D features. A video is (B, T, 3, H, W) in [-1, 1]; a level is (B, T), one noise level for EACH frame: 0 clean, 1 noise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as fn

SIZE, PATCH = 16, 4
GRID = SIZE // PATCH


# 1. A world. Flight and bounce can be foreseen, but at each bounce the spin is drawn anew: there is more than one future.


def world(batch: int, frames: int) -> Tensor:
    """Clips of a coloured propeller, (B, T, 3, H, W) in [-1, 1]. Two frames show where it flies and how it spins."""
    place, pace = torch.rand(batch, 2, 1, 1) - 0.5, 0.2 * torch.rand(batch, 2, 1, 1) - 0.1
    colour, angle = 0.3 + 0.7 * torch.rand(batch, 3, 1, 1), 6.3 * torch.rand(batch, 1, 1)
    spin = 0.5 * torch.rand(batch, 1, 1) - 0.25
    ticks = torch.linspace(-1, 1, SIZE)
    clip = []
    for _ in range(frames):
        place = place + pace
        bounces = (place.abs() > 0.5) & (place * pace > 0)
        pace = pace.where(~bounces, -pace)
        spin = spin.where(~bounces.any(1), 0.5 * torch.rand(batch, 1, 1) - 0.25)
        angle = angle + spin
        x, y = ticks - place[:, 0], ticks[:, None] - place[:, 1]
        edge = 0.35 + 0.2 * torch.cos(2 * (torch.atan2(y, x) - angle))
        inside = torch.sigmoid(14 * (edge - torch.hypot(x, y)))[:, None]
        clip.append(2 * (inside * colour + (1 - inside) * 0.1) - 1)
    return torch.stack(clip, 1)


# 2. Noise that is a pure function of (seed, frame), by hashing: it cannot depend on the batch, or on how often the rollout was
#    stopped and resumed. So a rollout repeats itself exactly, and two seeds are two futures of one past.


def signed(word: int) -> int:
    return word - (1 << 64) if word >> 63 else word


GOLDEN, MIX = signed(0x9E3779B97F4A7C15), ((30, signed(0xBF58476D1CE4E5B9)), (27, signed(0x94D049BB133111EB)), (31, 1))


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser: each bit of the result hangs on every bit of x (int64)."""
    for shift, word in MIX:
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * word
    return x


def noise(seed: Tensor, at: int, frames: int) -> Tensor:
    """Standard normal video (B, frames, 3, H, W) of absolute frames at .. at + frames - 1 under seeds (B,) int64."""
    key = mix(seed[:, None] ^ mix((at + torch.arange(frames) + 1) * GOLDEN))
    key = mix(key ^ mix(torch.full_like(key, GOLDEN)))
    bits = mix(key[..., None] + torch.arange(1, 3 * SIZE * SIZE + 1) * GOLDEN)
    uniform = (((bits >> 41) & ((1 << 23) - 1)).float() + 0.5) / (1 << 23)
    return (torch.erfinv(2 * uniform - 1) * math.sqrt(2)).reshape(len(seed), frames, 3, SIZE, SIZE)


# 3. Who is how noisy, when. Each chunk of frames begins its descent `lag` later than the one before it: lag 1 is chunk by
#    chunk, 1/2 keeps two chunks under way, 0 (with `chunks`) is full sequence. Famous methods differ in this matrix alone.


class Plan(NamedTuple):
    """Levels, a row a moment, a column a frame of the flight. Walk `warmup` once and `loop` for ever; after each walk of `loop`
    the first `hop` frames are clean and leave, the rest moves up, and the levels are those of the loop's first row again."""

    warmup: Tensor
    loop: Tensor
    hop: int


def staircase(steps: int = 8, chunk: int = 4, lag: Fraction | int = 1, chunks: int | None = None) -> Plan:
    """time[k, r] = clamp(1 + k lag - r / steps, 0, 1), in whole steps: in floating point ceil(1 / lag) fails at lag 1/49."""
    stride = Fraction(lag) * steps
    assert stride.denominator == 1, "lag * steps must be a whole number"
    m = int(stride)
    count = chunks or -(-steps // m)
    one_leaves = m * count >= steps  # else the flight is too short to go on without a pause, and leaves as a whole
    first, last, hop = (steps - m, steps, chunk) if one_leaves else (0, steps + (count - 1) * m, count * chunk)
    ticks = steps + m * torch.arange(count).repeat_interleave(chunk) - torch.arange(last + 1)[:, None]
    levels = ticks.clamp(0, steps) / steps
    return Plan(levels[: first + 1], levels[first:], hop)


# 4. A memory: attention whose past is a rolling cache. Keys are cached BEFORE rotation and rotated by their place in the window
#    at each use, so that frame 100 000 sees the same small angles as frame 10.


def rotate(x: Tensor, at: Tensor) -> Tensor:
    """Rotary positions: half of the features of x (B, heads, F, N, d) turn with the frame's place, half with row and column."""
    pairs = x.shape[-1] // 2
    frame, row, column = torch.meshgrid(at, torch.arange(GRID), torch.arange(GRID), indexing="ij")
    shares = (pairs - 2 * (pairs // 4), pairs // 4, pairs // 4)
    turns = [a[..., None] * 100.0 ** (-torch.arange(n) / n) for a, n in zip((frame, row, column), shares, strict=True)]
    angle = torch.cat(turns, -1).flatten(1, 2)
    (a, b), cos, sin = x.chunk(2, -1), angle.cos().to(x), angle.sin().to(x)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Window(nn.Module):
    """Space-time attention of F frames over themselves and the frames of a cache."""

    def __init__(self, width: int, heads: int, frames: int) -> None:
        super().__init__()
        self.heads, self.frames = heads, frames
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.norm_q, self.norm_k = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, at: Tensor, past: Tensor, see: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, F, N, D) stands at `at` (F,); past, keys and values (2, B, heads, P, N, d), at 0 .. P - 1; see (F, P + F) bool:
        who sees whom. Returns what is seen, (B, F, N, D), and the cache with the F frames in it."""
        tokens = x.shape[2]
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        cache = torch.cat([past, torch.stack([self.norm_k(k), v])], 3)
        k, v = rotate(cache[0], torch.cat([torch.arange(past.shape[3]), at])), cache[1]
        mask = see.repeat_interleave(tokens, 0).repeat_interleave(tokens, 1)
        q, k, v = (t.flatten(2, 3) for t in (rotate(self.norm_q(q), at), k, v))
        out = fn.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        out = out.transpose(1, 2).flatten(2).unflatten(1, x.shape[1:3])
        return self.out(out), cache[:, :, :, max(0, cache.shape[3] - self.frames) :]  # rolls: memory stays constant


# 5. The model has three verbs. `start` gives an empty state, `denoise` predicts velocities behind a state, `remember` takes
#    clean frames into it. The state is a value: handed in, handed back, never changed. It is all a rollout knows of its past.


class Block(nn.Module):
    """Memory, then MLP; the noise level of each frame shifts, scales and gates both (DiT)."""

    def __init__(self, width: int, heads: int, window: int) -> None:
        super().__init__()
        self.memories = nn.ModuleList([Window(width, heads, window)])  # a list: a recurrence may stand beside the window
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        self.bias = nn.Parameter(torch.zeros(2, 3, width))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mods: Tensor, at: Tensor, past: Tensor, see: Tensor) -> tuple[Tensor, Tensor]:
        (shift, scale, gate), (shift2, scale2, gate2) = (m.unbind(2) for m in (mods + self.bias)[..., None, :].unbind(2))
        seen, cache = self.memories[0](self.norm(x) * (1 + scale) + shift, at, past, see)
        x = x + gate * seen
        return x + gate2 * self.mlp(self.norm(x) * (1 + scale2) + shift2), cache


class VideoTransformer(nn.Module):
    """Frames of `chunk` see each other both ways, and everything that is older, down to `window` clean frames."""

    def __init__(self, width: int = 96, depth: int = 3, heads: int = 2, chunk: int = 2, window: int = 6) -> None:
        super().__init__()
        self.heads, self.chunk, self.window, pixels = heads, chunk, window, 3 * PATCH * PATCH
        self.enter, self.leave = nn.Linear(pixels, width), nn.Linear(width, pixels)
        self.blocks = nn.ModuleList(Block(width, heads, window) for _ in range(depth))
        self.level = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 8 * width)  # 2 parts x (shift, scale, gate), then the last layer's
        self.norm = nn.LayerNorm(width, elementwise_affine=False, eps=1e-6)
        angle = torch.arange(GRID)[:, None] * 50.0 ** (-torch.arange(width // 4) / (width // 4))
        row, column = (torch.cat([a.sin(), a.cos()], -1) for a in (angle.repeat_interleave(GRID, 0), angle.repeat(GRID, 1)))
        self.register_buffer("place", torch.cat([row, column], -1), persistent=False)
        for layer in (self.modulation, self.leave):  # blocks begin as the identity, the answer blank: it trains sooner
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)

    def start(self, seed: Tensor) -> dict:
        """Nothing remembered; seed (B,) tells rollouts apart."""
        empty = self.enter.weight.new_zeros(2, len(seed), self.heads, 0, GRID * GRID, len(self.enter.bias) // self.heads)
        return {"at": 0, "seed": seed, "cache": [empty] * len(self.blocks)}

    def remember(self, clean: Tensor, state: dict) -> dict:
        """The state after these frames too: each sees itself and `window` frames back."""
        past, frames = state["cache"][0].shape[3], clean.shape[1]
        at = past + torch.arange(frames)
        see = self._band(at, torch.arange(past + frames))
        _, cache = self._run(clean, clean.new_zeros(clean.shape[:2]), at, state["cache"], see)
        return {**state, "at": state["at"] + frames, "cache": cache}

    def denoise(self, x: Tensor, level: Tensor, state: dict) -> Tensor:
        """Velocity of a flight (B, F, ...): it sees the whole cache and, of itself, chunks up to its own."""
        past, frames = state["cache"][0].shape[3], torch.arange(x.shape[1])
        own = frames // self.chunk <= frames[:, None] // self.chunk
        see = torch.cat([own.new_ones(len(frames), past), own], 1)
        return self._run(x, level, past + frames, state["cache"], see)[0]

    def forward(self, clean: Tensor, x: Tensor, level: Tensor, starts: tuple[int, ...], context_level: Tensor) -> Tensor:
        """Training: the velocities of flights x (B, G, F, ...), each behind the clean frames 0 .. starts[g] - 1, in ONE pass.

        Clean and noisy frames ride side by side as two streams; a mask makes it equal to `denoise` after `remember`."""
        frames, (groups, flight) = clean.shape[1], x.shape[1:3]
        start, clean_at = torch.tensor(starts).repeat_interleave(flight)[:, None], torch.arange(frames)
        offset, group = torch.arange(flight).repeat(groups), torch.arange(groups).repeat_interleave(flight)
        past = (clean_at < start) & (clean_at >= start - self.window)
        order = offset // self.chunk
        own = (group == group[:, None]) & (order <= order[:, None])
        blind = own.new_zeros(frames, len(own))  # what is clean never sees what is noisy, so nothing leaks through it
        see = torch.cat([torch.cat([self._band(clean_at, clean_at), blind], 1), torch.cat([past, own], 1)])
        both, levels = torch.cat([clean, x.flatten(1, 2)], 1), torch.cat([context_level, level.flatten(1)], 1)
        none = self.start(torch.zeros(len(x), dtype=torch.int64))["cache"]
        velocity, _ = self._run(both, levels, torch.cat([clean_at, start[:, 0] + offset]), none, see)
        return velocity[:, frames:].unflatten(1, (groups, flight))

    def _band(self, at: Tensor, keys: Tensor) -> Tensor:
        return (at[:, None] >= keys) & (at[:, None] <= keys + self.window)

    def _run(self, video: Tensor, level: Tensor, at: Tensor, cache: list, see: Tensor) -> tuple[Tensor, list]:
        """All three verbs are this pass: they differ in who sees whom. Returns velocities and the rolled caches."""
        batch, frames = video.shape[:2]
        patches = video.reshape(batch, frames, 3, GRID, PATCH, GRID, PATCH).permute(0, 1, 3, 5, 2, 4, 6)
        x = self.enter(patches.reshape(batch, frames, GRID * GRID, -1)) + self.place
        angle = 1000 * level[..., None] * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        emb = self.level(torch.cat([angle.cos(), angle.sin()], -1))
        mods = self.modulation(fn.silu(emb)).unflatten(-1, (8, -1))
        after = []
        for block, past in zip(self.blocks, cache, strict=True):
            x, rolled = block(x, mods[:, :, :6].unflatten(2, (2, 3)), at, past, see)
            after.append(rolled)
        shift, scale = mods[:, :, 6:, None].unbind(2)
        out = self.leave(self.norm(x) * (1 + scale) + shift).reshape(batch, frames, GRID, GRID, 3, PATCH, PATCH)
        clean = out.permute(0, 1, 4, 2, 5, 3, 6).reshape(video.shape)
        # The net says what the CLEAN frame is (an image, easy to say); x = (1 - level) clean + level noise turns that into the
        # velocity noise - clean = (x - clean) / level.
        return (video - clean) / level.clamp(min=0.05)[..., None, None, None], after


# 6. Training, by teacher forcing: every chunk of a clip is denoised behind the frames before it, all chunks at once. Were these
#    always true frames, the model would not know what to do behind its own, and its video would fall apart within a second.


def blend(clean: Tensor, noise: Tensor, level: Tensor) -> Tensor:
    """The straight path from clean to noise."""
    return (1 - level[..., None, None, None]) * clean + level[..., None, None, None] * noise


def errors(model: VideoTransformer, clip: Tensor, history: Tensor, told: Tensor, least: float) -> tuple[Tensor, Tensor]:
    """Denoise all chunks of a clip at once, each at a level of its own, behind `history` (noisy by `told`).

    Returns errors of the velocities, and the clean frames that they point at, both (B, G, F, ...)."""
    starts = tuple(range(2, clip.shape[1] - model.chunk + 1, model.chunk))  # two frames come free
    target = torch.stack([clip[:, s : s + model.chunk] for s in starts], 1)
    u, eps = least + (1 - least) * torch.rand(len(clip), len(starts), 1), torch.randn_like(target)
    # More of high noise, where what will happen is decided.
    level = (3 * u / (1 + 2 * u)).expand(-1, -1, model.chunk)
    x = blend(target, eps, level)
    velocity = model(history[:, : starts[-1]], x, level, starts, told[:, : starts[-1]])
    return velocity - (eps - target), x - level[..., None, None, None] * velocity


def loss(model: VideoTransformer, clip: Tensor) -> Tensor:
    """Mean squared error of velocities, behind a past as it will be in use: not the world's but the model's, flaws and all."""
    told = clip.new_zeros(clip.shape[:2])
    with torch.no_grad():  # so a random share of the past is what the model itself makes of those frames, in one bold step
        guess = errors(model, clip, clip, told, least=0.3)[1].flatten(1, 2).clamp(-1, 1)
    swap = torch.rand(clip.shape[:2]) < torch.rand(len(clip), 1)
    history = torch.cat([clip[:, :2], guess], 1).where(swap[..., None, None, None], clip)
    # A little noise on it, told by its level, teaches not to trust details.
    told = (0.2 * torch.rand(len(clip), 1)).expand(-1, clip.shape[1])
    history = blend(history, torch.randn_like(clip), told)
    return errors(model, clip, history, told, least=0.04)[0].square().mean()  # eight steps never look below level 1/9


def train(model: VideoTransformer, steps: int, batch: int = 8, frames: int = 10) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2e-3 * min(1, (step + 1) / 50, 1.5 * (steps - step) / steps)
        value = loss(model, world(batch, frames))
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step + 1}/{steps}  loss {value.item():.4f}", flush=True)


# 7. The one denoising loop. A flight of noisy frames stands behind the state; level by level it falls (Euler's method); what is
#    clean is shown and remembered, the flight moves up, noise enters at its end. There is no last frame.


class Rollout(NamedTuple):
    """A rollout as a value: what is remembered, and the frames in flight. Keep one to go on from here, twice if you like."""

    state: dict
    window: Tensor


@torch.no_grad()
def begin(model: VideoTransformer, context: Tensor, seed: Tensor) -> Rollout:
    """Behind these clean frames."""
    return Rollout(model.remember(context, model.start(seed)), context[:, :0])


@torch.no_grad()
def stream(model: VideoTransformer, plan: Plan, rollout: Rollout) -> Iterator[tuple[Tensor, Rollout]]:
    """(clean frames (B, hop, ...), the rollout to go on from), without end."""
    state, window = rollout

    def descend(window: Tensor, rows: Tensor) -> Tensor:
        held = window.shape[1]
        window = torch.cat([window, noise(state["seed"], state["at"] + held, rows.shape[1] - held)], 1)
        for level, to in pairwise(rows):
            velocity = model.denoise(window, level.expand(len(window), -1), state)
            window = window + (to - level)[:, None, None, None] * velocity
        return window

    if window.shape[1] == 0 and len(plan.warmup) > 1:
        window = descend(window, plan.warmup)
    while True:
        window = descend(window, plan.loop)
        clean, window = window[:, : plan.hop], window[:, plan.hop :]
        state = model.remember(clean, state)
        yield clean, Rollout(state, window)


def save(video: Tensor, name: str) -> None:
    """video (B, T, 3, H, W): a GIF of the B rollouts side by side, and a contact sheet of every 20th frame."""
    from PIL import Image

    pixels = ((video.clamp(-1, 1) + 1) * 127.5).byte().movedim(2, -1)

    def image(rows: Tensor) -> Image.Image:
        picture = Image.fromarray(rows.contiguous().numpy())
        return picture.resize((4 * picture.width, 4 * picture.height), Image.Resampling.NEAREST)

    movie = [image(torch.cat(list(moment), 1)) for moment in pixels.unbind(1)]
    movie[0].save(f"{name}.gif", save_all=True, append_images=movie[1:], duration=66, loop=0)
    image(torch.cat([torch.cat(list(row), 1) for row in pixels[:, ::20]])).save(f"{name}.png")


def main(steps: int, frames: int, out: str) -> None:
    torch.manual_seed(0)
    model = VideoTransformer()
    train(model, steps)
    context = world(1, 2).expand(3, -1, -1, -1, -1)  # the same two frames three times: only the seeds differ
    plan = staircase(chunk=model.chunk)
    dream = stream(model, plan, begin(model, context, seed=torch.arange(3)))  # it has no end: take what you like
    chunks = [clean for clean, _ in islice(dream, -(-frames // plan.hop))]
    save(torch.cat([context, *chunks], 1)[:, : 2 + frames], out)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small video diffusion model, then stream three futures.")
    parser.add_argument("--steps", type=int, default=1200, help="of training")
    parser.add_argument("--frames", type=int, default=300, help="to stream behind the first two")
    parser.add_argument("--out", default="one_file", help="name of the .gif and the .png")
    main(**vars(parser.parse_args()))
