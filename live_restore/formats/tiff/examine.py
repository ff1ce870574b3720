"""Finds out whether all planes of an open TIFF file are there, and what they are."""

from __future__ import annotations

import math
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
    declares_axes,
    imagej,
    plain,
    shape_of,
    shaped,
)
from live_restore.formats.tiff.ome_layout import Chain, lay_out, select
from live_restore.formats.tiff.ome_xml import Document, is_ome, is_whole, parse
from live_restore.formats.tiff.page import MAX_FOLLOWING, FollowingPages, Page, Structure
from live_restore.formats.tiff.palette import hue, is_of_greys
from live_restore.formats.tiff.structure import walk
from live_restore.formats.tiff.tags import PALETTE, WHITE_IS_ZERO, Predictor, Tag
from live_restore.recording import ChannelMetadata
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


class SpreadError(Exception):
    """The image of an open file lies in other files too; see ``ome_set.py``."""

    def __init__(self, structure: Structure, document: Document) -> None:
        super().__init__()
        self.structure = structure
        self.document = document


@dataclass(frozen=True)
class Taken:
    """What is taken for granted where a file does not declare it: ``[files]`` of the settings."""

    undeclared_axis: UndeclaredAxis = "auto"
    interleaved_channels: int = 1


def examine(
    stream: BinaryIO, fingerprint: Fingerprint, path: Path, taken: Taken
) -> Examined | Arriving:
    """Return what the file holds, or which evidence of its being whole is missing.

    Raises
    ------
    OwnOutputError
        This program wrote it.
    SpreadError
        It is a part of an image.
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
    try:
        layout, pages = _lay_out(structure, pages, fingerprint.size, path, taken)
    except PlanesMissingError as short:
        return Arriving(str(short))
    file_stacks = described(path, fingerprint, layout, pages, structure)
    return Examined(structure, layout, pages, file_stacks)


def described(
    path: Path,
    fingerprint: Fingerprint,
    layout: Layout,
    pages: Sequence[Page],
    structure: Structure,
) -> FileStacks:
    """Return what laid-out planes are, all of which are of one type, and alike within a position.

    Raises
    ------
    StackRefusedError
        They are not, or of a type or compression that is not restored.
    """
    positions, times, channels, _ = layout.planes.shape
    tables = [table[table >= 0] for table in layout.planes]
    one_piece = isinstance(pages, FollowingPages)
    shapes = []
    for table in tables:
        alike = {(pages[n].height, pages[n].width) for n in (table[:1] if one_piece else table)}
        if len(alike) > 1:
            raise StackRefusedError("planes of different sizes", path, "save one image per file")
        shapes.append((table.size // (times * channels), *alike.pop()))
    used = pages[:1] if one_piece else [pages[n] for table in tables for n in table]
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


def chain_of(structure: Structure, first: int = 0) -> Chain:
    """Return which directories of a file are planes; see ``Chain``."""
    if len(structure.series_pages) == len(structure.pages):
        return Chain(first, range(len(structure.pages)))
    return Chain(first, [n for n, page in enumerate(structure.pages) if not page.reduced])


def _lay_out(
    structure: Structure,
    pages: Sequence[Page],
    size: int,
    path: Path,
    taken: Taken,
) -> tuple[Layout, Sequence[Page]]:
    """Read the description; planes without a directory of their own become pages too."""
    first = pages[0]
    there = len(pages)
    texts = structure.descriptions
    ome = next((text for text in texts if is_ome(text)), "")
    stored = next((text for text in texts if text.startswith("ImageJ=")), "")
    shape = next((text for text in texts if shape_of(text)), "")
    if there == 1 and first.contiguous and not ome and (stored or shape):
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
        taken.undeclared_axis,
        taken.interleaved_channels,
        structure.resolution,
        structure.resolution_unit,
    )
    if ome:
        # Whatever it says, nothing else is asked: what is declared elsewhere is not undeclared.
        document = parse(found, ome)
        if all(page.samples > 1 for page in pages):  # there may be an overview in colour
            refuse_colour(pages, (), path)
        if not document.described and declares_axes(stored):
            return imagej(found, stored), pages  # Micro-Manager's further files say it twice
        selected = None if document.metadata_file else select(found, document)
        if selected is None or len(selected.files) > 1:
            raise SpreadError(structure, document)
        return lay_out(found, selected, {path.name: chain_of(structure)}, pages), pages
    refuse_colour(pages, structure.colour_table, path)
    if len({(page.height, page.width) for page in pages}) > 1:
        raise StackRefusedError("planes of different sizes", path, "save one image per file")
    if stored:
        layout = imagej(found, stored)
    elif shape:
        layout = shaped(found, shape, structure.later_descriptions)
    else:
        _refuse_vendors(structure, path)
        layout = plain(found)
    if len(pages) == 1 and there > 1:
        return layout, FollowingPages(first, layout.planes.size)
    return layout, pages


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
                "; if these are z planes, save them with photometric='minisblack'"
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
