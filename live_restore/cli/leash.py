"""Runs the command line on a leash: it stops when whoever started it lets go, or dies.

    python -m live_restore.cli.leash watch D:\\data\\run_1

The leash is standard input; ``hooks/leash.py`` says why.
"""

from __future__ import annotations

import sys
import threading

from live_restore.cli.main import main
from live_restore.engine.signals import end_as_let_go
from live_restore.hooks.leash import wait_until_dropped


def _wait_for_the_end() -> None:
    wait_until_dropped()
    end_as_let_go()


if __name__ == "__main__":
    threading.Thread(target=_wait_for_the_end, name="leash", daemon=True).start()
    sys.exit(main(sys.argv[1:]))
