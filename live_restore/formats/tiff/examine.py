"""Finds out whether all planes of an open TIFF file are there, and what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from live_restore.errors import StackRefusedError, StackUnreadableError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.blank import BLANK, look_for_data, zero_tail, zeros_are_data
from live_restore.formats.tiff.decode import COMPRESSIONS, dtype_name
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
from live_restore.formats.tiff.planes import stacks_found
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
class Declared:
    """What a file that is not whole declared when it was last looked at, in these words."""

    texts: tuple[str, ...]
    planes: int
    layout: Layout

    def still(self, structure: Structure) -> bool:
        """Return whether a file declares the same, and has less: then nothing need be parsed."""
        there = len(structure.series_pages)
        return 1 < there < self.planes and self.texts == structure.descriptions


@dataclass(frozen=True)
class Examined:
    """An open file whose planes have their places; ``missing`` says what is not there yet.

    ``pages`` holds the planes that have begun, as the layout counts them; those in ``lacking`` are
    not all there.
    """

    structure: Structure
    layout: Layout
    pages: Sequence[Page]
    file_stacks: FileStacks
    missing: str = ""
    lacking: frozenset[int] = frozenset()
    damage: Mapping[int, StackUnreadableError] = field(default_factory=dict)
    declares: Declared | None = None

    def evidence(
        self, stream: BinaryIO, states: bytearray, *, everything: bool = True
    ) -> Arriving | Complete:
        """Return what the planes show; ``states`` as in ``blank.py``."""
        order, dtype = self.structure.byte_order, self.file_stacks.dtype
        absent = self.lacking | self.damage.keys()
        look_for_data(states, stream, self.pages, order, dtype, absent, everything=everything)
        blank = tuple(index for index, state in enumerate(states) if state == BLANK)
        tail = zero_tail(stream, self.pages, states, everything=everything)
        if not (self.missing or self.damage or blank):
            return Complete(self.file_stacks, self.declared, (), tail)
        zeros = (
            bool(blank) and everything
            and zeros_are_data(stream, self.pages, states, order, dtype)
        )  # fmt: skip
        # A file that was reserved as a whole is filled in place: its last plane may be half there.
        found = stacks_found(
            self.file_stacks,
            self.layout.planes,
            states,
            self.damage,
            last_is_open=tail or bool(blank),
            zeros_are_data=zeros,
        )
        if self.missing or self.damage:
            return Arriving(self.missing or str(self.damage[min(self.damage)].what), found)
        return Complete(self.file_stacks, self.declared, blank, tail, found)

    @property
    def declared(self) -> bool:
        """Whether the file says how many planes it has."""
        return self.layout.declared_planes is not None


class OwnOutputError(Exception):
    """The file was written by this program."""


def damaged(path: Path, what: str) -> StackUnreadableError:
    """Return the error for pixels that cannot be decoded."""
    return StackUnreadableError(what, path, "copy or export the file again")


def examine(
    structure: Structure,
    fingerprint: Fingerprint,
    path: Path,
    undeclared_axis: UndeclaredAxis,
    checked: int = 0,
    known: Declared | None = None,
) -> Examined | Arriving:
    """Return what the file holds, or which evidence is missing that would tell.

    Parameters
    ----------
    structure
        What the walk found.
    fingerprint, path
        Of the file.
    undeclared_axis
        What an axis is that nobody declared.
    checked
        So many of its pages are known to be such as can be restored.
    known
        What it declared at the last look.

    Raises
    ------
    OwnOutputError
        This program wrote it.
    StackRefusedError
        A 2-D image, RGB, an unsupported type or compression, undeclared axes.
    StackUnreadableError
        Not a TIFF, or damaged, and no stack of it can be whole.
    """
    if structure.software.startswith(OWN_SOFTWARE):
        raise OwnOutputError
    pages: Sequence[Page] = structure.series_pages
    if structure.missing and not (pages and _describes(structure)):
        return Arriving(structure.missing)
    if not pages:
        raise StackRefusedError("only thumbnails, no image", path, "export the file again")
    if any(is_ome(text) and not is_whole(text) for text in structure.descriptions):
        return Arriving("the OME-XML has not been written whole yet")
    first, wrong = pages[0], min(structure.damage, default=None)
    missing = structure.missing or ("" if wrong is None else structure.damage[wrong].what)
    try:
        dtype = _checked([first, *pages[max(1, checked) :]], path)
        layout, pages, short = _lay_out(structure, fingerprint.size, path, undeclared_axis, known)
    except PlanesMissingError as error:
        return Arriving(missing or str(error))
    except (StackRefusedError, StackUnreadableError):
        # What half a file says of itself proves nothing.
        if wrong is not None:
            raise structure.damage[wrong] from None
        if structure.missing:
            return Arriving(structure.missing)
        raise
    missing = missing or ("" if short is None else str(short))
    positions, times, channels, depth = layout.planes.shape
    if wrong is not None and positions * times * channels == 1:
        raise structure.damage[wrong]
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
    place = {index: place for place, index in enumerate(structure.series_indices)}
    if isinstance(pages, FollowingPages):  # whose one directory says nothing of each
        place = {}
    return Examined(
        structure,
        layout,
        pages,
        file_stacks,
        missing,
        frozenset(place[index] for index in structure.lacking if index in place),
        # Where the chain breaks off, the first plane that nothing leads to is the one.
        {place.get(index, len(pages)): damage for index, damage in structure.damage.items()},
        Declared(structure.descriptions, short.expected, layout) if short is not None else None,
    )


def _describes(structure: Structure) -> bool:
    """Return whether the description, which is there as a whole, may say what is to come."""
    texts = structure.descriptions
    return all(texts) and any(
        is_ome(text) or text.startswith("ImageJ=") or shape_of(text) for text in texts
    )


def _lay_out(
    structure: Structure,
    size: int,
    path: Path,
    undeclared_axis: UndeclaredAxis,
    known: Declared | None,
) -> tuple[Layout, Sequence[Page], PlanesMissingError | None]:
    """Lay out what is there; where planes are missing, what is declared, and say what is missing.

    Raises
    ------
    PlanesMissingError
        Planes are missing, and nothing says what belongs to which stack.
    """
    if known is not None and known.still(structure):
        pages = structure.series_pages
        return known.layout, pages, PlanesMissingError(len(pages), known.planes)
    try:
        return *_laid_out(structure, size, path, undeclared_axis), None
    except PlanesMissingError as error:
        first = short = error
    # What is declared may take more planes than the first count: thumbnails lie between them.
    for _ in range(2):
        try:
            found = _laid_out(structure, size, path, undeclared_axis, short.expected)
            return *found, first if first.expected == short.expected else short
        except PlanesMissingError as error:
            short = error
    raise first


def _laid_out(
    structure: Structure,
    size: int,
    path: Path,
    undeclared_axis: UndeclaredAxis,
    declared: int | None = None,
) -> tuple[Layout, Sequence[Page]]:
    """Read the description; planes without a directory of their own become pages too.

    ``declared``: take so many planes to be there, or to come.
    """
    pages: Sequence[Page] = structure.series_pages
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
        there if declared is None else declared,
        first.height,
        first.width,
        undeclared_axis,
        structure.resolution,
        structure.resolution_unit,
        partial=declared is not None,
    )
    of_pages = found if found.partial else replace(found, planes=len(pages))
    layout = ome(of_pages, described) if described else None
    if layout is None and stored:
        layout = imagej(found, stored)
    elif layout is None and shape:
        layout = shaped(found, shape, structure.later_descriptions)
    elif layout is None:
        _refuse_vendors(structure, path)
        layout = plain(found)
    if len(pages) == 1 and there > 1:
        return layout, FollowingPages(first, min(there, layout.planes.size))
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
