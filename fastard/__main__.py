"""``python -m fastard``."""

import sys

from fastard._cli.main import main

__all__ = ["main"]

if __name__ == "__main__":
    sys.exit(main())
