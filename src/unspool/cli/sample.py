"""`unspool sample`."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from unspool.cli import VERBS, many
from unspool.cli.parser import Parser, rollout_given, rollout_settings, set_threads
from unspool.cli.progress import Bar, size
from unspool.data import WORLDS
from unspool.data.actions import read_actions, seen_in
from unspool.errors import UserError

if TYPE_CHECKING:
    from unspool.hub import Checkpoint

EXAMPLES = (
    "unspool sample duel-64 --context duel:speed=0.5 --frames 893 --seeds 3 --out futures",
    "unspool sample runs/mine --context clip.mp4 --frames 300 --out futures --rollout-out half.safetensors",
    "unspool sample runs/mine --rollout-in half.safetensors --frames 300 --out more",
    "unspool sample duel-64 --context duel:speed=0.5 --clip 3 --split unseen --frames 120 --out futures --rollout.steps 8",
    "unspool sample runs/mine --context clip.mp4 --frames 120 --out futures --recipe chunk-by-chunk",
    "unspool sample runs/mine --context clip.mp4 --frames 120 --out faster --rollout.lag 1/2 --rollout.solver midpoint",
    "unspool sample runs/walk --context rooms --clip 3 --split unseen --frames 90 --out walk --actions keys.txt",
    "torchrun --nproc-per-node 8 -m unspool sample runs/mine --context shards --clips 256 --seeds 4 --frames 893 --out all",
    "unspool sample runs/mine --context-frames 0 --frames 120 --out beginnings",
    "unspool sample runs/mine --context clip.mp4 --frames 45 --out short --rollout.drain",
    'unspool sample runs/told --prompt "red kicks, blue falls" --frames 1440 --out told',
    'unspool sample runs/told --prompt "red waits, blue jabs" --prompt "10s: red falls, blue taunts" --frames 600 --out told',
)


def parser(argv: list[str]) -> Parser:
    parser = Parser("sample", VERBS["sample"], EXAMPLES)
    parser.add_argument("model", metavar="MODEL", help="a run or checkpoint folder, a shipped model's name, or a Hub id")
    parser.add_argument("--context", metavar="VIDEO|DIR|WORLD", help=f"to go on from; worlds: {', '.join(WORLDS)}")
    parser.add_argument(
        "--context-frames", type=int, default=2, metavar="N", help="its first frames that are taken; 0: begin from nothing [2]"
    )
    parser.add_argument("--clip", type=int, default=0, metavar="N", help="number of the video in DIR or of the clip [0]")
    parser.add_argument("--clips", type=int, default=1, metavar="N", help="so many videos or clips, from --clip on [1]")
    parser.add_argument("--slots", type=int, default=8, metavar="N", help="of these, rollouts side by side [8]")
    parser.add_argument("--split", choices=("seen", "unseen"), default="seen", help="combinations trained on or not [seen]")
    parser.add_argument(
        "--actions", type=Path, metavar="FILE",
        help="one a line (a name, a number or K numbers) or .npy: what leads to each frame made, the last one is held "
        "[those of the context's own video]",
    )  # fmt: skip
    parser.add_argument("--frames", type=int, required=True, metavar="N", help="frames to make")
    parser.add_argument("--seeds", type=int, default=None, metavar="K", help="futures to make, one video each [1]")
    parser.add_argument("--seed", type=int, default=None, metavar="S", help="of the first future; the next have S + 1, ... [0]")
    parser.add_argument(
        "--prompt", action="append", metavar="TEXT", help="what is to be seen; once more, '10s: TEXT', what is from then on"
    )
    past = "what a new prompt does to what is remembered: leave it, or write it anew [keep]"
    parser.add_argument("--on-prompt", choices=("keep", "recache"), help=past)
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for future-1.mp4, ...")
    parser.add_argument("--upscale", type=int, default=1, metavar="N", help="enlarge the videos by a whole factor [1]")
    parser.add_argument("--recipe", metavar="RECIPE", help="another recipe over the same weights")
    parser.add_argument("--rollout-out", type=Path, metavar="FILE", help="save where the futures stand, to go on later")
    parser.add_argument("--rollout-in", type=Path, metavar="FILE", help="go on from there; no context is needed")
    parser.add_argument("--bf16", action="store_true", help="compute in bfloat16")
    rollout_settings(parser)
    parser.device()
    parser.threads()
    parser.json()
    return parser


def run(options: argparse.Namespace) -> None:
    """Write the futures, with a live bar on standard error and what was made on standard output."""
    from unspool import hub, sampling
    from unspool.device import choose
    from unspool.snapshot import save_rollout

    if options.clips != 1 or "RANK" in os.environ:
        return many.run(options)
    _refuse_clashes(options)
    set_threads(options.threads)
    checkpoint = hub.find(options.model)
    system = hub.load(checkpoint, recipe=options.recipe, device=choose(options.device))
    if options.bf16:
        system.model.bfloat16()
    begun = _begin(options, system, checkpoint)
    system, rollout, notes = begun.system, begun.rollout, begun.notes
    if system.drain and options.rollout_out:
        raise UserError("a drained video has an end, and --rollout-out saves where one goes on: leave one of them away")
    seeds = rollout.state["seed"].tolist()
    paths = [options.out / f"future-{k + 1}.mp4" for k in range(len(seeds))]
    facts = {
        "model": options.model, "config_hash": checkpoint.digest, "checkpoint": checkpoint.folder.resolve().name,
        "recipe": options.recipe or checkpoint.config["recipe"], "context": notes["context"],
        "rollout": json.loads(notes["rollout"]), **(begun.told or {}),
    }  # fmt: skip
    fps = float(notes["fps"])
    with Bar("frames", options.frames) as bar:

        def report(at: sampling.Progress) -> None:
            bar(at.frames, figures_of(at, fps))

        done = sampling.write_futures(
            system, rollout, options.frames, paths, fps=fps, upscale=options.upscale, facts=facts,
            actions=begun.actions, begins=begun.begins, report=report, telling=begun.telling,
        )  # fmt: skip
    if options.rollout_out and done.rollout is not None:
        save_rollout(options.rollout_out, done.rollout, system.model, notes | _actions_noted(begun, done.rollout))
    if done.interrupted:
        raise KeyboardInterrupt(f"{done.frames} of {options.frames} frames are in {options.out}")
    rate = done.frames / done.seconds
    if options.json:
        made: dict[str, Any] = {
            "videos": [str(path) for path in paths], "seeds": seeds, "frames": done.frames, "fps": fps,
            "seconds": done.seconds, "frames_per_second": rate, "state_bytes": done.bytes,
        }  # fmt: skip
        print(json.dumps(made))
        return
    for path, seed in zip(paths, seeds, strict=True):
        print(f"{path}  {done.frames} frames, {done.frames / fps:.1f} s of video, seed {seed}")
    print(f"{rate:.1f} frames/s ({rate / fps:.2f} x real time), state of {size(done.bytes)}", file=sys.stderr)


def figures_of(at: Any, fps: float) -> dict[str, str]:
    """What a live bar shows of a rollout."""
    speed = at.frames / max(at.seconds, 1e-9)
    return {"frames/s": f"{speed:.1f}", "s of video": f"{at.frames / fps:.1f}", "state": size(at.bytes)}


class _Begun(NamedTuple):
    """actions: (N, K) of the frames from absolute frame `begins` on, None of a model that takes none."""

    system: Any
    rollout: Any
    notes: dict[str, str]
    actions: np.ndarray | None = None
    begins: int = 0
    telling: Any = None
    told: Any = None


def _begin(options: argparse.Namespace, system: Any, checkpoint: Checkpoint) -> _Begun:
    """The rollout to go on with, new or saved; a saved one keeps its --rollout options, and its actions, unless they are given
    anew. Frame rate and actions are those of the data that the model was trained on, where its checkpoint tells."""
    from unspool import config, openings, sampling
    from unspool.explain import check_rollout
    from unspool.fits import check_levels
    from unspool.snapshot import load_rollout, notes_of

    if options.actions and not system.model.controls:
        raise UserError("this model takes no actions: leave --actions away, or train one with --controls K")
    fps = checkpoint.config.get("fps")
    given = rollout_given(options)
    if options.rollout_in:
        before = json.loads(notes_of(options.rollout_in).get("rollout", "{}"))
        given = before | given
        begun_by = config.rollout_options(before).apply(system).schedule.plan()
        system = config.rollout_options(given).apply(system)
        saved = load_rollout(options.rollout_in, system.model)
        check_levels(saved.rollout.window, begun_by, system.schedule.plan())
        notes = {"fps": "30", "context": "unknown", **saved.notes, "rollout": json.dumps(given)}
        begun = _Begun(system, saved.rollout, notes, *_actions_of(notes))
        telling, told = _told(options, system, notes, sampling.first_shown(system, saved.rollout), None)
        return _steered(options, begun._replace(telling=telling, told=told), checkpoint, ())
    system = config.rollout_options(given).apply(system)
    context = openings.nothing(system, fps)
    if options.context is not None:
        chosen = {"split": options.split, "clip": options.clip, "fps": fps}
        follow = options.frames if system.model.controls and not options.actions else 0
        context = openings.context_of(options.context, system, options.context_frames, **chosen, follow=follow)
    known = context.actions if system.model.controls else None
    if options.actions and known is None:  # what led to the context nobody knows
        known = np.zeros((max(1, len(context.frames)), system.model.controls), np.float32)
    notes = {"fps": str(context.fps), "context": context.name, "rollout": json.dumps(given)}
    telling, told = _told(options, system, notes, len(context.frames), context.frames)
    seeds = 1 if options.seeds is None else options.seeds
    rollout = sampling.start(system, context.frames, seeds, options.seed or 0, known, telling and telling.script)
    for warning in check_rollout(system, bare=not len(context.frames)):
        print(warning, file=sys.stderr)
    if not len(context.frames) and not sampling.begins(system):
        print("this model never learned to begin from nothing; `progressive` and `alpha-context` do", file=sys.stderr)
    return _steered(options, _Begun(system, rollout, notes, known, 0, telling, told), checkpoint, context.names)


def _told(
    options: argparse.Namespace, system: Any, notes: dict[str, str], first: int, context: Any
) -> tuple[Any, dict[str, Any]]:
    """What is said of the frames from absolute frame `first` on, and how a JSON tells of it; nothing where nothing is said. The
    last prompt goes into the notes: a rollout that is gone on with hears it until another one begins."""
    from unspool import prompts, sampling

    heard = [notes["prompt"]] if notes.get("prompt") else []
    given = prompts.read_prompts(options.prompt or heard)
    if not given:
        return None, {}
    script = prompts.script_of(system.text, given, float(notes["fps"]), first, options.frames)
    if heard and options.prompt:  # what was said before the new prompt began
        script = prompts.behind(script, system.text, heard[0])
    notes["prompt"] = given[-1].words
    seeds = 1 if options.seeds is None else options.seeds
    on: prompts.OnPrompt = options.on_prompt or "keep"
    newest = None
    if on == "recache" and context is not None:
        newest = sampling.latents_of(system, context, seeds)[:, : len(context) - system.schedule.redo]
    return prompts.Telling(script, on, newest), {"prompts": prompts.sentences(given), "on_prompt": on}


def _steered(options: argparse.Namespace, begun: _Begun, checkpoint: Checkpoint, names: tuple[str, ...]) -> _Begun:
    """The same with the actions of --actions from the next frame on. Raises UserError where a model has no actions to go by."""
    from unspool import sampling

    if not (wanted := begun.system.model.controls):
        return begun._replace(actions=None)
    if options.actions is None:
        if begun.actions is None or not len(begun.actions):
            raise UserError("this model takes actions, and none are known here: give them with --actions FILE")
        return begun
    have, known = begun.actions, checkpoint.actions
    if known is None and have is not None and (names or have.any()):
        known = seen_in(have, names)
    if known is None or known.width != wanted:
        raise UserError(f"nobody says what the {wanted} numbers of an action are: give a --context that has actions")
    shown = sampling.first_shown(begun.system, begun.rollout)
    given = read_actions(options.actions, known)
    if have is None:
        return begun._replace(actions=given, begins=shown)
    before = have[np.arange(shown - begun.begins).clip(max=len(have) - 1)]  # behind the last action that is known, it was held
    return begun._replace(actions=np.concatenate([before, given]))


def _actions_noted(begun: _Begun, after: Any) -> dict[str, str]:
    """What a saved rollout keeps of its actions: those from the first frame on that it does not remember yet."""
    if begun.actions is None:
        return {}
    at = max(int(after.state["at"][0]), begun.begins)
    rest = begun.actions[min(at - begun.begins, len(begun.actions) - 1) :]
    return {"actions": json.dumps({"begins": at, "rows": rest.tolist()})}


def _actions_of(notes: dict[str, str]) -> tuple[np.ndarray | None, int]:
    if "actions" not in notes:
        return None, 0
    told = json.loads(notes["actions"])
    return np.asarray(told["rows"], np.float32), told["begins"]


def _refuse_clashes(options: argparse.Namespace) -> None:
    """Raises UserError for options that contradict each other, before anything is loaded."""
    from unspool import store
    from unspool.sampling import check_frames

    check_frames(options.frames)
    begun = [options.context is not None, options.rollout_in is not None, options.context_frames == 0]
    if options.prompt and not any(begun):
        begun[2] = True  # words are enough to begin with
    if options.on_prompt and not options.prompt:
        raise UserError("--on-prompt says what a new prompt does to the past: give --prompt as well, or leave it away")
    if sum(begun) != 1:
        raise UserError("give --context to begin with, --rollout-in to go on from, or --context-frames 0: one of them")
    if options.rollout_in and (options.seeds is not None or options.seed is not None):
        raise UserError("--seeds and --seed belong to a new rollout; the one of --rollout-in has its own")
    if options.out.exists() and not options.out.is_dir():
        raise UserError(f"{options.out} is a file; give --out a folder")
    if not 1 <= options.upscale <= 64:
        raise UserError(f"--upscale is 1 to 64, not {options.upscale}")
    if options.rollout_out:
        store.check_writable(options.rollout_out)
