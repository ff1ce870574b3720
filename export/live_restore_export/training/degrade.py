"""Low-light twins of clean stacks as files: what ``live-restore-export degrade`` writes."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError, UsageError
from live_restore.files.naming import bare_name
from live_restore.files.publish import publish_text, publishing
from live_restore.simulation.camera import Camera
from live_restore.simulation.quality import psnr
from live_restore.stack import FileStacks
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.stacks import (
    file_stacks_in,
    file_stacks_of,
    read_stack,
    stacks_of,
)
from live_restore_export.training.twin import (
    BLACK_PERCENT,
    WHITE_PERCENT,
    Light,
    describe,
    draw_camera,
    draw_light,
    expose,
    noiseless,
    signal_of,
)


@dataclass(frozen=True)
class Twin:
    """What was written for one clean file: the noisy file, its report, and the light level."""

    clean: Path
    image: Path
    report: Path
    light: Light
    psnr_db: float


def write_twins(
    clean: Path, output: Path, config: SimulationConfig, *, seed: int
) -> Iterator[Twin]:
    """Write ``output/NAME.ome.tif`` and ``output/NAME.json`` for every clean file, one by one.

    All stacks of a file share one camera and one light level, drawn from ``seed`` and the file's
    name: other files in the folder change nothing.

    Parameters
    ----------
    clean
        A TIFF file, or a folder of them.
    output
        The folder to write to; created.
    config
        The ranges that camera and light level are drawn from.

    Raises
    ------
    UsageError
        The output folder is that of the clean files, or holds a file of that name already.
    StackError
        A file that is no clean stack.
    OutputError
        The disk refused.
    """
    if output.resolve() == (clean if clean.is_dir() else clean.parent).resolve():
        raise UsageError("is where the clean stacks are", output, "write to another folder with -o")
    files = file_stacks_in(clean) if clean.is_dir() else [file_stacks_of(clean)]
    images = [output / f"{bare_name(file_stacks.path)}.ome.tif" for file_stacks in files]
    for image, file_stacks in zip(images, files, strict=True):
        if image.exists() or images.count(image) > 1:
            raise UsageError(
                f"is taken: no second twin of {file_stacks.path.name} is written over it",
                image,
                "choose another folder with -o, or rename the clean file",
            )
        if file_stacks.positions > 1:
            raise StackRefusedError(
                f"holds {file_stacks.positions} positions",
                file_stacks.path,
                "save one file per position",
            )
    for image, file_stacks in zip(images, files, strict=True):
        yield _write_twin(file_stacks, image, config, seed)


def _write_twin(file_stacks: FileStacks, image: Path, config: SimulationConfig, seed: int) -> Twin:
    clean = _read(file_stacks)
    rng = np.random.default_rng((seed, zlib.crc32(bare_name(file_stacks.path).encode())))
    light = draw_light(config, rng)
    camera = draw_camera(config, file_stacks.shape_zyx, rng)
    twin = np.empty(clean.shape, np.uint16)
    decibels = []
    for channel in range(file_stacks.channels):
        # One scale for all times: what bleaches in the clean file bleaches in its twin.
        signal = signal_of(clean[:, channel])
        for time in range(file_stacks.times):
            _expose_planes(signal[time], light, camera, rng, twin[time, channel])
            decibels.append(psnr(twin[time, channel], noiseless(signal[time], light, camera)))
    with publishing(image) as temporary:
        _write_ome(temporary, twin, file_stacks)
    report = image.with_name(f"{bare_name(file_stacks.path)}.json")
    facts = {
        "clean_file": file_stacks.path.name,
        "seed": seed,
        **asdict(light),
        "camera": describe(camera),
        "clean_percentiles_of_black_and_peak": [BLACK_PERCENT, WHITE_PERCENT],
        "saturated_voxels": int(np.count_nonzero(twin >= camera.full_scale_adu)),
        "psnr_db": float(np.mean(decibels)),
    }
    publish_text(report, json.dumps(facts, indent=2) + "\n")
    return Twin(file_stacks.path, image, report, light, facts["psnr_db"])


def _read(file_stacks: FileStacks) -> NDArray[np.generic]:
    """Return all stacks of a file of one position, (T, C, Z, Y, X), native dtype."""
    volumes = [
        read_stack(ref, (BLACK_PERCENT, WHITE_PERCENT))
        for ref in sorted(
            stacks_of([file_stacks]), key=lambda ref: (ref.index.time, ref.index.channel)
        )
    ]
    return np.stack(volumes).reshape(
        file_stacks.times, file_stacks.channels, *file_stacks.shape_zyx
    )


def _expose_planes(
    signal: NDArray[np.float32],
    light: Light,
    camera: Camera,
    rng: np.random.Generator,
    into: NDArray[np.uint16],
) -> None:
    """Expose plane by plane: counts of photo-electrons take eight bytes per voxel."""
    for plane, target in zip(signal, into, strict=True):
        target[...] = expose(plane[np.newaxis], light, camera, rng)[0]


def _write_ome(path: Path, twin: NDArray[np.uint16], file_stacks: FileStacks) -> None:
    metadata: dict[str, Any] = {"axes": "TCZYX"}
    voxel = file_stacks.voxel
    for axis, size in zip("ZYX", (voxel.z_um, voxel.y_um, voxel.x_um), strict=True):
        if size is not None:
            metadata |= {f"PhysicalSize{axis}": size, f"PhysicalSize{axis}Unit": "µm"}
    if file_stacks.channel_names:
        metadata["Channel"] = {"Name": list(file_stacks.channel_names)}
    tifffile.imwrite(path, twin, ome=True, photometric="minisblack", metadata=metadata)
