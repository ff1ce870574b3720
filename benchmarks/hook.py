"""What the hook costs the microscope: the same acquisition with it and without, in turns.

    python benchmarks/hook.py --pairs 10
    python benchmarks/hook.py --pairs 6 --times 20 --engine pymmcore-plus
    python benchmarks/hook.py --pairs 6 --times 20 --display 1.3

Measured from the first to the last image that Micro-Manager's demo camera delivered (512 x 512
pixels, 10 ms), 2 positions x 3 times x 2 channels x 9 planes. Restoration runs in its own process
beside it, so the difference is what the microscope feels of both. In turns, and compared pair by
pair: a machine that is busy with other things is so for both of a pair. What is left when a run is
over is not waited for; the longer the run (``--times``), the more of it is restored beside it.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from display_load import display_load
from mm_test_adapters import device_adapter_path

from live_restore import LiveRestore

POSITIONS, CHANNELS, SLICES = 2, ("DAPI", "FITC"), 9
Acquire = Callable[[Path, LiveRestore | None, int], float]
costs_s: list[float] = []
"""What each call of ``image_saved_fn`` took, by the clock on the wall."""


def with_pycromanager() -> Acquire:
    """Return an acquisition by pycromanager's Python engine, saved as NDTiff."""
    from pycromanager import Acquisition, multi_d_acquisition_events, start_headless

    adapters = device_adapter_path()
    start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)

    def acquire(folder: Path, live: LiveRestore | None, times: int) -> float:
        saved: list[float] = []

        def note(axes: dict[str, Any], dataset: object) -> None:
            began = time.perf_counter()
            saved.append(began)
            if live:
                live.image_saved_fn(axes, dataset)
                costs_s.append(time.perf_counter() - began)

        events = multi_d_acquisition_events(
            num_time_points=times,
            xy_positions=[(100 * number, 0) for number in range(POSITIONS)],
            channel_group="Channel",
            channels=list(CHANNELS),
            z_start=0,
            z_end=0.5 * (SLICES - 1),
            z_step=0.5,
        )
        with Acquisition(str(folder), "run", image_saved_fn=note) as acquisition:
            acquisition.acquire(live.expect(events) if live else events)
        return _seconds(saved, times)

    return acquire


def with_pymmcore_plus() -> Acquire:
    """Return an acquisition by pymmcore-plus, saved as OME-Zarr."""
    import useq
    from pymmcore_plus import CMMCorePlus

    adapters = device_adapter_path()
    core = CMMCorePlus(adapter_paths=[adapters])
    core.loadSystemConfiguration(f"{adapters}/MMConfig_demo.cfg")

    def acquire(folder: Path, live: LiveRestore | None, times: int) -> float:
        sequence = useq.MDASequence(
            axis_order="tpcz",
            time_plan={"interval": 0, "loops": times},
            stage_positions=[(100 * number, 0) for number in range(POSITIONS)],
            channels=list(CHANNELS),
            z_plan={"range": 0.5 * (SLICES - 1), "step": 0.5},
        )
        taken: list[float] = []

        def note(image: object, event: object, meta: object) -> None:  # noqa: ARG001
            taken.append(time.perf_counter())

        output = folder / f"run_{time.time_ns()}.ome.zarr"
        core.mda.events.frameReady.connect(note)
        if live:
            live.follow(core, output)
        core.run_mda(sequence, output=output).join()
        core.mda.events.frameReady.disconnect(note)
        return _seconds(taken, times)

    return acquire


def _seconds(at: list[float], times: int) -> float:
    planned = POSITIONS * times * len(CHANNELS) * SLICES
    if len(at) != planned:
        raise SystemExit(f"{len(at)} of {planned} images")
    return at[-1] - at[0]


def main() -> None:
    """Print each pair, and the median ratio."""
    engines = {"pycromanager": with_pycromanager, "pymmcore-plus": with_pymmcore_plus}
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--times", type=int, default=3, help="time points of each run (3)")
    parser.add_argument("--engine", choices=engines, default="pycromanager")
    parser.add_argument("--config", help="a config.toml for what restores")
    parser.add_argument(
        "--display", type=float, default=0.0, help="cores that a process which draws takes (0)"
    )
    parser.add_argument(
        "--finish", action="store_true", help="at the end, one run whose backlog is worked off"
    )
    arguments = parser.parse_args()
    acquire = engines[arguments.engine]()
    ratios, restored = [], 0
    with tempfile.TemporaryDirectory() as name, display_load(arguments.display):
        folder = Path(name)
        acquire(folder, None, arguments.times)  # the first one loads and allocates
        for number in range(arguments.pairs):
            seconds = {}
            for hooked in (bool(number % 2), not number % 2):
                with contextlib.ExitStack() as stack:
                    session = LiveRestore(arguments.config, finish_s=0.0)
                    live = stack.enter_context(session) if hooked else None
                    seconds[hooked] = acquire(folder, live, arguments.times)
                    restored += len(list(folder.rglob("p*.ome.tif")))
                for run in folder.iterdir():  # 0.2 GB each
                    shutil.rmtree(run, ignore_errors=True)
            ratios.append(seconds[True] / seconds[False])
            print(f"without {seconds[False]:.3f} s  with {seconds[True]:.3f} s", flush=True)
        if arguments.finish:
            began = time.monotonic()
            with LiveRestore(arguments.config, finish_s=None) as live:
                acquire(folder, live, arguments.times)
            count = len(list(folder.rglob("p*.ome.tif")))
            print(f"run and backlog: {time.monotonic() - began:.1f} s, {count} stacks", flush=True)
    low, high = min(ratios), max(ratios)
    print(f"with / without: median {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")
    print(f"restored while the runs went on: {restored} stacks")
    if costs_s:
        usual, longest = 1e6 * statistics.median(costs_s), 1e3 * max(costs_s)
        print(f"image_saved_fn: median {usual:.1f} us, longest {longest:.2f} ms of {len(costs_s)}")


if __name__ == "__main__":
    main()
