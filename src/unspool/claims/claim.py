"""A claim file: a sentence about two arms, what would count as its proof, and what the experiment may cost.

YAML; the file's name is the claim's. `needs` says why it cannot run yet; without it there must be an experiment.

    system: recursive alpha diffusion
    claim: one sentence
    source: the paper and its arXiv number
    mark: read                       # or reconstructed, or own for a finding of this project
    runs: recursive-alpha            # the folder of its runs, where other claims have arms in common with it
    experiment:
      data: duel:fighters=1
      settings: {size: nano}         # of both arms, as `unspool train --config` takes them
      arms:                          # two, each with its recipe
        one: {recipe: frame-by-frame, own: 3}
        other: {recipe: frame-by-frame, own: 0}
      flops: 60e12                   # of the training of one arm with one seed
      seeds: 3
      evaluate: {frames: 300, contexts: 16, futures: 2, real: 16, segment: 100}
      measure: mmd                   # a line of the table of `unspool eval`, or memory.psnr, memory.recall, needle
      better: one                    # the arm that the claim expects to be better
      smallest: 1                    # difference that counts, in the measure's unit
      also: [colour]                 # measures to show beside it; motion is always among them
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

import pydantic
from annotated_types import Ge, MinLen

from unspool import config
from unspool.claims.measures import KNOWN, Measure
from unspool.errors import UserError
from unspool.evaluation.memory import WORLD
from unspool.types import Count, Positive

FIXED = ("data", "train.steps", "train.seed")
"""Settings that the experiment itself decides."""
LEAST = {
    "energy": ("futures", 8), "diversity": ("futures", 8), "mmd": ("segment", 16), "frechet": ("segment", 16),
    "coverage": ("segment", 16), "density": ("segment", 16), "repetition": ("frames", 60),
}  # fmt: skip
"""What a measure asks of the conditions, so that no hours are trained for a figure that cannot be had."""

Words = Annotated[str, MinLen(1)]
Slug = Annotated[str, pydantic.StringConstraints(pattern=r"^[a-z][a-z0-9-]*$")]


class _Strict(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Evaluate(_Strict):
    """Conditions of the one evaluation of all runs, see `evaluation.Conditions`."""

    frames: Annotated[int, Ge(2)]
    contexts: Count
    futures: Count
    real: Annotated[int, Ge(3)]
    segment: Annotated[int, Ge(2)]
    split: Literal["seen", "unseen"] = "seen"


class Experiment(_Strict):
    """One contrast. flops: of one run; smallest: in the unit of `measures.unit_of` the measure."""

    data: Words
    settings: dict[str, Any] = {}
    arms: dict[Slug, dict[str, Any]]
    flops: Positive
    seeds: Annotated[int, Ge(2)]
    evaluate: Evaluate
    measure: str
    better: str
    smallest: Positive
    also: tuple[str, ...] = ()

    @property
    def other(self) -> str:
        """The arm that is expected to be worse."""
        return next(arm for arm in self.arms if arm != self.better)

    @property
    def shown(self) -> tuple[Measure, ...]:
        """The measure that decides, then those beside it. Motion is always there: what stands still drifts nowhere."""
        return tuple(KNOWN[name] for name in dict.fromkeys((self.measure, *self.also, "motion")))

    def layers(self, arm: str, seed: int) -> dict[str, Any]:
        """Dotted settings of a run, but for its steps."""
        given = config.dotted(self.settings) | config.dotted(self.arms[arm])
        return {**given, "data": self.data, "train.seed": seed}


class File(_Strict):
    """A claim file as it is written. runs: the folder that its runs share with other claims, which have arms of its own."""

    system: Words
    claim: Words
    source: Words
    mark: Literal["read", "reconstructed", "own"]
    runs: str = ""
    needs: str = ""
    experiment: Experiment | None = None


class Claim(NamedTuple):
    """name: the file's; sha256: of its bytes."""

    name: str
    path: Path
    told: File
    sha256: str


