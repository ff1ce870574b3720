"""Leica's LIF, read by ``liffile``: its images of one size are positions."""

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
    import liffile

    file = liffile.LifFile(path)
    images: list[Any] = [image for image in file.images if not image.is_flim]
    blocks = [image.memory_block for image in images]
    end = max((block.offset + block.size for block in blocks), default=0)
    if end > path.stat().st_size:  # the package would find it out at the last stack
        raise ValueError(f"{path.stat().st_size:,} of {end:,} bytes are there")
    stacks = [image for image in images if image.sizes.get("Z", 1) > 1]
    if not stacks:
        raise Refusal("holds no z-stack; nothing to restore in 3-D", "acquire a z-stack")
    first = stacks[0]
    sizes = dict(first.sizes)
    kept = [image for image in stacks if (image.sizes, image.dtype) == (first.sizes, first.dtype)]
    tiles = sizes.pop("M", 1)
    dtype = require_grey_stack(sizes, first.dtype)
    names = [image.name if tiles == 1 else f"{image.name} {m + 1}"
             for image in kept for m in range(tiles)]  # fmt: skip
    others = [image.name for image in images if all(image is not each for each in kept)]
    steps = {axis: regular_step(first.coords.get(axis, ())) for axis in "TZYX"}
    description = Description(
        len(kept) * tiles,
        sizes.get("T", 1),
        sizes.get("C", 1),
        (sizes["Z"], sizes["Y"], sizes["X"]),
        dtype,
        # Coordinates are in metres.
        (_um(steps["Z"]), _um(steps["Y"]), _um(steps["X"])),
        position_names=tuple(names),
        time_increment_s=steps["T"],
        notes=(f"images of other sizes left out: {', '.join(others[:20])}",) if others else (),
    )

    def plane(position: int, time: int, channel: int, z: int) -> NDArray[Any]:
        place = {"T": time, "C": channel, "Z": z, "M": position % tiles}
        image = kept[position // tiles]
        chosen = {axis: n for axis, n in place.items() if axis in image.sizes}
        return np.asarray(image.frame(**chosen))

    return PlaneByPlane(description, plane)


def _um(metres: float | None) -> float | None:
    return metres * 1e6 if metres else None
