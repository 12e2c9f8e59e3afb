"""Options: argparse with errors in one line, and settings that come from signatures."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NoReturn, get_args, get_origin

from unspool.errors import UserError

_SET = "set:"


class Parser(argparse.ArgumentParser):
    """Raises UserError where argparse would print its usage and exit; unknown options are refused with the nearest one."""

    def __init__(self, verb: str, summary: str, examples: Iterable[str]) -> None:
        epilog = "\n".join(["examples:", *(f"  {line}" for line in examples)])
        form = argparse.RawDescriptionHelpFormatter
        super().__init__(f"unspool {verb}", description=summary, epilog=epilog, formatter_class=form, allow_abbrev=False)

    def error(self, message: str) -> NoReturn:
        raise UserError(f"{message[:1].lower()}{message[1:]}; see {self.prog} --help")

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """The options of `argv`; those made by `settings` are gathered by name in `.overrides`."""
        from unspool.config import nearest

        options = self._option_string_actions
        for word in argv:
            if word.startswith("--") and word.partition("=")[0] not in options:
                name = word[2:].partition("=")[0].replace("_", "-")
                names = [known[2:] for known in options if known.startswith("--") and "_" not in known and known != "--help"]
                raise UserError(f"there is no option --{name} here; {nearest(name, names, '--')}")
        known, rest = self.parse_known_args(argv)
        if rest:
            raise UserError(f"{rest[0]!r} is one word too many; see {self.prog} --help")
        given = vars(known)
        known.overrides = {name.removeprefix(_SET): given.pop(name) for name in list(given) if name.startswith(_SET)}
        return known

    def settings(self, title: str, settings: Iterable[Any]) -> None:
        """One option per `config.Setting`; a_b may be typed --a_b or --a-b. Values are checked later, all in one place."""
        group = self.add_argument_group(title)
        for name, kind, default, means in settings:
            flags = dict.fromkeys((f"--{name.replace('_', '-')}", f"--{name}"))
            switch: dict[str, Any] = {"nargs": "?", "const": True} if kind in (bool, bool | None) else {}
            shown = "required" if default is inspect.Parameter.empty else "the recipe's own" if default is None else default
            try:
                group.add_argument(
                    *flags, dest=_SET + name, default=argparse.SUPPRESS, metavar=_metavar(kind),
                    help=f"{means} [{shown}]".strip().replace("%", "%%"), **switch,
                )  # fmt: skip
            except argparse.ArgumentError:
                raise UserError(f"the setting {name!r} of this recipe is an option of the command already; rename it") from None

    def threads(self) -> None:
        self.add_argument("--threads", type=int, metavar="N", help="processor threads [as many as torch takes]")

    def device(self) -> None:
        self.add_argument("--device", metavar="cpu|cuda|cuda:N", help="what computes [a GPU where there is one, else the CPU]")

    def json(self) -> None:
        self.add_argument("--json", action="store_true", help="print JSON on standard output, and nothing else there")


def rollout_settings(parser: Parser) -> None:
    """--rollout.lag, .steps, .chunks, .solver, .shift, .drain, .guidance, .prompt-guidance."""
    from unspool.config import RolloutOptions, signature

    parser.settings("settings of the rollout", signature(RolloutOptions, "rollout."))


def rollout_given(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of the rollout, by the names of `RolloutOptions`."""
    return {name.removeprefix("rollout."): value for name, value in options.overrides.items()}


def set_threads(count: int | None) -> None:
    """Raises UserError for a number that is not positive."""
    if count is not None:
        import torch

        if not 1 <= count <= 1024:
            raise UserError(f"threads is 1 to 1024, not {count}")
        torch.set_num_threads(count)


def _metavar(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        return _metavar(get_args(kind)[0])
    if get_origin(kind) is Literal:
        return "|".join(map(str, get_args(kind)))
    inner = [_metavar(part) for part in get_args(kind) if part is not type(None)]
    shown = {"int": "N", "float": "X", "bool": "true|false"}
    return "|".join(dict.fromkeys(inner)) or shown.get(getattr(kind, "__name__", ""), "VALUE")
