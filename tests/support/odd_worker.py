"""A worker that something is wrong with: ``python -m tests.support.odd_worker KIND worker ...``.

KIND is "wrong" (its device computes right numbers at first, wrong ones from then on), "deadly" (it
dies of every stack), "poisoned" (it dies of those that are 128 voxels wide), "failing" (its runtime
fails on every large tile), "slow" (a stack takes it 0.3 s more), "behind PORT PORT" (it listens at
the one, and is reached at the other), "old" (of another version), or "without distributed" (that
package is not installed).
"""

from __future__ import annotations

import functools
import importlib.util
import os
import signal
import sys
import threading
import time

from live_restore.cli.main import main
from live_restore.cluster.protocol import Offer
from live_restore.errors import RuntimeFailureError
from live_restore.inference.backends.onnx import OnnxSession
from live_restore.inference.backends.session import Floats


def be_odd(kind: str) -> None:
    """Break this process's runtime, or its version."""
    if kind == "old":
        # What it is when the offer is made was taken from the version when it was defined.
        Offer.__init__.__defaults__ = ("0.0.1",)
        return
    if kind == "without distributed":
        find = importlib.util.find_spec
        importlib.util.find_spec = lambda name: None if name == "distributed" else find(name)
        sys.modules["distributed"] = None  # type: ignore[assignment]
        return
    if kind.startswith("behind"):
        from live_restore.cluster import worker

        inside, outside = map(int, kind.split()[1:])
        contact = f"tcp://127.0.0.1:{outside}"
        worker.Worker = functools.partial(worker.Worker, port=inside, contact_address=contact)
        return
    run = OnnxSession.run

    def odd(self: OnnxSession, tile: Floats) -> Floats:
        in_station = threading.current_thread() is not threading.main_thread()
        if in_station and (kind == "deadly" or (kind == "poisoned" and tile.shape[-1] >= 128)):
            os.kill(os.getpid(), signal.SIGKILL)
        if in_station and kind == "failing" and tile.shape[-1] > 64:
            raise RuntimeFailureError("the driver was reset")
        if in_station and kind == "slow" and tile.shape[-1] > 64:
            time.sleep(0.3)
        return run(self, tile) * (0.5 if in_station and kind == "wrong" else 1)

    OnnxSession.run = odd  # type: ignore[method-assign]


if __name__ == "__main__":
    be_odd(sys.argv[1])
    sys.exit(main(sys.argv[2:]))
