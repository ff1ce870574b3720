"""Finds out whether all planes of an open TIFF file are there, and what they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from live_restore.errors import StackRefusedError, StackUnreadableError
from live_restore.formats.file_format import Arriving
from live_restore.formats.tiff.blank import blank_planes, zero_tail
from live_restore.formats.tiff.decode import COMPRESSIONS, DecodeError, dtype_name
from live_restore.formats.tiff.layout import (
    Found,
    Layout,
    PlanesMissingError,
    UndeclaredAxis,
    imagej,
    plain,
    shape_of,
    shaped,
)
from live_restore.formats.tiff.ome_xml import is_ome, is_whole, ome
from live_restore.formats.tiff.page import MAX_FOLLOWING, FollowingPages, Page, Structure
from live_restore.formats.tiff.structure import walk
from live_restore.formats.tiff.tags import PALETTE, Predictor, Tag
from live_restore.stack import DTYPES, FileStacks, Fingerprint

OWN_SOFTWARE = "live-restore"
"""How the Software tag of every result begins; such files are never taken for input."""

_MAGIC = {483729: "NDTiff", 54773648: "Micro-Manager"}
"""At byte 8 (NDTiff format specification; index map of Micro-Manager's image stack files)."""

_VENDORS: dict[int, str] = {
    Tag.METAMORPH: "MetaMorph STK",
    Tag.FLUOVIEW: "Olympus FluoView",
    Tag.ZEISS_LSM: "Zeiss LSM",
}
"""Files whose plane order is only in their own metadata."""


@dataclass(frozen=True)
class Examined:
    """An open file whose planes are all there."""

    structure: Structure
    layout: Layout
    pages: Sequence[Page]
    file_stacks: FileStacks

    def zeros(self, stream: BinaryIO) -> tuple[tuple[int, ...], bool]:
        """Return the blank planes, and whether the last plane that is not has a zero tail.

        Raises
        ------
        StackUnreadableError
            A plane that was looked into is damaged.
        """
        try:
            blank = blank_planes(
                stream, self.pages, self.structure.byte_order, self.file_stacks.dtype
            )
            return blank, zero_tail(stream, self.pages, frozenset(blank))
        except DecodeError as error:
            raise damaged(self.file_stacks.path, str(error)) from error


class OwnOutputError(Exception):
    """The file was written by this program."""


def damaged(path: Path, what: str) -> StackUnreadableError:
    """Return the error for pixels that cannot be decoded."""
    return StackUnreadableError(what, path, "copy or export the file again")


def examine(
    stream: BinaryIO, fingerprint: Fingerprint, path: Path, undeclared_axis: UndeclaredAxis
) -> Examined | Arriving:
    """Return what the file holds, or which evidence of its being whole is missing.

    Raises
    ------
    OwnOutputError
        This program wrote it.
    StackRefusedError
        A 2-D image, RGB, an unsupported type or compression, undeclared axes.
    StackUnreadableError
        Not a TIFF, or damaged.
    """
    structure = walk(stream, fingerprint.size, path)
    if structure.software.startswith(OWN_SOFTWARE):
        raise OwnOutputError
    if structure.missing:
        return Arriving(structure.missing)
    pages: Sequence[Page] = structure.series_pages
    if not pages:
        raise StackRefusedError("only thumbnails, no image", path, "export the file again")
    if any(is_ome(text) and not is_whole(text) for text in structure.descriptions):
        return Arriving("the OME-XML has not been written whole yet")
    dtype = _checked(pages, path)
    try:
        layout, pages = _lay_out(structure, pages, fingerprint.size, path, undeclared_axis)
    except PlanesMissingError as short:
        return Arriving(str(short))
    first = pages[0]
    positions, times, channels, depth = layout.planes.shape
    thumbnails = len(structure.pages) - len(structure.series_pages)
    notes = layout.notes + ((f"{thumbnails} thumbnails left out",) if thumbnails else ())
    file_stacks = FileStacks(
        path,
        fingerprint,
        positions,
        times,
        channels,
        (depth, first.height, first.width),
        dtype,
        layout.voxel,
        layout.axes,
        layout.channel_names,
        layout.position_names,
        layout.time_increment_s,
        notes,
    )
    return Examined(structure, layout, pages, file_stacks)


def _lay_out(
    structure: Structure,
    pages: Sequence[Page],
    size: int,
    path: Path,
    undeclared_axis: UndeclaredAxis,
) -> tuple[Layout, Sequence[Page]]:
    """Read the description; planes without a directory of their own become pages too."""
    first = pages[0]
    there = len(pages)
    texts = structure.descriptions
    described = next((text for text in texts if is_ome(text)), "")
    stored = next((text for text in texts if text.startswith("ImageJ=")), "")
    shape = next((text for text in texts if shape_of(text)), "")
    if there == 1 and first.contiguous and (stored or shape):
        # ImageJ above 4 GB and tifffile write one directory and all planes behind it.
        there = max(1, (size - first.offsets[0]) // max(1, first.plane_bytes))
        if there > MAX_FOLLOWING:
            raise StackRefusedError(
                f"more than {MAX_FOLLOWING:,} planes in one piece", path, "split the file"
            )
    found = Found(
        path,
        there,
        first.height,
        first.width,
        undeclared_axis,
        structure.resolution,
        structure.resolution_unit,
    )
    layout = ome(replace(found, planes=len(pages)), described) if described else None
    if layout is None and stored:
        layout = imagej(found, stored)
    elif layout is None and shape:
        layout = shaped(found, shape, structure.later_descriptions)
    elif layout is None:
        _refuse_vendors(structure, path)
        layout = plain(found)
    if len(pages) == 1 and there > 1:
        return layout, FollowingPages(first, layout.planes.size)
    return layout, pages


def _checked(pages: Sequence[Page], path: Path) -> np.dtype[np.generic]:
    """Return the type of the voxels, or refuse what cannot be restored."""
    first = pages[0]
    if {(page.height, page.width) for page in pages} != {(first.height, first.width)}:
        raise StackRefusedError("planes of different sizes", path, "save one image per file")
    kinds = sorted({dtype_name(page) for page in pages})
    if len(kinds) > 1:
        raise StackRefusedError(
            f"planes of different types ({', '.join(kinds)})", path, "save one image per file"
        )
    if any(page.samples > 1 or page.photometric == PALETTE for page in pages):
        raise StackRefusedError(
            f"a colour image (RGB or palette, {first.samples} samples per pixel)",
            path,
            "save the camera's grey values, one channel after the other"
            # What tifffile makes of three or four planes, unless told otherwise.
            + (
                "; if these are z planes, save them with photometric='minisblack'"
                if first.samples in (3, 4)
                else ""
            ),
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


def _refuse_vendors(structure: Structure, path: Path) -> None:
    """Refuse files whose planes' order is written where this program does not read."""
    vendor = next((_VENDORS[tag] for tag in sorted(structure.vendor_tags) if tag in _VENDORS), "")
    order: Literal["little", "big"] = "little" if structure.byte_order == "<" else "big"
    folder = _MAGIC.get(int.from_bytes(structure.header[8:12], order), "")
    if folder:
        vendor = folder
    elif structure.software.startswith("SI.") or any(
        "scanimage.SI" in text for text in structure.descriptions
    ):
        vendor = "ScanImage"
    if vendor:
        raise StackRefusedError(
            f"{vendor} file: the order of its planes is not in its description",
            path,
            "watch the whole acquisition's folder" if folder else "save as OME-TIFF",
        )
