"""Runs the command line on a leash: it stops when whoever started it lets go, or dies.

    python -m live_restore.cli.leash watch D:\\data\\run_1

The leash is standard input. A pipe closes on every operating system when its other end dies, so no
restoration outlives a killed script unnoticed, and asking it to stop needs no signal that Windows
does not have.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from live_restore.cli.main import main


def _wait_for_the_end() -> None:
    # Not through sys.stdin: its lock, held by a daemon thread, aborts the interpreter's shutdown.
    while os.read(0, 4096):
        pass
    if sys.platform == "win32":
        signal.raise_signal(signal.SIGBREAK)
    else:
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    threading.Thread(target=_wait_for_the_end, name="leash", daemon=True).start()
    sys.exit(main(sys.argv[1:]))
