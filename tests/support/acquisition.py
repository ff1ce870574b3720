"""Real acquisitions of the demo camera, as scripts of their own: engines leave threads behind.

    python -m tests.support.acquisition FOLDER good|live|raises|hangs|killed TIMES

Prints JSON: what became of the run, and what the hook cost.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

FAULTS = {
    "raises": "raise RuntimeError('broken')",
    "hangs": "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(1000)",
    "killed": "import os\nos.kill(os.getpid(), 9)",
}
SLICES = 9


def open_demo_microscope(width: int = 128, height: int = 96) -> None:
    """Start pycromanager's Python engine with the demo camera, in this process."""
    from mm_test_adapters import device_adapter_path
    from mmpycorex import Core
    from pycromanager import start_headless

    adapters = device_adapter_path()
    start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)
    core: Any = Core()
    core.set_property("Camera", "OnCameraCCDXSize", str(width))
    core.set_property("Camera", "OnCameraCCDYSize", str(height))
    core.set_exposure(2.0)


def main(folder: Path, kind: str, times: int) -> None:
    """Record, with a restorer of that kind."""
    from pycromanager import Acquisition, multi_d_acquisition_events

    from live_restore import LiveRestore
    from live_restore.hooks import restoring

    if kind in FAULTS:

        def broken(path: Path, options: Sequence[str], *, once: bool) -> list[str]:
            return [sys.executable, "-c", FAULTS[kind]]

        restoring.restoring_command = broken
        restoring._STOP_S = 1.0
    open_demo_microscope()
    events = multi_d_acquisition_events(
        num_time_points=times, time_interval_s=1.5 if kind == "live" else 0,
        z_start=0, z_end=4, z_step=0.5,
        channel_group="Channel", channels=["DAPI"],
    )  # fmt: skip
    calls: list[float] = []

    def own(axes: dict[str, Any], dataset: Any) -> None:
        calls.append(0.0)
        if len(calls) == 5:
            raise ValueError("a mistake in the script's own callback")

    live = LiveRestore(finish_s=4.0 if kind in FAULTS else 60.0)
    both = live.beside(own)

    def timed(axes: dict[str, Any], dataset: Any) -> None:
        began = time.thread_time()
        both(axes, dataset)
        calls[-1] = time.thread_time() - began

    with live:
        with Acquisition(str(folder), "run", image_saved_fn=timed) as acquisition:
            acquisition.acquire(live.expect(event for event in events))
        during = len(list(folder.glob("run_1_restored/*.ome.tif")))
    (outcome,) = live.outcomes
    print(
        json.dumps(
            {
                "path": str(outcome.path),
                "done": outcome.done,
                "failed": outcome.failed,
                "why": outcome.why,
                "calls": len(calls),
                "restored_during_the_run": during,
                # Processor time: what the machine does besides is none of the hook's.
                "longest_ms": 1000 * max(each for n, each in enumerate(calls) if n != 4),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]))
