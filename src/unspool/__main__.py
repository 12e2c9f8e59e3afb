"""`python -m unspool` is the command `unspool`."""

from __future__ import annotations

import sys

from unspool.cli import main

if __name__ == "__main__":
    sys.exit(main())
