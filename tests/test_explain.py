"""What `explain` tells is what happens: closed forms, the counter on real numbers, real states, and refusals."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from PIL import Image

from unspool import config, flops, store
from unspool.blend import AlphaBlend
from unspool.codec import Pixels
from unspool.context import Channels, Tokens
from unspool.errors import UserError
from unspool.explain import check, explain, explain_dict, levels_picture
from unspool.explain.picture import AWAY, SHOWN, unrolled
from unspool.laws import Independent
from unspool.memory import Window
from unspool.model import VideoTransformer
from unspool.recipes import RECIPES
from unspool.rollout import begin, stream
from unspool.schedule import Staircase
from unspool.solver import euler, midpoint
from unspool.system import System
from unspool.train.objectives import DiffusionForcing, TeacherForcing
from unspool.types import Clip

WIDTH, DEPTH, HEADS, PATCH, SIZE, CHUNK, WINDOW = 32, 2, 2, 8, 16, 2, 4
TOKENS = (SIZE // PATCH) ** 2
TINY = {"size": "nano", "resolution": 32}


def system(**change: object) -> System:
    """A small one of known sizes; arguments replace fields of the System or of its model."""
    model = {"shape": (3, SIZE, SIZE), "patch": PATCH, "width": WIDTH, "chunk": CHUNK, "context": None}
    model |= {"heads": HEADS, "window": WINDOW}
    model |= {key: change.pop(key) for key in list(change) if key in model}
    shape, width, heads, window = (model.pop(key) for key in ("shape", "width", "heads", "window"))
    net = VideoTransformer(shape, width=width, memories=[[Window(width, heads, window)] for _ in range(DEPTH)], **model)
    law = Independent(CHUNK)
    whole = System(net, Pixels(), AlphaBlend(), Staircase(8, CHUNK), euler, TeacherForcing(CHUNK, 2, 0.1, law=law), 12)
    return dataclasses.replace(whole, **change)


def closed_form(flight: int) -> int:
    """FLOPs of one call on so many frames, by hand: weights times tokens, level embedding by frame, attention."""
    tokens, keys, pixels = flight * TOKENS, (WINDOW + flight) * TOKENS, 3 * PATCH * PATCH
    block = 2 * tokens * (3 + 1 + 8) * WIDTH**2 + 2 * 2 * tokens * keys * WIDTH
    level = 2 * flight * (256 * WIDTH + WIDTH**2 + WIDTH * (3 * 2 + 2) * WIDTH)
    return DEPTH * block + level + 2 * 2 * tokens * pixels * WIDTH


def test_flops_of_a_call_are_the_closed_form() -> None:
    told = explain_dict(system(), measure=False)
    assert told["flops"]["denoise"] == pytest.approx(closed_form(CHUNK), rel=0.02)
    assert told["flops"]["token_forward"] == told["flops"]["denoise"] / (CHUNK * TOKENS)


@pytest.mark.parametrize("recipe", RECIPES)
def test_flops_are_those_of_a_real_run(recipe: str) -> None:
    """What is counted on shapes is what the counter sees when three chunks are generated and one step is trained."""
    whole = config.build(recipe, TINY)
    told = explain_dict(whole, measure=False)
    plan = whole.schedule.plan()
    rollout = begin(whole.model, torch.zeros(1, 2, *whole.model.shape), seed=0, redo=plan.redo)
    chunks = stream(whole.model, whole.blend, plan, rollout, solver=whole.solver)
    next(chunks)
    with torch.no_grad():
        real = flops.count(lambda: (next(chunks), next(chunks), next(chunks)))
    latents = torch.zeros(1, plan.hop, *whole.model.shape)
    decoding = flops.count(lambda: whole.codec.decode(latents, {}))
    assert (real.total / 3 + decoding.total) / plan.hop == pytest.approx(told["flops"]["frame"], rel=0.02)

    def step() -> None:
        clip = Clip(torch.zeros(1, whole.frames, *whole.model.shape))
        for loss in whole.objective(whole.model, whole.blend, clip, torch.zeros(1, dtype=torch.int64)):
            loss.value.backward()

    assert flops.count(step).total == pytest.approx(told["flops"]["training_clip"], rel=0.02)


@pytest.mark.parametrize(("solver", "per_step"), [(euler, 1), (midpoint, 2)])
@pytest.mark.parametrize("schedule", [Staircase(8, CHUNK), Staircase(8, CHUNK, Fraction(1, 4)), Staircase(4, CHUNK, 0, 3)])
@pytest.mark.parametrize("window", [WINDOW, 0])
def test_evaluations_are_those_of_a_rollout(solver: Callable, per_step: int, schedule: Staircase, window: int) -> None:
    task = TeacherForcing(CHUNK, 2, law=Independent(CHUNK))
    whole = system(solver=solver, schedule=schedule, window=window, context=Channels(1), objective=task)
    told = explain_dict(whole, measure=False)
    called = []

    class Counted(VideoTransformer):
        def reader(self, state):
            read = super().reader(state)
            return lambda x, level, **kwargs: (called.append(x.shape[1] * TOKENS), read(x, level, **kwargs))[1]

    whole.model.__class__ = Counted
    rollout = begin(whole.model, torch.zeros(1, 1, *whole.model.shape), seed=0)
    chunks = stream(whole.model, whole.blend, schedule.plan(), rollout, solver=solver)
    next(chunks)
    assert len(called) == told["first_frame"]["denoise_calls"]
    called.clear()
    next(chunks)
    asked = told["evaluations"]
    assert asked["calls_per_step"] == per_step
    assert len(called) == asked["denoise_calls_per_chunk"]
    kept = int(window > 0)  # only then does remembering call the network
    assert asked["remember_calls_per_chunk"] == kept
    assert (len(called) + kept) / schedule.plan().hop == asked["calls_per_frame"]
    assert sum(called) / schedule.plan().hop + kept * TOKENS == asked["token_forwards_per_frame"]


def test_what_cannot_be_seen_in_training_is_refused_or_told() -> None:
    task = TeacherForcing(CHUNK, 2, law=Independent(CHUNK))
    anchored = system(context=Channels(2, anchor=1), window=0, objective=task)
    assert not check(anchored)
    for change, said in [
        ({"reach": 8}, "there is none"), ({"reach": 10**6, "anchor": 1}, "at most"),
        ({"objective": TeacherForcing(CHUNK, 2, 0.1)}, "nothing is kept"),
    ]:  # fmt: skip
        with pytest.raises(UserError, match=said):
            check(dataclasses.replace(anchored, **change))
    with pytest.raises(UserError, match="set it to 2"):
        check(system(context=Channels(1, anchor=3), objective=task))
    assert any("train on longer clips" in line for line in check(system(context=Channels(11), window=0, objective=task)))
    told = explain(dataclasses.replace(anchored, anchor=1, reach=60), measure=False)
    assert "the 2 newest frames beside; the first 1 of the video beside, for ever" in told
    assert "up to 60 frames (2 s) before the clip" in told


@pytest.mark.parametrize(
    ("recipe", "arguments", "why", "mended"),
    [
        ("rad", {"delay": 21}, "read 21 frames late is empty", {"frames": 23}),
        ("rad", {"delay": 100_000}, "set delay to at most 20$", {"delay": 20}),
        ("rad", {"delay": 4, "chunk": 2, "frames": 5, "window": 2}, "read 4 frames late is empty", {"delay": 2}),
        ("malt", {"segment": 30}, "at most 18 frames of the past, a segment has 30", {"frames": 34}),
        ("malt", {"frames": 9}, "nothing would ever enter the memory", {"frames": 11}),
        ("full", {"capacity": 8}, "at most 21 frames of the past, and memory full has place for 8", {"capacity": 21}),
    ],
)  # fmt: skip
def test_a_memory_that_training_never_reads_is_refused(
    recipe: str, arguments: dict[str, int], why: str, mended: dict[str, int]
) -> None:
    """In one line, at once; what the line names is enough."""
    with pytest.raises(UserError, match=why):
        check(RECIPES[recipe](**TINY, **arguments))
    made = RECIPES[recipe](**{**TINY, **arguments, **mended})
    assert not [line for line in check(made) if "of the past" in line]


@pytest.mark.parametrize(
    ("recipe", "arguments", "why"),
    [
        ("window", {"sink": 2, "frames": 8}, "window of 8 has lost them: set frames to at least 11 or window to at most 5"),
        ("rad", {"horizon": 21}, "cut after 21 frames, which is never: set frames to at least 23 or horizon to at most 20"),
        ("rad", {"horizon": 18, "delay": 4}, "cut after 18 frames, which is never: set frames to at least 24 or horizon to"),
        ("malt", {"horizon": 5}, "after 5 segments of 4, which is never: set frames to at least 25 or horizon to at most 4"),
    ],
)  # fmt: skip
def test_what_only_happens_in_use_is_told(recipe: str, arguments: dict[str, int], why: str) -> None:
    assert any(why in line for line in check(RECIPES[recipe](**TINY, **arguments)))


@pytest.mark.parametrize(
    ("recipe", "arguments"),
    [
        ("window", {"sink": 2}), ("rad", {"horizon": 20}), ("rad", {"delay": 20}), ("malt", {"horizon": 4}),
        ("malt", {"segment": 18}), ("window", {"sink": 2, "frames": 8, "window": 5}),
    ],
)  # fmt: skip
def test_what_training_reaches_is_no_warning(recipe: str, arguments: dict[str, int]) -> None:
    assert check(RECIPES[recipe](**TINY, **arguments)) == []


def test_what_carries_the_past_is_told() -> None:
    for recipe, said in {"rad": "a recurrence over all before", "alpha-context": "a gist of all before"}.items():
        assert said in explain(config.build(recipe, TINY), measure=False)
    late = explain(config.build("rad", {**TINY, "delay": 3}), measure=False)
    assert "a recurrence over all before but the newest 3" in late


def test_state_is_that_of_a_long_rollout() -> None:
    whole = system(context=Tokens(3))
    told = explain_dict(whole, measure=False)
    state = begin(whole.model, torch.zeros(1, 40, *whole.model.shape), seed=0).state
    assert told["state"] == {"bytes": store.size(state), "growth_bytes": 0}
    assert told["window"]["frames"] == WINDOW
    assert told["window"]["reach_frames"] == WINDOW * DEPTH


def test_a_state_that_grows_is_found() -> None:
    from unspool.testing import Replayed

    whole = system()
    told = explain_dict(dataclasses.replace(whole, model=Replayed(whole.model)), measure=False)
    assert told["state"]["growth_bytes"] > 0
    assert told["mask"] is None


def test_mask_is_what_the_model_does() -> None:
    """By gradient: a frame that the mask hides moves nothing, one that it shows does."""
    from unspool.testing import scale_weights

    whole = system(schedule=Staircase(8, CHUNK, lag=Fraction(1, 2)), context=Tokens(1))
    mask = explain_dict(whole, measure=False)["mask"]
    model = scale_weights(whole.model)
    state = begin(model, torch.zeros(1, 1, *model.shape), seed=0).state
    x = torch.randn(1, mask["flight"], *model.shape, requires_grad=True)
    out = model.denoise(x, torch.full((1, mask["flight"]), 0.5), state)
    ahead = mask["context"]
    for i in range(mask["flight"]):
        (grad,) = torch.autograd.grad(out[:, i].square().sum(), x, retain_graph=True)
        moved = grad.abs().sum((0, 2, 3, 4)) > 0
        assert moved.tolist() == mask["sees"][ahead + i][ahead:]


@pytest.mark.parametrize("recipe", RECIPES)
def test_every_recipe_is_explained(recipe: str) -> None:
    whole = config.build(recipe, TINY)
    text = explain(whole, recipe, measure=False)
    assert text.startswith(recipe)
    assert "nothing carries the past" not in text, "what stays in flight does"
    assert ("begins full of it" in text) == (recipe == "fifo")
    assert text.count("Warning") == text.count("as it begins and goes on") == (recipe in ("fifo", "progressive-free"))
    assert max(map(len, text.splitlines())) <= 150
    for word in ("Levels", "token-forwards", "state", "training"):
        assert word in text
    assert ("Who sees whom" in text) == isinstance(whole.model, VideoTransformer)


def test_long_matrices_are_abridged() -> None:
    law = Independent(1)
    whole = system(chunk=1, schedule=Staircase(64, 1, Fraction(1, 64)), objective=DiffusionForcing(2, law), frames=80)
    text = explain(whole, measure=False)
    assert len(text.splitlines()) < 70
    assert max(map(len, text.splitlines())) <= 150


def test_the_clock_is_labelled() -> None:
    whole = system()
    told = explain_dict(whole)["machine"]
    assert told["expected"]["frames_per_second"] > 0
    assert told["measured"]["frames_per_second"] > 0
    text = explain(whole)
    assert "expected at 30%" in text
    assert "measured, untrained" in text


def test_dict_is_json() -> None:
    told = explain_dict(system(), "mine", batch=3, measure=False)
    assert json.loads(json.dumps(told)) == told
    assert told["flops"]["training_step"] == 3 * told["flops"]["training_clip"]


def refused() -> Iterator[object]:
    lag = Fraction(1, 3)
    yield pytest.param(lambda: system(schedule=Staircase(8, CHUNK, lag=lag)), "nearest lags", id="lag * steps is not whole")
    yield pytest.param(lambda: system(schedule=Staircase(8, CHUNK, lag=0)), "chunks=K", id="lag 0 without chunks")
    yield pytest.param(lambda: system(schedule=Staircase(8, 1, Fraction(1, 4))), "multiple of 2", id="chunk cut")
    yield pytest.param(lambda: system(frames=3), "at least 4", id="clip too short for one group")
    yield pytest.param(lambda: system(objective=DiffusionForcing(2), frames=2), "at least 3", id="clip too short for one frame")
    yield pytest.param(lambda: system(patch=5), "patch that divides", id="patch does not divide")
    yield pytest.param(lambda: system(heads=5), "heads", id="heads do not divide")


@pytest.mark.parametrize(("make", "fix"), list(refused()))
def test_what_cannot_work_is_refused(make: Callable[[], System], fix: str) -> None:
    with pytest.raises(UserError, match=fix) as caught:
        explain(make(), measure=False)
    assert "\n" not in str(caught.value)


def test_what_is_unwise_is_told() -> None:
    alone = {"window": 0, "objective": TeacherForcing(CHUNK, 2)}
    assert any("nothing carries the past" in line for line in check(system(**alone)))
    assert not any("nothing carries the past" in line for line in check(system(context=Tokens(2), **alone)))
    assert any("never saw that" in line for line in check(system(schedule=Staircase(8, CHUNK, lag=Fraction(1, 2)))))
    assert any("train on longer clips" in line for line in check(system(window=30)))
    assert check(system()) == []


@pytest.mark.parametrize("recipe", ["replace-clean", "replace-noised", "fifo", "guided"])
def test_evaluations_around_a_model_are_counted_in_its_own_frames(recipe: str) -> None:
    """RN and RW ask for the flight once, a queue for all of its clips, guidance twice."""
    if recipe == "guided":
        whole = config.resolve("diffusion-forcing", {**TINY, "rollout.guidance": 2.0}).build()
    else:
        whole = config.build(recipe, TINY)
    told, plan, around = explain_dict(whole, measure=False)["evaluations"], whole.schedule.plan(), whole.model
    asked: list[int] = []
    plain = around.model.reader
    around.model.reader = lambda state, *known: (  # type: ignore[method-assign]
        lambda x, level, **more: (asked.append(x.shape[1]), plain(state, *known)(x, level, **more))[1]
    )
    state = around.start(1, seed=torch.zeros(1, dtype=torch.int64), device="cpu", dtype=torch.float32)
    around.denoise(torch.zeros(1, plan.redo + plan.frames, *around.shape), plan.loop[:1], state)
    tokens = told["tokens_per_frame"]
    called = (len(plan.loop) - 1) * sum(asked) * tokens / plan.hop
    assert told["token_forwards_per_frame"] == called + told["remember_calls_per_chunk"] * tokens


def test_a_growing_window_costs_what_it_holds() -> None:
    """Before the first frame, and in the text, where frames that have not entered are dots."""
    grown, full = (config.build("progressive", TINY), config.build("progressive", TINY))
    full = dataclasses.replace(full, schedule=dataclasses.replace(full.schedule, grow=False))
    told, other = (explain_dict(one, measure=False) for one in (grown, full))
    assert told["first_frame"]["denoise_calls"] == other["first_frame"]["denoise_calls"]
    assert other["first_frame"]["flops"] == other["first_frame"]["denoise_calls"] * other["flops"]["denoise"]
    assert 0.4 * other["first_frame"]["flops"] < told["first_frame"]["flops"] < 0.75 * other["first_frame"]["flops"]
    text = explain(grown, measure=False)
    assert "· is not in flight yet" in text and "████····" in text and "newest clean frames in front" in text


def test_an_unrolled_plan_is_what_is_streamed() -> None:
    """The loop's first row where each hop begins and its last at the end; what left is shown, what has not come is away."""
    for case in (Staircase(6, 2, Fraction(1, 3), grow=True), Staircase(4, 2, redo=2), Staircase(4, 1, Fraction(1, 4), 2)):
        plan = case.plan()
        matrix = unrolled(plan, 3)
        walk, rows = len(plan.warmup) - 1, len(plan.loop) - 1
        assert len(matrix) == walk + 3 * rows + 1
        for hop in range(3):
            at, before = hop * plan.hop, matrix[walk + hop * rows]
            assert before[at : at + plan.redo + plan.frames].tolist() == plan.loop[0].tolist()
            assert (before[:at] == SHOWN).all() and (before[at + plan.redo + plan.frames :] == AWAY).all()
        assert matrix[-1, -(plan.redo + plan.frames) :].tolist() == plan.loop[-1].tolist()
        for row, here in enumerate(plan.entering):
            assert (matrix[row, here:] == AWAY).all() and (matrix[row, :here] > AWAY).all()


def test_levels_picture(tmp_path: Path) -> None:
    levels_picture(Staircase(8, 2, Fraction(1, 4), grow=True).plan(), tmp_path / "levels.png")
    with Image.open(tmp_path / "levels.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(1 << 20) or []) > 8
    assert [path.name for path in tmp_path.iterdir()] == ["levels.png"]
