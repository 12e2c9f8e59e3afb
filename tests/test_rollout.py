"""The loop over a video transformer: cut, resumed, batched, endless, and equal to the slow oracles."""

from __future__ import annotations

import copy
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from unspool import store
from unspool.blend import AlphaBlend
from unspool.context import Channels, Context, Local, Tokens
from unspool.errors import UserError
from unspool.model import VideoTransformer
from unspool.model.video import Reader
from unspool.noise import FrameNoise
from unspool.rollout import Chunk, Rollout, begin, by_frame, fill, stream
from unspool.schedule import Staircase
from unspool.snapshot import load_rollout, save_rollout
from unspool.testing import (
    SHAPE,
    Banded,
    Replayed,
    assert_close,
    assert_equal,
    draw,
    error,
    map_state,
    nano,
    video,
)
from unspool.types import Known, State, Video

BLEND = AlphaBlend()
CASES = {
    "chunk by chunk": Staircase(3, 2),
    "frame by frame": Staircase(2, 1),
    "progressive": Staircase(4, 2, 0.25),
    "two in flight": Staircase(4, 2, 0.5),
    "growing": Staircase(6, 2, Fraction(1, 3), grow=True),
    "full sequence": Staircase(3, 2, 0, 2),
    "noise ahead": Staircase(2, 2, 1, 3),
    "redo": Staircase(2, 2, 0.5, redo=2),
    "redo, chunk by chunk": Staircase(2, 2, redo=2),
}
SCHEDULES = pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
KINDS: dict[str, dict[str, Any]] = {
    "cached": {},
    "tokens": {"context": Tokens(2)},
    "channels": {"context": Channels(2)},
    "anchored": {"context": Channels(1, anchor=3)},
    "nothing kept": {"context": Channels(2, anchor=1), "window": 0},
    "local and a gist": {"local": Local(2, 4), "gist": True},
}


def joined(chunks: list[Chunk]) -> Video:
    return torch.cat([chunk.frames for chunk in chunks], 1)


def run(model: nn.Module, case: Staircase, frames: int, rollout: Rollout | None = None, **options: Any) -> list[Chunk]:
    plan = case.plan()
    rollout = rollout or begin(model, video(4), seed=3, redo=plan.redo)
    return list(stream(model, BLEND, plan, rollout, frames=frames, **options))


# -- cut, resumed, drained ------------------------------------------------------------------------------------------------


@SCHEDULES
@settings(max_examples=6)
@given(cuts=st.lists(st.integers(1, 5), min_size=2, max_size=5))
def test_cut_and_resumed_is_uninterrupted(case: Staircase, cuts: list[int]) -> None:
    """Bit for bit, wherever it is cut, inside a chunk too; the one-shot video is a prefix of any longer one."""
    model = nano()
    pieces, rollout = [], None
    for frames in cuts:
        chunks = run(model, case, frames, rollout)
        pieces.append(joined(chunks))
        assert pieces[-1].shape[1] == frames
        rollout = chunks[-1].rollout
    assert_equal(torch.cat(pieces, 1), joined(run(model, case, sum(cuts))))
    assert_equal(torch.cat(pieces, 1), joined(run(model, case, sum(cuts) + 5))[:, : sum(cuts)])


@SCHEDULES
@pytest.mark.parametrize("context", [Tokens(1), Channels(2, anchor=5)], ids=["tokens", "anchored"])
def test_every_chunk_can_be_resumed_from_disk(case: Staircase, context: Context, tmp_path: Path) -> None:
    """From each chunk's rollout, saved and loaded, the rest follows bit for bit: no chunk's value is changed by later ones."""
    model = nano(context=context)
    chunks = run(model, case, 12)
    whole = joined(chunks)
    done = 0
    for i, chunk in enumerate(chunks[:-1]):
        done += chunk.frames.shape[1]
        path = tmp_path / f"{i}.safetensors"
        save_rollout(path, chunk.rollout, model)
        back = load_rollout(path, model).rollout
        assert_equal(map_state(torch.clone, back._asdict()), chunk.rollout._asdict(), "the saved rollout")
        assert_equal(joined(run(model, case, 12 - done, back)), whole[:, done:], f"from frame {done} on")


