"""A worker that something is wrong with: ``python -m tests.support.odd_worker KIND worker ...``.

KIND is "wrong" (its device computes right numbers at first, wrong ones from then on), "deadly" (it
dies of every stack), "failing" (its runtime fails on every large tile), or "old" (of another
version).
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from live_restore.cli.main import main
from live_restore.errors import RuntimeFailureError
from live_restore.inference.backends.onnx import OnnxSession
from live_restore.inference.backends.session import Floats


def be_odd(kind: str) -> None:
    """Break this process's runtime, or its version."""
    if kind == "old":
        import live_restore._version

        live_restore._version.__version__ = "0.0.1"
        return
    run = OnnxSession.run

    def odd(self: OnnxSession, tile: Floats) -> Floats:
        in_station = threading.current_thread() is not threading.main_thread()
        if in_station and kind == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        if in_station and kind == "failing" and tile.shape[-1] > 64:
            raise RuntimeFailureError("the driver was reset")
        return run(self, tile) * (0.5 if in_station and kind == "wrong" else 1)

    OnnxSession.run = odd  # type: ignore[method-assign]


if __name__ == "__main__":
    be_odd(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
