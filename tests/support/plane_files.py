"""One TIFF per plane, as programs name them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.stack import StackIndex

HEIGHT, WIDTH = 12, 16
DEPTH, TIMES, CHANNELS = 3, 2, 2

Name = Callable[[int, int, int, int], str]
"""Path within the run's folder of the plane at a position, time, channel and z, all from 0."""


def generic(position: int, time: int, channel: int, z: int) -> str:
    """Return a name as scripts choose them."""
    return f"cell_t{time:03}_c{channel}_z{z:03}.tif"


def las_x(position: int, time: int, channel: int, z: int) -> str:
    """Return a name of Leica's export."""
    return f"day 2_Series{position:03}_t{time:02}_z{z:02}_ch{channel:02}.tif"


def yokogawa(position: int, time: int, channel: int, z: int) -> str:
    """Return a name of a CellVoyager."""
    return f"plate_A01_T{time + 1:04}F{position + 1:03}L01A01Z{z + 1:02}C{channel + 1:02}.tif"


def bruker(position: int, time: int, channel: int, z: int) -> str:
    """Return a name of Prairie View."""
    return f"cell-001_Cycle{time + 1:05}_Ch{channel + 1}_{z + 1:06}.ome.tif"


def metaxpress(position: int, time: int, channel: int, z: int) -> str:
    """Return a path of MetaXpress's export of plates."""
    folder = f"TimePoint_{time + 1}/ZStep_{z + 1}"
    return f"{folder}/plate_A01_s{position + 1}_w{channel + 1}.TIF"


NAMINGS: Mapping[str, Name] = {
    "generic": generic,
    "las x": las_x,
    "yokogawa": yokogawa,
    "bruker": bruker,
    "metaxpress": metaxpress,
}


def truth(channels: int = CHANNELS) -> Mapping[StackIndex, NDArray[Any]]:
    """Return two times of each channel; no two planes are the same."""
    rng = np.random.default_rng(7)
    return {
        StackIndex(0, time, channel): rng.integers(1, 4000, (DEPTH, HEIGHT, WIDTH), dtype=np.uint16)
        for time in range(TIMES)
        for channel in range(channels)
    }


def write_plane(path: Path, plane: NDArray[Any]) -> None:
    """Write one plane as a file of its own."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tifffile.imwrite(path, plane, photometric="minisblack", metadata=None)


def grow(folder: Path, name: Name, channels: int = CHANNELS) -> Iterator[None]:
    """Write plane by plane, channel within z, as most programs record."""
    stacks = truth(channels)
    for time in range(TIMES):
        for z in range(DEPTH):
            for channel in range(channels):
                index = StackIndex(0, time, channel)
                write_plane(folder / name(0, time, channel, z), stacks[index][z])
                yield


def write_run(folder: Path, name: Name = generic) -> Path:
    """Write a whole run and return its folder."""
    for _ in grow(folder, name):
        pass
    return folder
