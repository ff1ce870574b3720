"""Zeiss's CZI, read by ``czifile`` (its scenes are positions)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from live_restore.formats.vendor.protocol import Description, Refusal
from live_restore.formats.vendor.reader import (
    PlaneByPlane,
    VendorFile,
    regular_step,
    require_grey_stack,
)


def open_file(path: Path) -> VendorFile:
    """Open a file."""
    import czifile

    file = czifile.CziFile(path)
    scenes = [file.scenes[number] for number in file.scenes]
    if not scenes:
        raise Refusal("holds no image", "export it again")
    first = scenes[0]
    kept = [scene for scene in scenes if dict(scene.sizes) == dict(first.sizes)]
    sizes = dict(first.sizes)
    dtype = require_grey_stack(sizes, first.dtype)
    coords = first.coords
    left_out = len(scenes) - len(kept)
    x_um, y_um = first.mpp or (None, None)
    description = Description(
        len(kept),
        sizes.get("T", 1),
        sizes.get("C", 1),
        (sizes["Z"], sizes["Y"], sizes["X"]),
        dtype,
        (_um(first.coord_scales.get("Z"), first.coord_units.get("Z")), y_um, x_um),
        tuple(map(str, coords["C"])) if "C" in coords else (),
        time_increment_s=regular_step(coords["T"]) if "T" in coords else None,
        notes=(f"{left_out} scenes of other sizes left out",) if left_out else (),
    )
    starts = [dict(zip(scene.dims, scene.start, strict=True)) for scene in kept]

    def plane(position: int, time: int, channel: int, z: int) -> NDArray[Any]:
        # A selection is in the file's own numbers, which need not begin at 0.
        place = {"T": time, "C": channel, "Z": z}
        chosen = {a: n + starts[position][a] for a, n in place.items() if a in starts[position]}
        return np.asarray(kept[position](**chosen).asarray()).squeeze()

    return PlaneByPlane(description, plane)


def _um(scale: float | None, unit: str | None) -> float | None:
    if not scale:
        return None
    per_um = {"m": 1e6, "meter": 1e6, "nm": 1e-3, "nanometer": 1e-3}.get(unit or "", 1.0)
    return abs(float(scale)) * per_um
