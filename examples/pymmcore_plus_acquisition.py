"""A pymmcore-plus acquisition, saved as OME-Zarr, whose stacks are restored while it runs.

    python examples/pymmcore_plus_acquisition.py D:\\data\\run.ome.zarr

It runs without a microscope: the camera is Micro-Manager's DemoCamera, from
``pip install 'live-restore[micromanager]'``. For your own, load your own configuration.
"""

import sys

import useq
from mm_test_adapters import device_adapter_path
from pymmcore_plus import CMMCorePlus

from live_restore import LiveRestore


def main(output: str, config: str | None = None) -> None:
    """Record 2 positions, 3 time points, 2 channels and 9 planes into ``output``."""
    adapters = device_adapter_path()
    core = CMMCorePlus(adapter_paths=[adapters])
    core.loadSystemConfiguration(f"{adapters}/MMConfig_demo.cfg")
    sequence = useq.MDASequence(
        axis_order="tpcz",
        time_plan={"interval": 0, "loops": 3},
        stage_positions=[(0, 0), (100, 0)],
        channels=["DAPI", "FITC"],
        z_plan={"range": 4, "step": 0.5},
    )
    with LiveRestore(config) as live:
        live.follow(core, output)
        core.run_mda(sequence, output=output).join()
    for outcome in live.outcomes:
        print(outcome)


if __name__ == "__main__":
    main(*sys.argv[1:])
