"""OME-Zarr images in every layout, written file by file."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SHAPE = (2, 2, 3, 5, 6)
UNITS = {"t": "second", "z": "micrometer", "y": "nanometer", "x": "nanometer"}
KINDS = {"t": "time", "c": "channel"}
SCALE = {"t": 3.0, "c": 1.0, "z": 0.5, "y": 110.0, "x": 100.0}
TRUTH = np.random.default_rng(3).integers(1, 60_000, SHAPE).astype("u2")


def multiscales(axes: str = "tczyx", path: str = "0") -> list[dict[str, Any]]:
    listed: list[dict[str, Any]] = [{"name": a, "type": KINDS.get(a, "space")} for a in axes]
    for axis in listed:
        if axis["name"] in UNITS:
            axis["unit"] = UNITS[axis["name"]]
    scale = {"type": "scale", "scale": [SCALE.get(a, 1.0) for a in axes]}
    return [{"axes": listed, "datasets": [{"path": path, "coordinateTransformations": [scale]}]}]


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def v3_array(
    folder: Path,
    chunks: tuple[int, ...],
    codecs: list[dict[str, Any]] | None = None,
    separator: str = "/",
    shape: tuple[int, ...] = SHAPE,
    **changes: object,
) -> None:
    write_json(
        folder / "zarr.json",
        {
            "zarr_format": 3,
            "node_type": "array",
            "shape": shape,
            "data_type": "uint16",
            "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": chunks}},
            "chunk_key_encoding": {"name": "default", "configuration": {"separator": separator}},
            "codecs": codecs or [{"name": "bytes", "configuration": {"endian": "little"}}],
            "fill_value": 0,
            **changes,
        },
    )


def v3_group(folder: Path, **ome: object) -> None:
    attributes = {"ome": {"version": "0.5", **ome}}
    write_json(
        folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": attributes}
    )


Encode = Callable[[bytes], bytes]


def write_chunks(
    folder: Path,
    chunks: tuple[int, ...],
    encode: Encode = bytes,
    prefix: str = "c",
    separator: str = "/",
    dtype: str = "<u2",
    order: str = "C",
    image: NDArray[Any] = TRUTH,
    skip: tuple[tuple[int, ...], ...] = (),
) -> None:
    grid = [math.ceil(s / c) for s, c in zip(image.shape, chunks, strict=True)]
    for index in itertools.product(*map(range, grid)):
        if index in skip:
            continue
        part = np.zeros(chunks, dtype)
        inside = tuple(slice(n * c, (n + 1) * c) for n, c in zip(index, chunks, strict=True))
        piece = image[inside]
        part[tuple(slice(0, n) for n in piece.shape)] = piece
        key = separator.join([*([prefix] if prefix else []), *map(str, index)])
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(encode(part.tobytes(order=order)))  # type: ignore[arg-type]


PLANE = (1, 1, 1, 5, 6)


BYTES = {"name": "bytes", "configuration": {"endian": "little"}}
