"""What the hook costs the microscope: the same acquisition with it and without, in turns.

    python benchmarks/hook.py --pairs 10

Measured from the first to the last saved image of Micro-Manager's demo camera (512 x 512 pixels,
10 ms), 2 positions x 3 times x 2 channels x 9 planes. Restoration runs in its own process beside
it, so the difference is what the microscope feels of both. In turns, and compared pair by pair: a
machine that is busy with other things is so for both of a pair.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import tempfile
import time
from typing import Any

from mm_test_adapters import device_adapter_path
from pycromanager import Acquisition, multi_d_acquisition_events, start_headless

from live_restore import LiveRestore


def acquisition_s(folder: str, *, hooked: bool, config: str | None) -> float:
    """Return the time from the first to the last image (s) of one acquisition."""
    saved: list[float] = []

    def note(axes: dict[str, Any], dataset: object) -> None:  # noqa: ARG001
        saved.append(time.perf_counter())

    events = multi_d_acquisition_events(
        num_time_points=3,
        xy_positions=[(0, 0), (100, 0)],
        channel_group="Channel",
        channels=["DAPI", "FITC"],
        z_start=0,
        z_end=4,
        z_step=0.5,
    )
    with contextlib.ExitStack() as stack:
        live = stack.enter_context(LiveRestore(config)) if hooked else None
        callback = live.beside(note) if live else note
        acquisition = stack.enter_context(Acquisition(folder, "run", image_saved_fn=callback))
        acquisition.acquire(live.expect(events) if live else events)
    return saved[-1] - saved[0]


def main() -> None:
    """Print each pair, and the median ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--config", help="a config.toml for what restores")
    arguments = parser.parse_args()
    adapters = device_adapter_path()
    start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)
    ratios = []
    with tempfile.TemporaryDirectory() as folder:
        acquisition_s(folder, hooked=False, config=None)  # the first one loads and allocates
        for number in range(arguments.pairs):
            first = bool(number % 2)
            seconds = {
                hooked: acquisition_s(folder, hooked=hooked, config=arguments.config)
                for hooked in (first, not first)
            }
            ratios.append(seconds[True] / seconds[False])
            print(f"without {seconds[False]:.3f} s  with {seconds[True]:.3f} s", flush=True)
    low, high = min(ratios), max(ratios)
    print(f"with / without: median {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


if __name__ == "__main__":
    main()
