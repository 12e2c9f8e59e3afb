"""Claims: what a paper says of its system, as one small experiment whose proof is written down before it runs.

A claim file says which of two arms is expected to be better, by which measure, from which difference on it would count, and
what may be spent. `plan`, `train` and `judge` run it; effect and interval give the verdict. `page` is the table of all.
"""

from __future__ import annotations

from unspool.claims.claim import Claim, find, folder, read
from unspool.claims.running import Trial, judge, plan, train

__all__ = ["Claim", "Trial", "find", "folder", "judge", "plan", "read", "train"]
