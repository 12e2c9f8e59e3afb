"""Settings: from signatures, in layers, checked."""

from __future__ import annotations

import inspect
from fractions import Fraction

import pytest

from unspool import config, recipes
from unspool.errors import UserError
from unspool.solver import midpoint


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
