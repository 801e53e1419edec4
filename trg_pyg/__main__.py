"""``python -m trg_pyg`` is ``trg``."""

import sys

from trg_pyg.cli import main

if __name__ == "__main__":
    sys.exit(main())
