"""Real acquisitions of the demo camera, as scripts of their own: engines leave threads behind.

    python -m tests.support.acquisition FOLDER ENGINE live|raises|hangs|killed TIMES

``live``: 2 positions and 2 channels, whose last image is held back until all stacks are restored.
The others: one of each, and a broken restorer. Prints JSON: what became of the run, and what the
hook cost.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

FAULTS = {
    "raises": "raise RuntimeError('broken')",
    "hangs": "import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(1000)",
    "killed": "import os\nos.kill(os.getpid(), 9)",
}
SLICES = 9
LIVE_S = 100.0
_WIDTH, _HEIGHT, _EXPOSURE_MS = 128, 96, 2.0


class Script:
    """What a script knows of its run, and the callback of its own that it has."""

    def __init__(self, folder: Path, kind: str, times: int) -> None:
        self.folder = folder
        self.times = times
        self.live = kind == "live"
        self.positions = [(100 * number, 0) for number in range(2 if self.live else 1)]
        self.channels = ["DAPI", "FITC"] if self.live else ["DAPI"]
        self.stacks = len(self.positions) * times * len(self.channels)
        self.calls = 0
        self.cost_s: list[float] = []
        self.during = 0

    def own(self, *_: Any) -> None:
        """Make a mistake once."""
        self.calls += 1
        if self.calls == 5:
            raise ValueError("a mistake in the script's own callback")

    def timed(self, callback: Callable[..., object]) -> Callable[[Any, Any], None]:
        """Take down what a call costs: processor time, as what else is going on is not its own."""

        def call(one: Any, other: Any) -> None:
            before, began = self.calls, time.thread_time()
            callback(one, other)
            if before != 4:  # the mistake is the script's, and so is its traceback
                self.cost_s.append(time.thread_time() - began)

        return call

    def results(self) -> list[Path]:
        """Return the results so far."""
        return sorted(self.folder.glob("*_restored/*.ome.tif"))

    def wait_for_results(self) -> None:
        """Wait, the run still being open, until all of it is restored."""
        deadline = time.monotonic() + (LIVE_S if self.live else 0.0)
        while len(self.results()) < self.stacks and time.monotonic() < deadline:
            time.sleep(0.05)
        self.during = len(self.results())


def with_python_engine(script: Script, live: Any) -> None:
    """Record with pycromanager's Python engine."""
    from mm_test_adapters import device_adapter_path
    from mmpycorex import Core
    from pycromanager import start_headless

    adapters = device_adapter_path()
    start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)
    core: Any = Core()
    core.set_property("Camera", "OnCameraCCDXSize", str(_WIDTH))
    core.set_property("Camera", "OnCameraCCDYSize", str(_HEIGHT))
    core.set_exposure(_EXPOSURE_MS)
    _with_pycromanager(script, live)


def with_java_engine(script: Script, live: Any) -> None:
    """Record with the engine in Micro-Manager: its double, whose port the environment names."""
    port = int(os.environ["DOUBLE_OF_MICRO_MANAGER_PORT"])
    _with_pycromanager(script, live, port=port, show_display=False)


def _with_pycromanager(script: Script, live: Any, **options: Any) -> None:
    """Record with the engine that is there, events from a generator."""
    from pycromanager import Acquisition, multi_d_acquisition_events

    events = multi_d_acquisition_events(
        num_time_points=script.times,
        xy_positions=script.positions if script.live else None,
        z_start=0, z_end=4, z_step=0.5,
        channel_group="Channel", channels=script.channels,
    )  # fmt: skip
    with (
        live,
        Acquisition(
            str(script.folder),
            "run",
            image_saved_fn=script.timed(live.beside(script.own)),
            **options,
        ) as acquisition,
    ):
        acquisition.acquire(live.expect(event for event in events))
        script.wait_for_results()


def with_pymmcore_plus(script: Script, live: Any) -> None:
    """Record with pymmcore-plus, saved as OME-Zarr."""
    import useq
    from mm_test_adapters import device_adapter_path
    from pymmcore_plus import CMMCorePlus

    adapters = device_adapter_path()
    core = CMMCorePlus(adapter_paths=[adapters])
    core.loadSystemConfiguration(f"{adapters}/MMConfig_demo.cfg")
    core.setProperty("Camera", "OnCameraCCDXSize", str(_WIDTH))
    core.setProperty("Camera", "OnCameraCCDYSize", str(_HEIGHT))
    core.setExposure(_EXPOSURE_MS)
    sequence = useq.MDASequence(
        axis_order="tpcz",
        time_plan={"interval": 0, "loops": script.times},
        stage_positions=script.positions,
        channels=script.channels,
        z_plan={"range": 4, "step": 0.5},
    )
    images = script.stacks * SLICES

    def on_frame(image: Any, event: Any) -> None:
        script.calls += 1
        if script.calls == images:  # the run goes on for as long as this takes
            script.wait_for_results()

    output = script.folder / "run.ome.zarr"
    core.mda.events.frameReady.connect(on_frame)
    with live:
        live.follow(core, output)
        core.run_mda(sequence, output=output).join()


ENGINES = {
    "pycromanager": with_python_engine,
    "pycromanager-java": with_java_engine,
    "pymmcore-plus": with_pymmcore_plus,
}


def main(folder: Path, engine: str, kind: str, times: int) -> None:
    """Record, with a restorer of that kind."""
    from live_restore import LiveRestore
    from live_restore.hooks import child as restoring

    if kind in FAULTS:

        def broken(path: Path, options: Sequence[str], *, once: bool) -> list[str]:
            return [sys.executable, "-c", FAULTS[kind]]

        restoring.restoring_command = broken
        restoring._STOP_S = 1.0
    script = Script(folder, kind, times)
    live = LiveRestore(finish_s=4.0 if kind in FAULTS else 60.0)
    ENGINES[engine](script, live)
    (outcome,) = live.outcomes
    print(
        json.dumps(
            {
                "path": str(outcome.path),
                "done": outcome.done,
                "failed": outcome.failed,
                "why": outcome.why,
                "calls": script.calls,
                "restored_during_the_run": script.during,
                "longest_ms": 1000 * max(script.cost_s, default=0.0),
            }
        )
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3], int(sys.argv[4]))
