"""The command `mtcnn-fast`, also as `python -m mtcnn_fast`."""

from __future__ import annotations

import sys

from mtcnn_fast.cli import main

if __name__ == "__main__":
    sys.exit(main())
