"""Runs the command line on a leash: it stops when whoever started it lets go, or dies.

    python -m live_restore.cli.leash watch D:\\data\\run_1

The leash is standard input; ``hooks/leash.py`` says why.
"""

from __future__ import annotations

import sys

from live_restore.cli.main import main
from live_restore.engine.signals import end_as_let_go
from live_restore.hooks.leash import when_dropped

if __name__ == "__main__":
    when_dropped(end_as_let_go)
    sys.exit(main(sys.argv[1:]))
