"""The whole of unspool in one file: train a small video diffusion model on a CPU, then let it dream for ever.

    python examples/one_file.py     # about three minutes on one thread; writes one_file.gif and one_file.png

A world of tumbling propellers, a transformer, its training, an endless rollout: two real frames go in, three futures come out.
Names are the library's, and so are the numbers of model, loss, noise, levels and video: a test loads these weights into unspool
and compares. How it mixes its guesses into the past (`loss`) is its own: two rounds at once. Read from top to bottom.
Shapes: B batch, T frames of a clip, F noisy frames under way (the flight), N tokens of a frame, D features.
A video is (B, T, 3, H, W) in [-1, 1]; a level is (B, T), one noise level for EACH frame: 0 clean, 1 noise.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator
from fractions import Fraction
from itertools import islice, pairwise

import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as fn

SIZE, PATCH, GRID = 16, 4, 4  # sides: of a frame and of a patch in pixels, of a frame in patches


# 1. A world. Flight and bounce can be foreseen, but at each bounce the spin is drawn anew: there is more than one future.
def world(batch: int, frames: int) -> Tensor:
    """Clips of a coloured propeller, (B, T, 3, H, W) in [-1, 1]. Two frames show where it flies and how it spins."""
    place, pace = torch.rand(batch, 2, 1, 1) - 0.5, 0.2 * torch.rand(batch, 2, 1, 1) - 0.1
    colour, angle = 0.3 + 0.7 * torch.rand(batch, 3, 1, 1), 6.3 * torch.rand(batch, 1, 1)
    spin, ticks, clip = 0.5 * torch.rand(batch, 1, 1) - 0.25, torch.linspace(-1, 1, SIZE), []
    for _ in range(frames):
        place, angle = place + pace, angle + spin
        bounces = (place.abs() > 0.5) & (place * pace > 0)
        pace = pace.where(~bounces, -pace)
        spin = spin.where(~bounces.any(1), 0.5 * torch.rand(batch, 1, 1) - 0.25)
        x, y = ticks - place[:, 0], ticks[:, None] - place[:, 1]
        inside = torch.sigmoid(14 * (0.35 + 0.2 * torch.cos(2 * (torch.atan2(y, x) - angle)) - torch.hypot(x, y)))[:, None]
        clip.append(2 * (inside * colour + (1 - inside) * 0.1) - 1)
    return torch.stack(clip, 1)


# 2. Noise, a hash of (seed, frame): a rollout repeats itself exactly, however often resumed; two seeds are two futures.
GOLDEN, *MIX = (word - (word >> 63 << 64) for word in (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB, 1))  # int64


def mix(x: Tensor) -> Tensor:
    """splitmix64's finaliser: each bit of the result hangs on every bit of x (int64)."""
    for shift, word in zip((30, 27, 31), MIX, strict=True):
        x = (x ^ ((x >> shift) & ((1 << (64 - shift)) - 1))) * word
    return x


def noise(seed: Tensor, at: int, frames: int) -> Tensor:
    """Standard normal video (B, frames, 3, H, W) of absolute frames at .. at + frames - 1 under seeds (B,) int64."""
    key = mix(mix(seed[:, None] ^ mix((at + torch.arange(frames) + 1) * GOLDEN)) ^ mix(torch.tensor(GOLDEN)))
    bits = mix(key[..., None] + torch.arange(1, 3 * SIZE * SIZE + 1) * GOLDEN)
    uniform = (((bits >> 41) & ((1 << 23) - 1)).float() + 0.5) / (1 << 23)
    return (torch.erfinv(2 * uniform - 1) * math.sqrt(2)).reshape(len(seed), frames, 3, SIZE, SIZE)


