"""`unspool claims VERB`: what papers say, as small experiments. One file per verb."""

from __future__ import annotations

VERBS = {
    "run": "one claim put to the test: both arms trained at equal FLOPs, measured, judged by the interval",
    "table": "all claims with their verdicts, as docs/claims.md",
}
EXAMPLES = (
    "unspool claims run recursive-alpha --out runs/recursive-alpha",
    "unspool claims table",
)
