"""What the planes of a TIFF file are, as stacks: of one type, alike, and grey. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from live_restore.errors import StackRefusedError
from live_restore.formats.tiff.decode import COMPRESSIONS, dtype_name
from live_restore.formats.tiff.layout import Layout
from live_restore.formats.tiff.page import FollowingPages, Page, Structure
from live_restore.formats.tiff.palette import hue, is_of_greys
from live_restore.formats.tiff.tags import PALETTE, WHITE_IS_ZERO, Predictor
from live_restore.recording import ChannelMetadata
from live_restore.stack import DTYPES, FileStacks, Fingerprint


def described(
    path: Path,
    fingerprint: Fingerprint,
    layout: Layout,
    pages: Sequence[Page],
    structure: Structure,
    checked: int = 0,
) -> FileStacks:
    """Return what laid-out planes are, all of which are of one type, and alike within a position.

    Planes that are not there yet are taken to be like the others. The first ``checked`` are known
    to be alike already.

    Raises
    ------
    StackRefusedError
        They are not, or of a type or compression that is not restored.
    """
    positions, times, channels, depth = layout.planes.shape
    one_piece = isinstance(pages, FollowingPages)
    shapes = list(layout.shapes_zyx or [(depth, pages[0].height, pages[0].width)] * positions)
    used: list[Page] = []
    for position, table in enumerate(layout.planes):
        there = table[(table >= 0) & (table < len(pages))]
        if one_piece:
            there = there[:1]
        new = [pages[n] for n in (*there[:1].tolist(), *there[there >= max(1, checked)].tolist())]
        alike = {(page.height, page.width) for page in new}
        if len(alike) > 1:
            raise StackRefusedError("planes of different sizes", path, "save one image per file")
        if alike:
            shapes[position] = (shapes[position][0], *alike.pop())
        used += new
    used = used or [pages[0]]
    refuse_colour(used, structure.colour_table, path)
    dtype = checked_dtype(used, path)
    thumbnails = len(structure.pages) - len(structure.series_pages)
    metadata = layout.metadata
    if structure.colour_table and channels == 1 and not metadata.channels:
        metadata = replace(metadata, channels=(ChannelMetadata(rgba=hue(structure.colour_table)),))
    if used[0].photometric == WHITE_IS_ZERO:
        metadata = replace(metadata, photometric="miniswhite")
    return FileStacks(
        path,
        fingerprint,
        positions,
        times,
        channels,
        max(shapes, key=math.prod),
        dtype,
        layout.voxel,
        layout.axes,
        layout.channel_names,
        layout.position_names,
        layout.time_increment_s,
        layout.notes + ((f"{thumbnails} thumbnails left out",) if thumbnails else ()),
        shapes_zyx=tuple(shapes) if len(set(shapes)) > 1 else (),
        assumptions=layout.assumptions,
        metadata=metadata,
    )


def refuse_colour(pages: Sequence[Page], table: Sequence[int], path: Path) -> None:
    """Raise ``StackRefusedError`` for images in colour; a table may only colour grey values."""
    palette = any(page.photometric == PALETTE for page in pages) and not is_of_greys(table)
    if any(page.samples > 1 for page in pages) or palette:
        kind = "palette" if palette else "RGB"
        raise StackRefusedError(
            f"a colour image ({kind}, {pages[0].samples} samples per pixel)",
            path,
            "save the camera's grey values, one channel after the other"
            # What tifffile makes of three or four planes, unless told otherwise.
            + (
                ", or, if these are z planes, save them with photometric='minisblack'"
                if pages[0].samples in (3, 4)
                else ""
            ),
        )


def checked_dtype(pages: Sequence[Page], path: Path) -> np.dtype[np.generic]:
    """Return the type of the voxels, or refuse what cannot be restored."""
    kinds = sorted({dtype_name(page) for page in pages})
    if len(kinds) > 1:
        raise StackRefusedError(
            f"planes of different types ({', '.join(kinds)})", path, "save one image per file"
        )
    if kinds[0] not in DTYPES:
        raise StackRefusedError(
            f"{kinds[0]} voxels; only {', '.join(DTYPES)} are restored",
            path,
            "save as 16-bit unsigned or 32-bit float",
        )
    odd = sorted({page.compression for page in pages} - COMPRESSIONS)
    predictors = {page.predictor for page in pages}
    known = {Predictor.NONE, Predictor.HORIZONTAL}
    if kinds[0].startswith("float"):
        known.add(Predictor.FLOATING_POINT)
    if odd or not predictors <= known:
        raise StackRefusedError(
            f"compression {odd[0]}" if odd else f"predictor {max(predictors)}",
            path,
            "save uncompressed, or with deflate, LZW or zstd",
        )
    return np.dtype(kinds[0])
