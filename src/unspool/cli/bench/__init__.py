"""`unspool bench VERB`: how fast this machine is at it. One file per verb."""

from __future__ import annotations

VERBS = {
    "sample": "a model's rollout: frames a second, time to the first one, memory, share of what the machine can do",
    "train": "a recipe's steps: tokens a second, time by part, share of what the machine can do",
}
EXAMPLES = (
    "unspool bench sample duel-64 --frames 300",
    "unspool bench train frame-by-frame --size nano --data duel --timed 20",
)
