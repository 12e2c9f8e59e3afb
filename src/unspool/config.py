"""One schema for command line, file and page: the signatures of recipe functions and of two option classes, read.

A setting has one name everywhere. Recipe arguments are bare (`window`), training options begin with `train.`, rollout options
with `rollout.`:

    unspool train chunk-by-chunk --size nano --train.steps 100 --rollout.lag 1/4
    {"recipe": "chunk-by-chunk", "size": "nano", "train": {"steps": 100}, "rollout": {"lag": "1/4"}}

Settings come in layers: the defaults of the signatures, then files, then overrides. An unknown name is refused with the nearest
known one, a wrong value with what would fit.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_type_hints

import pydantic

from unspool import recipes, store
from unspool.errors import UserError
from unspool.grid import ByTokens, Shifted
from unspool.model import VideoTransformer
from unspool.model.guidance import Guided
from unspool.model.prompted import Prompted
from unspool.model.video import VideoModel
from unspool.model.wrapper import innermost, seen_at_once
from unspool.schedule import MOST_FLIGHT, Staircase
from unspool.solver import Solver, euler, midpoint
from unspool.system import System
from unspool.train.options import TrainOptions
from unspool.types import Count, Positive, Shift

SOLVERS: dict[str, Solver] = {"euler": euler, "midpoint": midpoint}


@dataclass(frozen=True)
class RolloutOptions:
    """How a model is rolled out; None leaves it as its recipe has it. See `Staircase`.

    lag: of a chunk behind the one before, 1 is one after the other, 1/4 four under way, 0 all together. steps: of a descent
    from noise to clean. chunks: under way at once, by default what the lag asks for and the model can see. solver: of the
    descent. shift: above 1, more of the descent is near noise, times what the tokens in flight ask for where the recipe counts
    them. drain: the last frame is the end, nothing enters behind it; false: cut off an endless rollout.
    guidance: by history: above 1, further from what the model would make without its past, at twice the evaluations.
    prompt_guidance: above 1, further from what the model would make without a prompt, at twice the evaluations.
    """

    lag: Fraction | None = None
    steps: Count | None = None
    chunks: Count | None = None
    solver: Literal["euler", "midpoint"] | None = None
    shift: Shift | None = None
    drain: bool | None = None
    guidance: Positive | None = None
    prompt_guidance: Positive | None = None

    def apply(self, system: System) -> System:
        """The system with this schedule, solver and guidance. Raises UserError when no rollout could ever follow the schedule,
        for guidance of a model whose past cannot be hidden, and for prompt guidance of one that hears no prompt."""
        solver = SOLVERS[self.solver] if self.solver else system.solver
        drain = system.drain if self.drain is None else self.drain
        return replace(
            system, model=self._guided(system), schedule=self._schedule(system), solver=solver, drain=drain
        )

    def _schedule(self, system: System) -> Staircase:
        """The system's own with what these options say of it. Where they say a lag and no number of chunks, there are as many
        as the lag asks for; lag 0, and a model that sees its whole window at once, has no more of them than by itself."""
        own = system.schedule
        levels: dict[str, Any] = {"lag": self.lag, "steps": self.steps, "chunks": self.chunks}
        if self.shift is not None:
            levels["grid"] = replace(own.grid, factor=self.shift) if isinstance(own.grid, ByTokens) else Shifted(self.shift)
        chosen = replace(own, **{name: value for name, value in levels.items() if value is not None})
        if chosen.chunks is None and self.lag is not None:
            usual = own.plan().frames // own.chunk
            if chosen.stride == 0 or (_bounded(system) and -(-chosen.steps // chosen.stride) > usual):
                chosen = replace(chosen, chunks=usual)
        chosen.plan()
        return chosen

    def _guided(self, system: System) -> VideoModel:
        """The model under the guidance of these options, and where they say none, under that which it has."""
        model, history, prompt = system.model, self.guidance, self.prompt_guidance
        if isinstance(model, Prompted):
            prompt = model.weight if prompt is None else prompt
            model = model.model
        if isinstance(model, Guided):
            history = model.weight if history is None else history
            model = model.model
        if history is not None:
            model = Guided(model, system.blend, history)
        return model if prompt is None else Prompted(model, prompt)


def _bounded(system: System) -> bool:
    """Whether the model looks both ways through all that is in flight, so that no more fits than it was made for."""
    flight, inner = MOST_FLIGHT, innermost(system.model)
    whole = isinstance(inner, VideoTransformer) and inner.chunk > system.schedule.chunk
    return whole and seen_at_once(system.model, flight) == flight


class Setting(NamedTuple):
    """name as typed; kind: its annotation; default: `inspect.Parameter.empty` where it must be given; means: in words, from the
    docstring of the signature, of its module or of that one's package, where it says `name: words.`"""

    name: str
    kind: Any
    default: Any
    means: str = ""


