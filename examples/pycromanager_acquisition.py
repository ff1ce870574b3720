"""A pycromanager acquisition whose stacks are restored while it runs.

    python examples/pycromanager_acquisition.py D:\\data

It runs without a microscope: the camera is Micro-Manager's DemoCamera, from
``pip install 'live-restore[micromanager]'``. With Micro-Manager open (Tools > Options > Run server
on port), leave ``start_headless`` away, and the same lines use its hardware.
"""

import sys

from mm_test_adapters import device_adapter_path
from pycromanager import Acquisition, multi_d_acquisition_events, start_headless

from live_restore import LiveRestore


def main(folder: str, config: str | None = None) -> None:
    """Record 2 positions, 3 time points, 2 channels and 9 planes into ``folder``."""
    adapters = device_adapter_path()
    start_headless(adapters, f"{adapters}/MMConfig_demo.cfg", python_backend=True)
    events = multi_d_acquisition_events(
        num_time_points=3,
        xy_positions=[(0, 0), (100, 0)],
        channel_group="Channel",
        channels=["DAPI", "FITC"],
        z_start=0,
        z_end=4,
        z_step=0.5,
    )
    with (
        LiveRestore(config) as live,
        Acquisition(folder, "run", image_saved_fn=live.image_saved_fn) as acquisition,
    ):
        acquisition.acquire(live.expect(events))
    for outcome in live.outcomes:
        print(outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