# 3. Who is how noisy, when. Each frame begins its descent `lag` later than the one before it: lag 1 is frame by frame, 1/2
#    keeps two frames under way, 0 (with `count`) is full sequence. Famous methods differ in this matrix alone.
def staircase(steps: int = 8, lag: Fraction | int = 1, count: int | None = None) -> tuple[Tensor, int, int]:
    """A plan (levels, hop, again). Levels have a row a moment, a column a frame of the flight. Walk down all rows: `hop` frames
    are clean and leave (all of a short flight), the rest moves up, noise enters, and the next walk begins at row `again`.
    time[k, r] = clamp(1 + k lag - r / steps, 0, 1), in whole steps: in floating point ceil(1 / lag) fails at lag 1/49."""
    m = int(Fraction(lag) * steps)
    assert m == Fraction(lag) * steps, "lag * steps must be a whole number"
    count = count or -(-steps // m)
    last, hop, again = (steps, 1, steps - m) if m * count >= steps else (steps + (count - 1) * m, count, 0)
    ticks = steps + m * torch.arange(count) - torch.arange(last + 1)[:, None]
    return ticks.clamp(0, steps) / steps, hop, again


# 4. A network. Each noisy frame sees three clean ones, as channels beside its own: the FIRST of all, so that colours are
#    not forgotten, and the newest two. By attention it sees the frames under way before it. Nothing else is kept of the past.
def rotate(x: Tensor) -> Tensor:
    """Rotary positions: half of the features of x (B, heads, F, N, d) turn with the frame's place, half with row and column."""
    pairs = x.shape[-1] // 2
    places = torch.meshgrid(torch.arange(x.shape[2]), torch.arange(GRID), torch.arange(GRID), indexing="ij")
    shares = (pairs - 2 * (pairs // 4), pairs // 4, pairs // 4)
    angle = torch.cat([at[..., None] * 100.0 ** (-torch.arange(n) / n) for at, n in zip(places, shares, strict=True)], -1)
    (a, b), cos, sin = x.chunk(2, -1), angle.cos().flatten(1, 2), angle.sin().flatten(1, 2)
    return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)


class Window(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads, self.qkv, self.out = heads, nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width)
        self.norm_q, self.norm_k = nn.RMSNorm(width // heads), nn.RMSNorm(width // heads)

    def forward(self, x: Tensor) -> Tensor:
        """Attention within a flight (B, F, N, D): frames see those up to their own."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(3, 0, 4, 1, 2, 5)
        q, k, v = (t.flatten(2, 3) for t in (rotate(self.norm_q(q)), rotate(self.norm_k(k)), v))
        frame = torch.arange(x.shape[1]).repeat_interleave(x.shape[2])
        scores = (q @ k.mT / math.sqrt(q.shape[3])).masked_fill(frame > frame[:, None], -math.inf)
        return self.out((scores.softmax(-1) @ v).transpose(1, 2).reshape(x.shape))


class Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.memories = nn.ModuleList([Window(width, heads)])  # a list: in the library a cache or a recurrence may join it
        self.bias = nn.Parameter(torch.zeros(2, 3, width))
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU("tanh"), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, mods: Tensor) -> Tensor:
        """Attention, then MLP; the noise level of each frame shifts, scales and gates both (DiT)."""
        for part, branch in enumerate((self.memories[0], self.mlp)):
            shift, scale, gate = (mods[:, :, part] + self.bias[part])[..., None, :].unbind(2)
            x = x + gate * branch(fn.layer_norm(x, x.shape[3:], eps=1e-6) * (1 + scale) + shift)
        return x


# 5. The model has three verbs. `start` gives an empty state, `denoise` predicts velocities behind a state, `remember` takes
#    clean frames into it. The state is a value: handed in, handed back, never changed. It is all a rollout knows of its past.
class VideoTransformer(nn.Module):
    def __init__(self, width: int = 96, depth: int = 3, heads: int = 2) -> None:
        super().__init__()
        self.enter, self.leave = nn.Linear(12 * PATCH**2, width), nn.Linear(width, 3 * PATCH**2)  # in: one noisy, three clean
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.level = nn.Sequential(nn.Linear(256, width), nn.SiLU(), nn.Linear(width, width))
        self.modulation = nn.Linear(width, 8 * width)  # 2 parts x (shift, scale, gate), then the last layer's
        angle = torch.arange(GRID)[:, None] * 50.0 ** (-torch.arange(width // 4) / (width // 4))
        wave = torch.cat([angle.sin(), angle.cos()], -1)
        self.place = torch.cat([wave.repeat_interleave(GRID, 0), wave.repeat(GRID, 1)], -1)  # row and column of a token
        for weight in (*self.modulation.parameters(), *self.leave.parameters()):
            nn.init.zeros_(weight)  # blocks begin as the identity, the answer blank: it trains sooner

    def start(self, seed: Tensor) -> dict:
        return {"at": 0, "seed": seed, "beside": torch.zeros(len(seed), 3, 3, SIZE, SIZE)}  # nothing remembered: blank frames

    def remember(self, clean: Tensor, state: dict) -> dict:
        """The state after these frames (B, T, ...) too."""
        first, last = state["beside"].split([1, 2], 1)
        beside = torch.cat([first if state["at"] else clean[:, :1], torch.cat([last, clean], 1)[:, -2:]], 1)
        return {**state, "at": state["at"] + clean.shape[1], "beside": beside}

    def denoise(self, x: Tensor, level: Tensor, state: dict) -> Tensor:
        """Velocities of a flight (B, F, ...)."""
        beside = state["beside"].flatten(1, 2)[:, None].expand(-1, x.shape[1], -1, -1, -1)
        patches = torch.cat([x, beside], 2).unflatten(3, (GRID, PATCH)).unflatten(5, (GRID, PATCH))
        tokens = self.enter(patches.permute(0, 1, 3, 5, 2, 4, 6).flatten(4).flatten(2, 3)) + self.place
        angle = 1000 * level[..., None] * torch.exp(-math.log(10_000) * torch.arange(128) / 128)
        mods = self.modulation(fn.silu(self.level(torch.cat([angle.cos(), angle.sin()], -1)))).unflatten(-1, (8, -1))
        for block in self.blocks:
            tokens = block(tokens, mods[:, :, :6].unflatten(2, (2, 3)))
        shift, scale = mods[:, :, 6:, None].unbind(2)
        tokens = fn.layer_norm(tokens, tokens.shape[3:], eps=1e-6) * (1 + scale) + shift
        out = self.leave(tokens).reshape(*x.shape[:2], GRID, GRID, 3, PATCH, PATCH)
        # The net says what the CLEAN frame is; as x = (1 - level) clean + level noise, noise - clean is (x - clean) / level.
        return (x - out.permute(0, 1, 4, 2, 5, 3, 6).reshape(x.shape)) / level.clamp(min=0.05)[..., None, None, None]


# 6. Training. A frame needs only its own three clean ones, so all frames of all clips are one batch, each a flight of its own
#    (lag 1). Were the clean ones always true, the model would not know how to follow its own, and its video would fall apart.
def denoising(model: VideoTransformer, first: Tensor, clip: Tensor, past: Tensor, level: Tensor, eps: Tensor) -> tuple:
    """Mean squared error of the velocities of frames 2 .. T - 1 of a clip, each noised by its eps to its level, behind the
    frames of `past` (the clip itself, or the model's own); and the clean frames that they point at (B, T - 2, ...)."""
    clean, share = clip[:, 2:], level[..., None, None, None]
    x = (1 - share) * clean + share * eps
    beside = torch.stack([first.expand_as(clean), past[:, :-2], past[:, 1:-1]], 2).flatten(0, 1)
    velocity = model.denoise(x.flatten(0, 1)[:, None], level.flatten()[:, None], {"beside": beside}).view_as(x)
    return (velocity - (eps - clean)).square().mean(), x - share * velocity


def loss(model: VideoTransformer, first: Tensor, clip: Tensor) -> Tensor:
    """The error behind a past as it will be in use: a random share of it is guessed by the model, some behind guesses."""
    eps, least = torch.randn(3, *clip[:, 2:].shape), torch.tensor([0.6, 0.6, 0.04])[:, None, None]
    u = least + (1 - least) * torch.rand(3, *eps.shape[1:3])
    level, past = 3 * u / (1 + 2 * u), clip  # more of high noise, where what will happen is decided
    own = torch.rand(2, *eps.shape[1:3]) < torch.rand(len(clip), 1).sqrt()
    for k in range(2):
        with torch.no_grad():
            guess = denoising(model, first, clip, past, level[k], eps[k])[1]
        past = torch.cat([clip[:, :2], guess.where(own[k, ..., None, None, None], clip[:, 2:])], 1)
    return denoising(model, first, clip, past, level[2], eps[2])[0]


def train(model: VideoTransformer, steps: int, batch: int = 3, frames: int = 12) -> None:
    optimizer = torch.optim.AdamW(model.parameters(), lr=2.5e-3, betas=(0.9, 0.95), weight_decay=0.01)
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 2.5e-3 * min(1, (step + 1) / 50, 1.5 * (steps - step) / steps)
        video, at = world(batch, 100), int(torch.randint(100 - frames, ()))  # the first frame may be long ago
        value = loss(model, video[:, :1], video[:, at : at + frames])
        optimizer.zero_grad()
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        if step % 50 == 0 or step == steps - 1:
            print(f"step {step + 1}/{steps}  loss {value.item():.4f}", flush=True)


# 7. The one denoising loop. A flight of noisy frames stands behind the state; level by level it falls (Euler's method); what is
#    clean is shown and remembered, the flight moves up, noise enters at its end. There is no last frame.
@torch.no_grad()
def stream(model: VideoTransformer, plan: tuple, rollout: tuple[dict, Tensor]) -> Iterator[tuple[Tensor, tuple[dict, Tensor]]]:
    """(clean frames (B, hop, ...), rollout) without end. A rollout is a value: what is remembered, and the frames in flight;
    keep one to go on from there, twice if you like."""
    (levels, hop, again), (state, window) = plan, rollout
    while True:
        held = window.shape[1]
        rows = levels[again if held else 0 :]
        window = torch.cat([window, noise(state["seed"], state["at"] + held, rows.shape[1] - held)], 1)
        for level, to in pairwise(rows):
            window = window + (to - level)[:, None, None, None] * model.denoise(window, level.expand(len(window), -1), state)
        clean, window = window[:, :hop], window[:, hop:]
        state = model.remember(clean, state)
        yield clean, (state, window)


def main(steps: int, frames: int, out: str) -> None:
    torch.manual_seed(0)
    model = VideoTransformer()
    train(model, steps)
    context = world(1, 2).expand(3, -1, -1, -1, -1)  # the same two frames three times: only the seeds differ
    dream = stream(model, staircase(), (model.remember(context, model.start(torch.arange(3))), context[:, :0]))  # has no end
    video = torch.cat([context, *(clean for clean, _ in islice(dream, frames))], 1).permute(1, 3, 0, 4, 2)
    pixels = ((video.clamp(-1, 1) + 1) * 127.5).byte().repeat_interleave(4, 1).repeat_interleave(4, 3)
    movie = [Image.fromarray(frame.numpy()) for frame in pixels.flatten(2, 3)]  # pixels (T, H, B, W, 3)
    movie[0].save(f"{out}.gif", save_all=True, append_images=movie[1:], duration=66, loop=0)
    Image.fromarray(pixels[::20].permute(2, 1, 0, 3, 4).flatten(0, 1).flatten(1, 2).numpy()).save(f"{out}.png")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Train a small video diffusion model, then stream three futures.")
    parser.add_argument("--steps", type=int, default=2700, help="of training")
    parser.add_argument("--frames", type=int, default=300, help="to stream behind the first two")
    parser.add_argument("--out", default="one_file", help="name of the .gif and the .png")
    main(**vars(parser.parse_args()))
