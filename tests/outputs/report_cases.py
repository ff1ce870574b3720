"""Raw files of every kind that a report tells apart, for ``known_reports.json``.

That file holds what version 5436a6b wrote of them, with the same fake network, for comparison: no
key, value or word of a report may change while it is called ``live-restore-report/1``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

SHAPE = (4, 24, 28)
ENVELOPE = {"snr": [20.0, 90.0]}
TRAINED = {"z": (0.15, 0.5), "xy": (0.06, 0.2)}
CAMERA = {"gain_adu_per_e": 2.0, "offset_adu": 100.0, "read_noise_e": 1.5}


@dataclass(frozen=True)
class Case:
    """A raw file, and what restores it."""

    image: np.ndarray
    axes: str = "ZYX"
    card: dict[str, Any] = field(default_factory=dict)
    network: Callable[[np.ndarray], np.ndarray] = lambda tile: tile
    settings: dict[str, Any] = field(default_factory=dict)
    skip: tuple[str, ...] = ()
    metadata: dict[str, Any] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        """Write the raw file."""
        metadata = {"axes": self.axes, **self.metadata}
        tifffile.imwrite(
            path, self.image, photometric="minisblack", ome=True, metadata=metadata,
            software="a microscope",
        )  # fmt: skip


def light(seed: int, shape: tuple[int, ...] = SHAPE, level: float = 300.0) -> np.ndarray:
    """Return noisy grey values: a few structures on a background of 100."""
    rng = np.random.default_rng(seed)
    scene = np.zeros(shape)
    scene[..., 8:12, 5:20] = level
    scene[..., 15:18, 10:25] = level / 2
    return (100 + 2 * rng.poisson(scene / 2 + 5)).astype(np.uint16)


def flat(tile: np.ndarray) -> np.ndarray:
    """Return the mean: all structure is taken away."""
    return np.full_like(tile, tile.mean())


def spotted() -> np.ndarray:
    image = light(3)
    image[2, 19:22, 2:5] = 9000  # of fewer voxels it would pass for a defect of the camera
    return image


def sparse() -> np.ndarray:
    image = np.full(SHAPE, 100, np.uint16)
    image[2, 12, 14] = 5000
    return image


def closed_shutter() -> np.ndarray:
    return np.stack([light(4), np.full(SHAPE, 7, np.uint16)])


VOXEL = {"PhysicalSizeZ": 1.0, "PhysicalSizeY": 0.1, "PhysicalSizeX": 0.1}
CASES: dict[str, Case] = {
    "in order": Case(light(1), metadata={**VOXEL, "PhysicalSizeZ": 0.3}, card={
        "envelope": {"snr": [0.5, 9000.0]}, "trained_voxel_um": TRAINED,
    }),
    "light, voxels and clipping": Case(light(2), metadata=VOXEL, network=lambda tile: tile - 1,
        card={"envelope": ENVELOPE, "trained_voxel_um": TRAINED}),
    "unknown voxels": Case(light(2), card={"trained_voxel_um": TRAINED}),
    "no envelope at all": Case(light(2), card={"envelope": {"snr": None}}),
    "bright spot": Case(spotted()),
    "sparse": Case(sparse()),
    "uint8": Case((light(5) // 4).astype(np.uint8)),
    "float32": Case(light(6).astype(np.float32)),
    "not rounded": Case(light(7), settings={"output": {"units": "camera-float"}}),
    "network units": Case(light(7), settings={"output": {"units": "network"}}),
    "sharpened": Case(light(8), card={"truth_psf_width": 0.5}),
    "given back": Case(light(9), network=flat, settings={"camera": CAMERA}),
    "times and a closed shutter": Case(closed_shutter(), "TZYX"),
    "a channel that is skipped": Case(
        np.stack([light(10), light(11)]), "CZYX", skip=("GFP",),
        metadata={"Channel": {"Name": ["DAPI", "GFP"]}},
    ),
    "two channels together": Case(
        np.stack([spotted(), light(12)]), "CZYX", network=flat, settings={"camera": CAMERA},
        card={"input_channels": 2, "output_channels": 2},
        metadata={"Channel": {"Name": ["DAPI", "GFP"]}},
    ),
}  # fmt: skip


def comparable(report: dict[str, Any]) -> dict[str, Any]:
    """Return a report without times, and without what other versions have otherwise."""
    found = dict(report)
    for key in ("software", "written", "settings_digest"):
        del found[key]
    found.pop("settings", None)  # came later
    found["source"] = {k: v for k, v in found["source"].items() if k not in ("size", "mtime_ns")}
    found["seconds"] = list(found["seconds"])
    found["stacks"] = [
        {
            key: list(value) if key == "seconds" else value
            for key, value in stack.items()
            if key not in ("brightness", "sharpness")  # came later
        }
        for stack in found["stacks"]
    ]
    return found