def folder() -> Path:
    """bench/claims of this checkout. Raises UserError where the package was installed without one."""
    place = Path(__file__).parents[3] / "bench" / "claims"
    if not place.is_dir():
        raise UserError("claims are part of the repository: run this from a checkout, or name the path of a claim file")
    return place


def find(name: str) -> Path:
    """The file of a claim by its name in bench/claims, or by a path. Raises UserError with the nearest name."""
    if name.endswith(".yaml"):
        return Path(name)
    known = sorted(path.stem for path in folder().glob("*.yaml"))
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1)
        meant = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        raise UserError(f"there is no claim {name!r}; {meant}")
    return folder() / f"{name}.yaml"


def read(path: Path) -> Claim:
    """Raises UserError, one line, for a key, measure, recipe or setting that does not exist, is missing or is out of range.

    Where the claim `needs` something first, recipes and settings may not exist yet.
    """
    written = config.read_file(path)
    try:
        told = File.model_validate(written)
    except pydantic.ValidationError as error:
        raise UserError(f"{path}: {_told(error)}") from None
    if told.experiment is None and not told.needs:
        raise UserError(f"{path}: add an experiment, or say under `needs` why there is none yet")
    if told.experiment is not None:
        try:
            _check(told.experiment, runs=not told.needs)
        except UserError as error:
            raise UserError(f"{path}: {error}") from None
    return Claim(path.stem, path, told, sha256(path.read_bytes()).hexdigest())


def _told(error: pydantic.ValidationError) -> str:
    """The first problem; an unknown key before a missing one, which it may be the misspelling of."""
    problem = min(error.errors(), key=lambda problem: problem["type"] != "extra_forbidden")
    *place, key = problem["loc"]
    where = ".".join(map(str, problem["loc"]))
    match problem["type"]:
        case "extra_forbidden":
            return f"there is no key {where!r}; {config.nearest(str(key), _keys(place))}"
        case "missing":
            return f"the key {where!r} is missing; add it"
    return f"{where} = {problem['input']!r} does not fit: {problem['msg'].removeprefix('Input should be ')}"


def _keys(place: list[int | str]) -> list[str]:
    models: dict[str, type[_Strict]] = {"": File, "experiment": Experiment, "evaluate": Evaluate}
    return list(models[str(place[-1]) if place else ""].model_fields)


def _check(asked: Experiment, runs: bool) -> None:
    if len(asked.arms) != 2:
        raise UserError(f"a claim compares two arms, not {len(asked.arms)}")
    if asked.better not in asked.arms:
        raise UserError(f"better names one of the arms ({', '.join(asked.arms)}), not {asked.better!r}")
    for name in (asked.measure, *asked.also):
        if name not in KNOWN:
            raise UserError(f"there is no measure {name!r}; {config.nearest(name, list(KNOWN))}")
        key, least = LEAST.get(name, ("frames", 2))
        if getattr(asked.evaluate, key) < least:
            raise UserError(f"the measure {name} needs evaluate.{key} of {least} or more")
        if KNOWN[name].memory and asked.data.partition(":")[0] != WORLD:
            raise UserError(f"the measure {name} is of the world {WORLD}: set data to it, or choose another measure")
    for arm, settings in asked.arms.items():
        given = config.dotted(asked.settings) | config.dotted(settings)
        _check_arm(arm, given)
        if any(measure.memory for measure in asked.shown) and not given.get("controls"):
            raise UserError(f"memory is measured of models that take actions: add controls: 6 to the settings of {arm}")
        if runs:
            config.resolve(None, asked.layers(arm, 0))


def _check_arm(arm: str, given: Mapping[str, Any]) -> None:
    if "recipe" not in given:
        raise UserError(f"the arm {arm} has no recipe; add one, such as recipe: frame-by-frame")
    for name in FIXED:
        if name in given:
            instead = {"data": "experiment.data", "train.steps": "flops", "train.seed": "seeds"}[name]
            raise UserError(f"{name} is not the arm {arm}'s to set: {instead} decides it")
