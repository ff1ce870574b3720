"""Restore a stack that is in memory, as in a notebook.

    python examples/restore_array.py [STACK.tif RESTORED.tif]

Without names it restores a simulated stack and says how much closer to the truth it came.
"""

from __future__ import annotations

import sys
import warnings

import numpy as np
import tifffile

import live_restore

VOXEL_UM = (0.3, 0.1, 0.1)  # (z, y, x): of your microscope


def main() -> None:
    # A stack unlike those that the model was tested on is restored all the same, and doubted.
    warnings.simplefilter("always", live_restore.DoubtfulWarning)
    if len(sys.argv) == 3:
        raw = tifffile.imread(sys.argv[1])  # (Z, Y, X), uint8, uint16 or float32
        tifffile.imwrite(sys.argv[2], live_restore.restore(raw, voxel_size=VOXEL_UM))
        return
    from live_restore.simulation.scene import LivingCell

    cell = LivingCell(shape_zyx=(16, 128, 128))
    raw = cell.exposed(0)
    restored = live_restore.restore(raw, voxel_size=VOXEL_UM, device="cpu")
    for name, stack in (("raw", raw), ("restored", restored)):
        error = np.sqrt(np.mean((stack.astype(float) - cell.truth_adu(0)) ** 2))
        print(f"{name:9s}{error:6.1f} grey values from the truth (rms)")


if __name__ == "__main__":
    main()
