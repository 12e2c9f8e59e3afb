"""`unspool data VERB`: from worlds and videos to training data. One file per verb."""

from __future__ import annotations

VERBS = {
    "inspect": "what a folder of videos or a recorded set holds, and what of it cannot be used",
    "prepare": "a folder of videos or a recorded set as memory-mapped shards, ready to train on",
    "record": "a simulator filmed: videos with the actions, poses and maps behind them",
}
EXAMPLES = (
    "unspool data record vizdoom --out doom --episodes 100",
    "unspool data inspect doom",
    "unspool data prepare doom --size 64 --out doom-64",
)
