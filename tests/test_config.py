"""Settings: from signatures, in layers, checked."""

from __future__ import annotations

import dataclasses
import inspect
import math
from fractions import Fraction

import pytest
import torch

from unspool import config, hub, recipes
from unspool.errors import UserError
from unspool.explain import check, check_rollout, explain_dict
from unspool.grid import Shifted
from unspool.model.guidance import Guided
from unspool.rollout import begin, stream
from unspool.solver import midpoint
from unspool.testing import draw, error, scale_weights


def test_every_argument_of_a_recipe_is_a_setting_with_its_default():
    for name, recipe in recipes.RECIPES.items():
        known = {setting.name: setting.default for setting in config.settings_of(name)}
        for argument, parameter in inspect.signature(recipe).parameters.items():
            assert known[argument] == parameter.default
        assert {"train.steps", "train.seed", "rollout.lag", "rollout.solver"} <= known.keys()


def test_later_layers_win_and_text_becomes_numbers():
    file = {"recipe": "full-sequence", "size": "nano", "train": {"steps": 5, "lr": "2e-3"}, "rollout": {"steps": 4}}
    settings = config.resolve("chunk_by_chunk", file, {"train.steps": "7", "train.bf16": "false", "rollout.lag": "1/4"})
    assert settings.recipe == "chunk-by-chunk"
    assert (settings.train.steps, settings.train.lr, settings.train.bf16) == (7, 2e-3, False)
    assert (settings.rollout.lag, settings.rollout.steps) == (Fraction(1, 4), 4)
    assert settings.arguments["size"] == "nano" and settings.arguments["chunk"] == 4


def test_settings_survive_their_own_file(tmp_path):
    import yaml

    settings = config.resolve("diffusion-forcing", {"size": "nano", "rollout.lag": "1/8", "data": "duel", "train.lr": 0.002})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings.nested()))
    assert config.resolve(None, config.read_file(tmp_path / "config.yaml")) == settings


def test_the_same_seed_gives_the_same_weights_and_another_does_not():
    first, again, other = (
        config.resolve("chunk-by-chunk", {"size": "nano", "train.seed": seed}).build().model.enter.weight for seed in (3, 3, 4)
    )
    assert (first == again).all() and (first != other).any()


def test_rollout_options_reach_schedule_and_solver():
    system = config.resolve(
        "chunk-by-chunk", {"size": "nano", "rollout.lag": 0.5, "rollout.steps": 6, "rollout.solver": "midpoint"}
    ).build()
    assert (system.schedule.stride, system.schedule.steps, system.schedule.chunk) == (3, 6, 4)
    assert system.solver is midpoint
    plain = config.resolve("chunk-by-chunk", {"size": "nano"}).build()
    assert config.RolloutOptions().apply(plain).schedule == plain.schedule


def test_shift_and_guidance_are_chosen_in_use():
    told = {"size": "nano", "resolution": 32, "rollout.shift": 3, "rollout.guidance": 1.5}
    system = config.resolve("diffusion-forcing", told).build()
    assert system.schedule.grid == Shifted(3.0) and isinstance(system.model, Guided) and system.model.weight == 1.5
    plain = config.resolve("diffusion-forcing", told | {"rollout.guidance": None}).build()
    assert [n for n, _ in system.named_parameters()] == [n for n, _ in plain.named_parameters()], "checkpoints fit both"
    again = config.RolloutOptions(guidance=2.0).apply(system)
    assert again.model.weight == 2.0 and again.model.model is system.model.model, "guidance does not pile up"
    with pytest.raises(UserError, match="through memories alone"):
        config.resolve("progressive", told).build()


@pytest.mark.parametrize("recipe", ["chunk-by-chunk", "diffusion-forcing", "ar-diffusion", "progressive"])
def test_each_option_of_the_rollout_makes_another_video(recipe):
    """Over the same weights, scaled so that everything counts; and nothing said is the recipe's own."""
    system = config.build(recipe, {"size": "nano", "resolution": 16, "patch": 8, "steps": 8, "components": 0})
    scale_weights(system.model, 0.05).requires_grad_(False)
    context = draw(1, shape=(1, 4, *system.model.shape), dtype=torch.float32)
    options = [{}, {"lag": "1/4"}, {"lag": "1/2"}, {"lag": 0, "chunks": 2}, {"steps": 16}, {"solver": "midpoint"}, {"shift": 3}]
    videos = []
    for given in [{}, *options]:
        chosen = config.rollout_options(given).apply(system)
        plan = chosen.schedule.plan()
        chunks = stream(chosen.model, chosen.blend, plan, begin(chosen.model, context, seed=0), frames=6, solver=chosen.solver)
        videos.append(torch.cat([chunk.frames for chunk in chunks], 1))
    assert torch.equal(videos[0], videos[1])
    own = Fraction(system.schedule.lag).limit_denominator(100)
    same = [i for i, given in enumerate(options) if given == {"lag": str(own)}]  # what it does anyway
    for i, video in enumerate(videos[1:]):
        assert video.shape[1] == 6 and torch.isfinite(video).all()
        assert all(error(video, videos[1 + j]) > 1e-4 for j in range(i) if not {i, j} & {*same})