@dataclass(frozen=True)
class Settings:
    """Everything that a run is made of, checked. codec: the run of a trained one, instead of the recipe's."""

    recipe: str
    arguments: dict[str, Any]
    data: str | None
    codec: str | None
    train: TrainOptions
    rollout: RolloutOptions

    def nested(self) -> dict[str, Any]:
        """As config.yaml holds it: what `resolve` takes."""
        sections = {"train": dataclasses.asdict(self.train), "rollout": dataclasses.asdict(self.rollout)}
        given = {name: {k: v for k, v in section.items() if v is not None} for name, section in sections.items()}
        named = {name: where for name, where in (("data", self.data), ("codec", self.codec)) if where is not None}
        return store.plain({"recipe": self.recipe, **named, **self.arguments, **given})

    def build(self) -> System:
        """The system, its weights drawn under the training seed."""
        import torch

        torch.manual_seed(self.train.seed)
        return self.rollout.apply(build(self.recipe, self.arguments))


def settings_of(recipe: str) -> list[Setting]:
    """Every setting of a recipe by the name that it is typed as."""
    arguments = signature(recipes.find(recipe))
    return [*arguments, *signature(TrainOptions, "train."), *signature(RolloutOptions, "rollout.")]


def signature(function: Callable[..., Any], prefix: str = "") -> list[Setting]:
    """The settings that a signature declares. Without an annotation the default's type is asked for."""
    try:
        hints = get_type_hints(function if inspect.isfunction(function) else function.__init__, include_extras=True)
    except NameError as error:
        raise UserError(f"an annotation of {function.__name__} cannot be read: {error}; mend the recipe") from error
    found = []
    for name, parameter in inspect.signature(function).parameters.items():
        if parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
            continue
        bare = Any if parameter.default in (None, parameter.empty) else type(parameter.default)
        found.append(Setting(prefix + name, hints.get(name, bare), parameter.default, _meaning(function, name)))
    return found


def _meaning(function: Callable[..., Any], name: str) -> str:
    package = function.__module__.rpartition(".")[0]
    homes = (getattr(sys.modules.get(name), "__doc__", None) for name in (function.__module__, package))
    for doc in (function.__doc__, *homes):
        if said := re.search(rf"\b{name}(?:, \w+)*: ([^.;]+)", " ".join((doc or "").split())):
            return said[1]
    return ""


def canonical(recipe: str) -> str:
    """The one spelling of a recipe's name; that of a file of one's own is left alone."""
    return recipe if ":" in recipe else recipe.replace("_", "-")


def resolve(recipe: str | None, *layers: Mapping[str, Any]) -> Settings:
    """Settings from layers, later ones winning; each is nested or dotted. `recipe` wins over a layer's.

    Raises UserError for an unknown recipe or name and for a value that does not fit.
    """
    given: dict[str, Any] = {}
    for layer in layers:
        given |= dotted(layer)
    named = given.pop("recipe", None)
    data, codec = (None if (where := given.pop(name, None)) is None else str(where) for name in ("data", "codec"))
    recipe = recipe or named
    if not recipe:
        raise UserError(f"name a recipe: {', '.join(recipes.RECIPES)}, or one of your own as my_recipe.py:recipe")
    recipe = canonical(str(recipe))
    values = check(settings_of(recipe), given, f"recipe {recipe}")
    sections: dict[str, dict[str, Any]] = {"": {}, "train": {}, "rollout": {}}
    for name, value in values.items():
        section, _, key = name.rpartition(".")
        sections[section][key] = value
    train, rollout = TrainOptions(**sections["train"]), RolloutOptions(**sections["rollout"])
    return Settings(recipe, sections[""], data, codec, train, rollout)


