"""What a system will do and cost, told before anything is trained.

`explain` gives text, `explain_dict` the same figures for programs, `check` refuses what cannot work, and `levels_picture` draws
the matrix of levels.
"""

from unspool.explain.check import check, check_rollout
from unspool.explain.figures import explain_dict
from unspool.explain.picture import levels_picture
from unspool.explain.text import explain

__all__ = ["check", "check_rollout", "explain", "explain_dict", "levels_picture"]
