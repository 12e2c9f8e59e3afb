"""The one exception that means: the user can mend this."""

from __future__ import annotations


class UserError(ValueError):
    """Bad input, told in one clear line that names the fix. The command line prints it and exits with code 2."""