def build(recipe: str, arguments: Mapping[str, Any]) -> System:
    """The system of a recipe. Raises UserError for an unknown recipe or argument and for a value that does not fit."""
    function = recipes.find(recipe)
    system = function(**check(signature(function), arguments, f"recipe {recipe}"))
    if not isinstance(system, System):
        raise UserError(f"recipe {recipe} returned {type(system).__name__}, not a System; let it return one")
    return system


def rollout_options(*layers: Mapping[str, Any]) -> RolloutOptions:
    """Rollout options from layers of bare names, later ones winning."""
    given: dict[str, Any] = {}
    for layer in layers:
        given |= {f"rollout.{name}": value for name, value in layer.items()}
    values = check(signature(RolloutOptions, "rollout."), given, "the rollout")
    return RolloutOptions(**{name.removeprefix("rollout."): value for name, value in values.items()})


def read_file(path: Path) -> dict[str, Any]:
    """A settings file, YAML or JSON. Raises UserError when it is missing or not a mapping."""
    import yaml

    try:
        value = yaml.safe_load(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"the settings file {path} does not exist; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"the settings file {path} cannot be read: {error}; give a YAML file") from error
    except yaml.YAMLError as error:
        raise UserError(f"the settings file {path} is not YAML: {' '.join(str(error).split())}") from error
    if not isinstance(value, dict):
        raise UserError(f"the settings file {path} holds no names; write lines such as `size: nano`")
    return value


def dotted(layer: Mapping[str, Any]) -> dict[str, Any]:
    """{"train": {"steps": 1}} and {"train.steps": 1} alike as the latter."""
    flat: dict[str, Any] = {}
    for name, value in layer.items():
        if name in ("codec", "train", "rollout") and isinstance(value, Mapping | None):
            flat |= {f"{name}.{key}": inner for key, inner in (value or {}).items()}
        else:
            flat[str(name)] = value
    return flat


def check(known: list[Setting], given: Mapping[str, Any], what: str) -> dict[str, Any]:
    """All settings with the given values converted to their kinds ("8" -> 8). Raises UserError, one line."""
    names = [setting.name for setting in known]
    for name in given:
        if name not in names:
            raise UserError(f"{what} has no setting {name!r}; {nearest(name, names)}")
    return {s.name: _fitted(s, given[s.name]) if s.name in given else _default(s, what) for s in known}


def nearest(name: str, names: list[str], prefix: str = "") -> str:
    """What to say beside an unknown name; prefix: how names are typed."""
    by_key = {n.rpartition(".")[2]: n for n in names}  # `steps` was meant as `train.steps`
    near = [by_key[name]] if name in by_key else difflib.get_close_matches(name, names, n=1)
    near = near or [by_key[key] for key in difflib.get_close_matches(name, by_key, n=1)]
    return f"did you mean {prefix + near[0]!r}?" if near else f"it has: {', '.join(prefix + name for name in names)}"


def _default(setting: Setting, what: str) -> Any:
    if setting.default is inspect.Parameter.empty:
        raise UserError(f"{what} needs a value for {setting.name!r}; give --{setting.name} VALUE")
    return setting.default


def _fitted(setting: Setting, value: Any) -> Any:
    kind = setting.kind
    if kind is Any and isinstance(value, str):
        import yaml

        value = yaml.safe_load(value)
    rules = pydantic.ConfigDict(arbitrary_types_allowed=True, allow_inf_nan=False)
    try:
        return pydantic.TypeAdapter(kind, config=rules).validate_python(value)
    except pydantic.ValidationError as error:
        told = (problem["msg"].removeprefix("Input should be ").removeprefix("Input is not ") for problem in error.errors())
        wants = dict.fromkeys(told)
        raise UserError(f"{setting.name} = {value!r} does not fit: it should be {' or '.join(wants)}") from None
