"""``live-restore demo --micromanager``: Micro-Manager's demo camera, restored while it records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from live_restore.errors import LiveRestoreError
from live_restore.files.naming import results_of_acquisition
from live_restore.hooks.session import LiveRestore
from live_restore.installation import install_with

POSITIONS, TIMES, CHANNELS, SLICES = 2, 3, ("DAPI", "FITC"), 9
_SIDE_PIXELS = 256


def run_micromanager_demo(folder: Path, times: int = TIMES) -> Path:
    """Record stacks with pycromanager and the demo camera, restoring each; return the results.

    Parameters
    ----------
    folder
        Where the acquisition is saved.
    times
        Time points.

    Raises
    ------
    LiveRestoreError
        pycromanager or the demo camera is not installed, or stacks were not restored.
    """
    try:
        from mm_test_adapters import device_adapter_path
        from mmpycorex import Core
        from pycromanager import Acquisition, multi_d_acquisition_events, start_headless
    except ImportError as error:
        raise LiveRestoreError(
            f"{error.name} is not installed", None, install_with("micromanager")
        ) from None
    adapters = device_adapter_path()
    start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)
    core: Any = Core()
    for axis in "XY":
        core.set_property("Camera", f"OnCameraCCD{axis}Size", str(_SIDE_PIXELS))
    events = multi_d_acquisition_events(
        num_time_points=times,
        xy_positions=[(100 * number, 0) for number in range(POSITIONS)],
        channel_group="Channel",
        channels=list(CHANNELS),
        z_start=0,
        z_end=0.5 * (SLICES - 1),
        z_step=0.5,
    )
    with (
        LiveRestore(finish_s=None) as live,
        Acquisition(str(folder), "run", image_saved_fn=live.image_saved_fn) as acquisition,
    ):
        acquisition.acquire(live.expect(events))
    (outcome,) = live.outcomes
    results = results_of_acquisition(outcome.path)
    there = len(list(results.glob("*.ome.tif")))
    planned = POSITIONS * times * len(CHANNELS)
    if there != planned:
        raise LiveRestoreError(f"{there} of {planned} stacks restored", results, outcome.why)
    return results