@pytest.mark.parametrize(
    ("recipe", "given", "says"),
    [
        ("progressive", {"steps": 20}, r"nearest lags are 1/10 and 3/20"),
        ("progressive", {"rollout.steps": 12}, r"nearest lags are 1/12 and 1/6"),
        ("progressive", {"chunks": 5000, "steps": 5000}, "under way at once"),
        ("progressive", {"rollout.steps": 12}, r"with lag 1/8 the nearest numbers of steps are 8 and 16"),
        ("fifo", {"chunk": 1, "chunks": 1, "partitions": 1, "rollout.steps": 3}, "nearest lags are 1/3 and 2/3"),
        ("fifo", {"rollout.steps": 16}, "nearest lag is 1/16, with lag 1/36 the nearest number of steps is 36"),
        ("fifo", {"together": 5}, "set together to 4 or 6"), ("progressive", {"kept": 20}, r"set kept to 0 \.\. 8"),
        ("progressive", {"rollout.lag": 1e-9}, "1e-09 .* nearest lag is 1/16"),
        ("acdit", {"reweigh": 0.5}, "context_noise above 0"),
        ("progressive", {"rollout.shift": 1e30}, "less than or equal to 100"),
        ("chunk-by-chunk", {"shift": 1e-30}, "greater than or equal to 0.01"),
        ("progressive", {"patch": 12}, "multiple of 8"), ("acdit", {"components": 500}, "choose fewer"),
    ],
)  # fmt: skip
def test_plans_that_cannot_be_are_refused_with_what_can(recipe, given, says):
    with pytest.raises(UserError, match=says):
        config.resolve(recipe, {"size": "nano", **given}).build().schedule.plan()


def test_chunks_that_a_window_cannot_hold_are_refused():
    with pytest.raises(UserError, match=r"window of 8 frames .* set window to 16 or more, or chunk to 8 or fewer"):
        check(config.build("chunk-by-chunk", {"size": "nano", "chunk": 16, "window": 8, "frames": 40}))


def test_the_shift_of_a_rollout_follows_its_flight_and_scales():
    """It goes with the frames under way, however these are chosen; what is said in use replaces the recipe's own factor."""
    system = config.build("progressive", {"size": "nano", "resolution": 32, "shift": 2.0})
    tokens = 4 * 4
    for options, frames in ({}, 16), ({"chunks": 4, "lag": "1/4"}, 8), ({"lag": 1}, 2), ({"lag": 0}, 16):
        for shift in (None, 3.0):
            told = options | ({} if shift is None else {"shift": shift})
            chosen = config.rollout_options(told).apply(system).schedule
            want = dataclasses.replace(chosen, grid=Shifted((shift or 2.0) * math.sqrt(tokens * frames / 1024)))
            assert torch.equal(chosen.plan().loop, want.plan().loop)
    plain = config.rollout_options({"shift": 3.0}).apply(config.build("acdit", {"size": "nano"})).schedule
    assert plain.grid == Shifted(3.0), "where a recipe counts no tokens"


def test_a_queue_that_leaves_by_threes_costs_what_progressive_costs():
    """The token-forwards of a frame: three times as many as FIFO-Diffusion has it, as many where three frames share a level."""
    asked = {"progressive": ("progressive", {}), "fifo": ("fifo", {}), "equal": ("fifo", {"together": 3})}
    built = {name: config.build(recipe, {"size": "nano", **given}) for name, (recipe, given) in asked.items()}
    told = {name: explain_dict(system, measure=False)["evaluations"] for name, system in built.items()}
    forwards = {name: figures["token_forwards_per_frame"] for name, figures in told.items()}
    assert forwards == {"progressive": 1152, "fifo": 3456, "equal": 1152}
    assert (told["fifo"]["frames_per_call"], told["fifo"]["frames_computed"]) == (36, 54)


def test_progressive_recipes_share_their_weights():
    """One base model for the progressive rollout without training and for the baselines; what is trained for it fits too."""
    names = ("progressive", "progressive-free", "rolling", "replace-clean", "replace-noised", "fifo")
    built = [config.build(name, {"size": "nano", "resolution": 32}) for name in names]
    shapes = [{name: p.shape for name, p in system.named_parameters()} for system in built]
    assert all(shape == shapes[0] for shape in shapes)