@SCHEDULES
@pytest.mark.parametrize("frames", [1, 2, 5, 9])
def test_drained_is_cut(case: Staircase, frames: int) -> None:
    """Where later frames are not seen by earlier ones, leaving them out changes nothing (but the order of sums)."""
    model = nano(chunk=case.chunk)
    if case.redo % case.chunk:
        pytest.skip("redo tears the model's chunks")
    drained = run(model, case, frames, drain=True)
    assert_close(joined(drained), joined(run(model, case, frames)))
    assert drained[-1].rollout is None


def test_drained_is_another_video_when_frames_see_ahead() -> None:
    """The test above can fail: in a model that looks both ways through its whole flight, draining shows."""
    model, case = nano(chunk=8), CASES["progressive"]
    cut, drained = joined(run(model, case, 4)), joined(run(model, case, 4, drain=True))
    assert error(drained, cut) > 1e-3


def test_endless() -> None:
    model = nano()
    chunks = stream(model, BLEND, CASES["chunk by chunk"].plan(), begin(model, video(2), seed=0))
    assert joined([next(chunks) for _ in range(3)]).shape == (2, 6, *SHAPE)


# -- windows that grow and shrink -----------------------------------------------------------------------------------------

WINDOWS = {
    "growing": Staircase(6, 2, Fraction(1, 3), grow=True),
    "S != F": Staircase(8, 1, Fraction(1, 4), grow=True),
    "not one shift for each": Staircase(5, 2, Fraction(2, 5), grow=True),
    "behind an overlap": Staircase(4, 2, 0.5, redo=2, grow=True),
    "together": Staircase(3, 2, 0, 3, grow=True),
}


@pytest.mark.parametrize("case", WINDOWS.values(), ids=WINDOWS.keys())
@pytest.mark.parametrize("options", [{"chunk": 8}, {"chunk": 8, "context": Tokens(2, joined=True), "window": 0}, {}], ids=str)
def test_masked_is_cut_off(case: Staircase, options: dict[str, Any]) -> None:
    """One shape for ever, or frames that are not there left out: the same video, also where every frame sees every other."""
    model = nano(**options)
    for frames in (1, 2, 3, 9):
        for context in (0, 3):
            rollout = begin(model, video(context), seed=3, redo=case.redo)
            for drain in (False, True):
                cut, masked = (run(model, case, frames, rollout, drain=drain, fixed=fixed) for fixed in (False, True))
                assert_close(joined(masked), joined(cut))
                assert joined(cut).shape[1] == frames


