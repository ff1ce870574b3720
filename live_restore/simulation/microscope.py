"""A microscope of its own process: writes a time-lapse plane by plane, one OME-TIFF per stack."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.simulation.scene import TIME_STEP_S, VOXEL_ZYX_UM, LivingCell


def _one_by_one(stack: NDArray[np.uint16], interval_s: float) -> Iterator[NDArray[np.uint16]]:
    for plane in stack:
        time.sleep(interval_s)
        yield plane


def record(folder: Path, cell: LivingCell, times: int, plane_interval_s: float) -> None:
    """Write ``times`` stacks ``cell_t000.ome.tif`` ... as a microscope does, plane after plane."""
    z_um, y_um, x_um = VOXEL_ZYX_UM
    for t in range(times):
        stack = cell.exposed(t)
        with tifffile.TiffWriter(folder / f"cell_t{t:03d}.ome.tif", ome=True) as tif:
            tif.write(
                _one_by_one(stack, plane_interval_s),
                shape=stack.shape,
                dtype=stack.dtype,
                photometric="minisblack",
                metadata={
                    "axes": "ZYX",
                    "PhysicalSizeZ": z_um,
                    "PhysicalSizeY": y_um,
                    "PhysicalSizeX": x_um,
                    "TimeIncrement": TIME_STEP_S,
                    "Channel": {"Name": ["microtubules"]},
                },
            )


if __name__ == "__main__":
    try:
        record(Path(sys.argv[1]), LivingCell(), int(sys.argv[2]), float(sys.argv[3]))
    except KeyboardInterrupt:  # of a terminal, which tells the demo and this process
        sys.exit(130)
