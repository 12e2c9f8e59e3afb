"""The exception that means: the user can mend this."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input, told in one clear line that names the fix. The command line prints it and exits with code 2."""


class NothingThere(UserError):
    """Data that is whole and holds nothing of what was asked for, such as a set without a test side."""