def by_hand(model: VideoTransformer, case: Staircase, context: Video, frames: int, drain: bool) -> Video:
    """PA-VDM's rollout as a list of chunks, appended to and popped from, m = S / K steps apart: slow and obvious, without
    any matrix."""
    steps, m, size = case.steps, case.stride, case.chunk
    seed = 3 + torch.arange(len(context))
    state = model.remember(context, model.start(len(context), seed=seed, device="cpu", dtype=torch.float64))
    noise, at, made, flight = FrameNoise(SHAPE), context.shape[1], 0, []
    out: list[Video] = []
    while len(out) * size < frames:
        if (len(flight) < steps // m) and not (drain and made * size >= frames):
            fresh = noise(seed, torch.full((len(context),), at + made * size), size).double()
            flight.append([fresh, steps])
            made += 1
        for _ in range(m):
            x = torch.cat([chunk for chunk, _ in flight], 1)
            level = torch.cat([torch.full((len(x), size), tick / steps) for _, tick in flight], 1).double()
            velocity = model.denoise(x, level, state).split(size, 1)
            flight = [[c - v / steps, tick - 1] for (c, tick), v in zip(flight, velocity, strict=True)]
        if flight[0][1] == 0:
            state = model.remember(flight[0][0], state)
            out.append(flight.pop(0)[0])
    return torch.cat(out, 1)[:, :frames]


@pytest.mark.parametrize("drain", [False, True])
@pytest.mark.parametrize("frames", [1, 2, 4, 7, 11])
@pytest.mark.parametrize("context", [0, 2, 5])
@pytest.mark.parametrize("case", [WINDOWS["growing"], WINDOWS["S != F"]], ids=["6 steps", "8 steps"])
def test_progressive_is_the_loop_by_hand(case: Staircase, frames: int, context: int, drain: bool) -> None:
    """Window, kept clean chunk, growing and shrinking, from real frames and from nothing, in a model that looks both ways."""
    model = nano(chunk=8, context=Tokens(2, joined=True), window=0)
    got = run(model, case, frames, begin(model, video(context), seed=3), drain=drain)
    want = by_hand(model, case, video(context), frames, drain)
    assert error(joined(got), want) < 1e-5  # levels are single precision
    assert joined(got).shape == want.shape


def test_the_ends_of_the_lag() -> None:
    """Lag 1 is chunk by chunk, lag 0 the full sequence, whether the window grows or not: each against its own few lines."""
    model, context = nano(chunk=8), video(4)
    seed, noise = torch.tensor([3, 4]), FrameNoise(SHAPE)
    for lag, size, chunks in ((1, 2, None), (0, 6, 3)):
        state = begin(model, context, seed=3).state
        want = []
        for at in range(4, 16, size):
            x = noise(seed, torch.tensor([at, at]), size).double()
            for step in (4, 3, 2, 1):
                x = x - model.denoise(x, torch.full((2, size), step / 4).double(), state) / 4
            state = model.remember(x, state)
            want.append(x)
        for grow in (False, True):
            got = joined(run(model, Staircase(4, 2, lag, chunks, grow=grow), 12))
            assert error(got, torch.cat(want, 1)) < 1e-6


# -- slow oracles ---------------------------------------------------------------------------------------------------------


def banded(model: VideoTransformer) -> VideoTransformer:
    """The same weights without a cache: a dense banded mask over the whole history."""
    slow = copy.deepcopy(model)
    for block in slow.blocks:
        block.memories = nn.ModuleList(Banded(memory) for memory in block.memories)
    return slow


@SCHEDULES
@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_streamed_equals_the_slow_oracles(case: Staircase, options: dict[str, Any]) -> None:
    """Far beyond the window of 3: against the dense banded mask, and against remembering the whole video for each chunk."""
    model = nano(**options)
    fast = joined(run(model, case, 14))
    assert_close(fast, joined(run(Replayed(model), case, 14)), "replayed")
    if not options:
        assert_close(fast, joined(run(banded(model), case, 14)), "banded")


def test_streamed_equals_the_slow_oracle_under_actions() -> None:
    model, told = nano(controls=2), draw(9, shape=(2, 40, 2))
    made = []
    for one in (model, Replayed(model)):
        rollout = begin(one, video(4), seed=3, control=told[:, :4])
        acted = by_frame(told, torch.zeros(2, dtype=torch.int64))
        made.append(joined(list(stream(one, BLEND, CASES["chunk by chunk"].plan(), rollout, frames=10, controls=acted))))
    assert_close(made[0], made[1], "replayed under actions")
    still = begin(model, video(4), seed=3, control=0 * told[:, :4])
    assert error(made[1], joined(run(model, CASES["chunk by chunk"], 10, still, controls=lambda at, n: 0 * told[:, :n]))) > 0.01


def test_streamed_equals_the_slow_oracles_in_single_precision() -> None:
    model = nano(dtype=torch.float32, std=0.15)
    rollout, slow = (begin(m, video(4, dtype=torch.float32), seed=3) for m in (model, Replayed(model)))
    case = CASES["chunk by chunk"]
    assert_close(joined(run(model, case, 8, rollout)), joined(run(Replayed(model), case, 8, slow)))


def test_memory_reaches_beyond_its_window() -> None:
    """A frame older than the window still moves the video, through what younger frames remember of it."""
    model, case = nano(window=3), CASES["chunk by chunk"]
    context = video(7)
    other = torch.cat([video(2, key=9), context[:, 2:]], 1)  # frames 0 and 1: five back and more
    a, b = (joined(run(model, case, 2, begin(model, c, seed=3))) for c in (context, other))
    assert error(a, b) > 1e-6


# -- slots, context, length -----------------------------------------------------------------------------------------------


@SCHEDULES
def test_slots_are_independent(case: Staircase) -> None:
    """Three rollouts of different age and seed in one batch are what each is alone."""
    model, plan = nano(), case.plan()
    alone = [begin(model, video(n, 1, key=n), seed=10 + n, redo=plan.redo) for n in (2, 3, 9)]
    together = Rollout(**map_state(lambda *t: torch.cat(t), *(r._asdict() for r in alone)))
    got = run(model, case, 7, together)
    for i, rollout in enumerate(alone):
        want = run(model, case, 7, rollout)
        assert_close(joined(got)[i : i + 1], joined(want), f"slot {i}")
        assert [int(c.at[i]) for c in got] == [int(c.at[0]) for c in want]


def test_seeds_of_a_batch() -> None:
    """An int s is s, s + 1, ...: slot 1 of seed 5 is slot 0 of seed 6."""
    model, case = nano(), CASES["two in flight"]
    same = video(3, 1).expand(2, -1, -1, -1, -1)
    got = joined(run(model, case, 5, begin(model, same, seed=5)))
    for slot, seed in enumerate((5, torch.tensor([6]))):
        assert_close(got[slot : slot + 1], joined(run(model, case, 5, begin(model, same[:1], seed=seed))))
    assert error(got[0], got[1]) > 0.01


@SCHEDULES
@pytest.mark.parametrize("frames", [0, 1, 2, 11])
def test_any_context(case: Staircase, frames: int) -> None:
    """None, less than a chunk, less than the window, more than the window; each frame that is remembered counts."""
    model = nano()
    if 0 < frames < case.redo:
        with pytest.raises(UserError, match="generated again"):
            begin(model, video(frames), seed=3, redo=case.redo)
        return
    rollout = begin(model, video(frames), seed=3, redo=case.redo)
    assert rollout.state["at"].tolist() == [frames - case.redo] * 2
    chunks = run(model, case, 3, rollout)
    assert chunks[0].at.tolist() == [frames] * 2
    assert torch.isfinite(joined(chunks)).all()
    for f in range(max(0, frames - 3), frames - case.redo):
        changed = video(frames).index_fill(1, torch.tensor([f]), 0.5)
        assert error(joined(run(model, case, 3, begin(model, changed, seed=3, redo=case.redo))), joined(chunks)) > 1e-3


class Told(VideoTransformer):
    """Notes what it is told of each flight."""

    def reader(self, state: State, known: Known | None = None) -> Reader:
        self.__dict__.setdefault("notes", []).append((state["at"].clone(), known))
        return super().reader(state, known)


def test_the_overlap_is_told_as_it_was_shown() -> None:
    """Behind two real frames, then behind the last two of each chunk, which memory does not hold yet."""
    model, plan = nano(local=Local(2, 4), kind=Told), Staircase(3, 2, redo=2).plan()
    chunks = list(stream(model, BLEND, plan, begin(model, video(5), seed=3, redo=2), frames=6))
    assert [at.tolist() for at, _ in model.notes] == [[3, 3], [5, 5], [7, 7]]
    for (_, known), shown in zip(model.notes, [video(5)[:, 3:], *(chunk.frames for chunk in chunks)], strict=False):
        assert known is not None and known.position.tolist() == [[0, 1]] * 2
        assert_equal(known.frames, shown)


def test_a_video_may_begin_from_nothing() -> None:
    """What lies before its first frame is said to be missing, whatever stands there, and is never shown."""
    model, plan = nano(local=Local(2, 4), kind=Told), Staircase(3, 2, redo=2).plan()
    for frames, places in ((0, [-1, -1]), (2, [0, 1])):
        rollout = begin(model, video(5)[:, :frames], seed=3, redo=2)
        chunks = list(stream(model, BLEND, plan, rollout, frames=4))
        assert model.notes[-2][1].position.tolist() == [places] * 2 and model.notes[-1][1].position.tolist() == [[0, 1]] * 2
        assert [chunk.at.tolist() for chunk in chunks] == [[frames] * 2, [frames + 2] * 2]
        other = rollout._replace(window=rollout.window.index_fill(1, torch.arange(2 - frames), 7.0))
        assert_equal(next(stream(model, BLEND, plan, other, frames=2)).frames, chunks[0].frames)


def test_frames_between_two_ends() -> None:
    """By the same descent as any flight; both ends count, positions tell them apart, and a plan must begin as noise."""
    model, plan = nano(local=Local(2, 4)), Staircase(3, 2, redo=2).plan()
    ends = Known(video(2), torch.tensor([[0, 3], [0, 3]]))
    made = fill(model, BLEND, plan, ends, seed=3)
    assert made.shape == (2, 4, *SHAPE) and torch.isfinite(made).all()
    x = FrameNoise(SHAPE)(torch.tensor([3, 4]), torch.zeros(2, dtype=torch.int64), 4, 0).double()
    state = model.start(2, seed=torch.tensor([3, 4]), device="cpu", dtype=torch.float64)
    for level, to in ((1, 2 / 3), (2 / 3, 1 / 3), (1 / 3, 0)):
        x = x + (to - level) * model.denoise(x, torch.full((2, 4), level, dtype=torch.float64), state, known=ends)
    assert error(made, x) < 1e-6  # levels are single precision
    for other in (ends._replace(position=ends.position.flip(1)), ends._replace(frames=ends.frames + 0.1)):
        assert error(fill(model, BLEND, plan, other, seed=3), made) > 1e-3
    with pytest.raises(UserError, match="made together"):
        fill(model, BLEND, Staircase(4, 2, 0.5).plan(), ends, seed=3)
    with pytest.raises(UserError, match="positions are 0 to 3"):
        fill(model, BLEND, plan, ends._replace(position=ends.position + 1), seed=3)


def test_context_may_be_remembered_in_pieces() -> None:
    model, case = nano(), CASES["two in flight"]
    whole = begin(model, video(9), seed=3)
    state = begin(model, video(9)[:, :2], seed=3).state
    for piece in (video(9)[:, 2:3], video(9)[:, 3:9]):
        state = model.remember(piece, state)
    assert_close(joined(run(model, case, 6, whole._replace(state=state))), joined(run(model, case, 6, whole)))


@pytest.mark.parametrize("case", [CASES[name] for name in ("chunk by chunk", "two in flight", "redo")])
@pytest.mark.parametrize("kind", ["cached", "nothing kept"])
def test_state_is_as_large_at_frame_400_as_at_frame_20(case: Staircase, kind: str) -> None:
    """A video a hundred times longer than the window of 3, every value the same size to the byte."""
    model, plan = nano(std=0.1, **KINDS[kind]), case.plan()
    sizes, shown = {}, 4
    for chunk in stream(model, BLEND, plan, begin(model, video(4), seed=0, redo=plan.redo), frames=400):
        shown += chunk.frames.shape[1]
        flat = store.flatten(chunk.rollout._asdict())
        sizes[shown] = {name: (tuple(t.shape), t.dtype) for name, t in flat.items() if name != "pending"}
        assert torch.isfinite(chunk.frames).all()
        last = store.size(chunk.rollout.state)
    assert shown == 404
    full = [s for n, s in sizes.items() if n >= 20]
    assert len(full) > 90 and all(s == full[0] for s in full)
    assert last == store.size(begin(model, video(4), seed=0).state)


@SCHEDULES
def test_frame_number_does_not_matter(case: Staircase) -> None:
    """Frame 10^2 and 10^5 from the same state, window and noise: the same output, bit for bit."""
    model, plan = nano(), case.plan()
    rollout = run(model, case, 8)[-1].rollout
    results = []
    for at in (100, 100_000):
        moved = rollout._replace(state={**rollout.state, "at": torch.full((2,), at)})
        noise = FrameNoise(SHAPE)

        def source(seed: Tensor, index: Tensor, frames: int, row: int = 0, at: int = at, noise: FrameNoise = noise) -> Video:
            return noise(seed, index - at, frames, row)

        chunks = list(stream(model, BLEND, plan, moved, frames=6, source=source))
        assert int(chunks[-1].rollout.state["at"][0]) == at + -(-6 // plan.hop) * plan.hop
        results.append(joined(chunks))
    assert_equal(*results)
