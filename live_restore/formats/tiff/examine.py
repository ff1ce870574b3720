"""Finds out whether all planes of an open TIFF file are there, and what they are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from live_restore.errors import StackRefusedError, StackUnreadableError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.blank import BLANK, look_for_data, zero_tail, zeros_are_data
from live_restore.formats.tiff.described import described, refuse_colour
from live_restore.formats.tiff.directory import EMPTY
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
from live_restore.formats.tiff.planes import stacks_found
from live_restore.formats.tiff.scanimage import first_frame_of, scanimage, settings_of
from live_restore.formats.tiff.tags import Tag
from live_restore.stack import FileStacks, Fingerprint

_MOST_DECLARED = 1_000_000
"""Planes that are laid out before they are there: their places take 8 bytes each, and some time."""

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
        """Return whether a file declares the same, and has less: then nothing need be parsed.

        Where thumbnails lie between the planes, the place of a plane that is to come is a guess.
        """
        there = len(structure.series_pages)
        same = self.texts == structure.descriptions
        return same and 1 < there < self.planes and there == len(structure.pages)


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
            reason = self.missing or str(self.damage[min(self.damage)].what)
            return Arriving(reason, stacks=found, detail=self.structure.missing)
        return Complete(self.file_stacks, self.declared, blank, tail, found)

    def holds_all_stacks(self) -> bool:
        """Return whether what is missing belongs to no stack, as frames of the way back do not."""
        absent = self.lacking | self.damage.keys()
        for position, table in enumerate(self.layout.planes):
            used = table[..., : self.file_stacks.shape_of(position)[0]]
            if used.min() < 0 or used.max() >= len(self.pages) or np.isin(used, [*absent]).any():
                return False
        return True

    @property
    def declared(self) -> bool:
        """Whether the file says how many planes it has."""
        return self.layout.declared_planes is not None


CUT_OFF = (
    "the file ends before its last plane, as one that is still being written or was cut off when "
    "it was copied"
)


class OwnOutputError(Exception):
    """The file was written by this program."""


def cut_off(missing: str) -> Arriving:
    """Return in plain words what a file is that lacks bytes; ``missing`` says which."""
    return Arriving(missing if missing == EMPTY else CUT_OFF, detail=missing)


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
    structure: Structure,
    fingerprint: Fingerprint,
    path: Path,
    taken: Taken,
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
    taken
        What is taken for granted where it does not declare it.
    checked
        So many of its pages are known to be such as can be restored.
    known
        What it declared at the last look.

    Raises
    ------
    OwnOutputError
        This program wrote it.
    SpreadError
        It is a part of an image.
    StackRefusedError
        A 2-D image, RGB, an unsupported type or compression, undeclared axes.
    StackUnreadableError
        Not a TIFF, or damaged, and no stack of it can be whole.
    """
    if structure.software.startswith(OWN_SOFTWARE):
        raise OwnOutputError
    pages: Sequence[Page] = structure.series_pages
    if structure.missing and not (pages and _describes(structure)):
        return cut_off(structure.missing)
    if not pages:
        raise StackRefusedError("only thumbnails, no image", path, "export the file again")
    if any(is_ome(text) and not is_whole(text) for text in structure.descriptions):
        return Arriving("the OME-XML has not been written whole yet")
    wrong = min(structure.damage, default=None)
    missing = structure.missing and cut_off(structure.missing).reason
    missing = missing or ("" if wrong is None else structure.damage[wrong].what)
    try:
        layout, pages, short = _lay_out(structure, fingerprint.size, path, taken, checked, known)
        file_stacks = described(path, fingerprint, layout, pages, structure, checked)
    except PlanesMissingError as error:
        return Arriving(missing or str(error), detail=structure.missing)
    except (StackRefusedError, StackUnreadableError, SpreadError):
        # What half a file says of itself proves nothing.
        if wrong is not None:
            raise structure.damage[wrong] from None
        if structure.missing:
            return cut_off(structure.missing)
        raise
    missing = missing or ("" if short is None else str(short))
    if wrong is not None and file_stacks.stack_count == 1:
        raise structure.damage[wrong]
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
    return all(texts) and (
        any(is_ome(text) or text.startswith("ImageJ=") or shape_of(text) for text in texts)
        or bool(settings_of(structure.software, texts))
    )


def chain_of(structure: Structure, first: int = 0, planes: int = 0) -> Chain:
    """Return which directories of a file are planes; see ``Chain``.

    ``planes``: so many are taken to be there, or to come behind those that are.
    """
    there = len(structure.pages)
    missing = max(0, planes - len(structure.series_pages))
    if len(structure.series_pages) == there:
        return Chain(first, range(there + missing))
    series = structure.series_indices
    return Chain(first, [*series, *range(there, there + missing)])


def _lay_out(
    structure: Structure,
    size: int,
    path: Path,
    taken: Taken,
    checked: int,
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
        return *_laid_out(structure, size, path, taken, checked), None
    except PlanesMissingError as error:
        first = short = error
    # What is declared may take more planes than the first count: thumbnails lie between them.
    for _ in range(2):
        if short.expected > _MOST_DECLARED:
            break
        try:
            found = _laid_out(structure, size, path, taken, checked, short.expected)
            first.expected = short.expected  # what it says counts the planes alone
            return *found, first
        except PlanesMissingError as error:
            short = error
    raise first


def _laid_out(
    structure: Structure,
    size: int,
    path: Path,
    taken: Taken,
    checked: int,
    declared: int | None = None,
) -> tuple[Layout, Sequence[Page]]:
    """Read the description; planes without a directory of their own become pages too.

    ``declared``: take so many planes to be there, or to come.
    """
    pages: Sequence[Page] = structure.series_pages
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
        there if declared is None else declared,
        first.height,
        first.width,
        taken.undeclared_axis,
        taken.interleaved_channels,
        structure.resolution,
        structure.resolution_unit,
        partial=declared is not None,
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
        chains = {path.name: chain_of(structure, planes=found.planes)}
        return lay_out(found, selected, chains, pages), pages
    new = [first, *pages[max(1, checked) :]]
    refuse_colour(new, structure.colour_table, path)
    if len({(page.height, page.width) for page in new}) > 1:
        raise StackRefusedError("planes of different sizes", path, "save one image per file")
    if stored:
        layout = imagej(found, stored)
    elif shape:
        layout = shaped(found, shape, structure.later_descriptions)
    elif settings := settings_of(structure.software, texts):
        layout = scanimage(found, settings, first_frame_of(texts))
    else:
        _refuse_vendors(structure, path)
        layout = plain(found)
    if len(pages) == 1 and there > 1:
        return layout, FollowingPages(first, min(there, layout.planes.size))
    return layout, pages


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
