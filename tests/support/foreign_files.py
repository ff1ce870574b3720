"""Files that people put beside those of an acquisition."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import tifffile


def projection(path: Path) -> None:
    """As Fiji saves a maximum projection."""
    tifffile.imwrite(path, np.ones((8, 8), np.uint16), imagej=True)


def z_stack(path: Path) -> None:
    tifffile.imwrite(
        path, np.ones((5, 8, 8), np.uint16), ome=True, photometric="minisblack",
        metadata={"axes": "ZYX"},
    )  # fmt: skip


def export(folder: Path) -> None:
    folder.mkdir()
    for z in range(3):
        projection(folder / f"z{z}.tif")


def foreign_files(name: str) -> dict[str, Callable[[Path], Any]]:
    """Return what people put into the folder of the run ``name``."""
    return {
        "MAX_run.tif": projection,
        "empty.tif": Path.touch,
        "notes.txt": lambda path: path.write_text("bleached after 5 min"),
        "exported": export,
        "other.ome.tif": z_stack,
        f"MAX_{name}_MMStack_Pos0.ome.tif": projection,
        f"MAX_{name}_NDTiffStack.tif": projection,
        f"{name}_MMStack_Pos0.ome - Copy.tif": z_stack,
        "img_channel000_position000_time000000000_z000 (1).tif": projection,
    }