@pytest.mark.parametrize("recipe", ["progressive", "replace-clean", "replace-noised", "fifo"])
def test_a_base_model_rolls_out_by_other_recipes(recipe, tmp_path):
    """Trained once, loaded by another name: the same weights, in windows of the size that it was trained on."""
    given = {"size": "nano", "resolution": 32, "chunk": 3, "chunks": 2, "steps": 4}
    base = config.build("progressive-free", given)
    scale_weights(base.model, 0.05)
    hub.save_pretrained(base, tmp_path, {"recipe": "progressive-free", "arguments": given})
    other = hub.from_pretrained(tmp_path, recipe=recipe)
    pairs = zip(other.named_parameters(), base.named_parameters(), strict=True)
    assert all(name == own and torch.equal(a, b) for (name, a), (own, b) in pairs)
    plan = other.schedule.plan()
    assert (plan.chunk, plan.redo + plan.frames) == {"progressive": (3, 6), "fifo": (1, 18)}.get(recipe, (3, 9))


@pytest.mark.parametrize(
    ("trained", "used", "told"),
    [("progressive-free", "progressive", True), ("progressive", "progressive-free", False), ("progressive", "fifo", True)],
)
def test_another_recipe_over_the_weights_does_not_change_what_they_learned(trained, used, told, tmp_path):
    """Rolled out progressively, a model of full sequences meets what it never saw, whatever the recipe says of itself."""
    given = {"size": "nano", "resolution": 32, "chunk": 2, "chunks": 2, "steps": 4}
    hub.save_pretrained(config.build(trained, given), tmp_path, {"recipe": trained, "arguments": given})
    other = hub.from_pretrained(tmp_path, recipe=used)
    assert type(other.objective) is type(config.build(trained, given).objective)
    assert any(line.startswith("as it") for line in check_rollout(other)) is told


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"windwo": 4}, "did you mean 'window'"), ({"train": {"stepz": 4}}, "did you mean 'train.steps'"),
        ({"lag": 1}, "did you mean 'rollout.lag'"), ({"batch": 1}, "did you mean 'train.batch'"),
        ({"size": "huge"}, "'nano'"), ({"window": 2.5}, "integer"), ({"chunk": 0}, "greater than or equal to 1"),
        ({"train.ema": 1.5}, "less than or equal to 1"), ({"train.lr": float("inf")}, "finite"),
        ({"rollout.lag": "x"}, "fraction"),
        ({"train": 3}, "'train'"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused_in_one_line(given, says):
    with pytest.raises(UserError) as refused:
        config.resolve("chunk-by-chunk", given)
    assert says in str(refused.value) and "\n" not in str(refused.value)


def test_a_setting_without_a_default_must_be_given():
    def recipe(*, needed: int, free=3, text: str = "a"):
        pass

    known = config.signature(recipe)
    with pytest.raises(UserError, match="'needed'"):
        config.check(known, {}, "recipe")
    assert config.check(known, {"needed": "2", "free": "5"}, "recipe") == {"needed": 2, "free": 5, "text": "a"}


@pytest.mark.parametrize("anchor", [0, 1])
def test_the_recipes_share_their_weights(anchor: int):
    """Those of one family: they differ in what is noisy when."""
    told = {"size": "nano", "resolution": 32, "channels": 1, "anchor": anchor, "reach": 0}
    alike = [name for name, recipe in recipes.RECIPES.items() if recipe.__module__ == "unspool.recipes.flights"]
    built = [config.build(name, told) for name in alike]
    assert len(built) == 4
    shapes = [{name: p.shape for name, p in system.named_parameters()} for system in built]
    assert all(shape == shapes[0] for shape in shapes)


def test_the_recipes_that_differ_in_memory_are_as_large():
    """What recall is compared between: equal parameters to a twentieth, and controls in all of them."""
    alike = [name for name, recipe in recipes.RECIPES.items() if recipe.__module__ == "unspool.recipes.memories"]
    assert alike == ["full", "malt", "malt-nomemory", "none", "rad", "rad-chunkwise", "window"]
    counts = {name: sum(p.numel() for p in config.build(name, {}).model.parameters()) for name in alike}
    assert max(counts.values()) < 1.055 * min(counts.values()), counts
    exact = {counts[name] for name in ("full", "none", "window")}
    assert len(exact) == 1
    assert all("controls" in {s.name for s in config.settings_of(name)} for name in alike)


def test_every_setting_says_what_it_means():
    """--help and whoever reads the schema: no recipe, training or rollout setting without words."""
    silent = {(name, s.name) for name in recipes.RECIPES for s in config.settings_of(name) if len(s.means.split()) < 2}
    assert not silent


def test_every_recipe_says_whose_it_is():
    for recipe in recipes.RECIPES.values():
        summary, _, rest = inspect.getdoc(recipe).partition("\n")
        assert summary.endswith(".") and "Source:" in rest and "Ours:" in rest
