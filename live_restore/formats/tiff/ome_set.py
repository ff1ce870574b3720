"""One image over several OME-TIFFs: a file per plane, per channel or per time point.

Every file of the set repeats the OME-XML, or names a companion file that has it. The first file
that the XML names stands for the set: it is complete when all files are, and its name is the
result's. The others are parts of it.

What the XML names may be anything: only files of the same folder are opened, and no links.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackChangedError, StackUnreadableError
from live_restore.files.raw_data import names_in, new_volume, opened, read_at
from live_restore.formats.file_format import Arriving, Complete, PartOf
from live_restore.formats.tiff.blank import BLANK, look_for_data
from live_restore.formats.tiff.decode import DecodeError, read_plane
from live_restore.formats.tiff.described import described
from live_restore.formats.tiff.directory import MAX_TEXT_BYTES
from live_restore.formats.tiff.examine import SpreadError, chain_of, cut_off, damaged
from live_restore.formats.tiff.layout import Found, Layout, PlanesMissingError
from live_restore.formats.tiff.ome_layout import Chain, Selected, lay_out, select
from live_restore.formats.tiff.ome_xml import Document, is_ome, is_whole, parse
from live_restore.formats.tiff.page import Page, Structure
from live_restore.formats.tiff.reader import fingerprint_of, require_finite
from live_restore.formats.tiff.structure import walk
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume

MAX_FILES = 10_000
"""Of one set. Each arrival looks at the list of all once more."""
SUFFIXES = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
_COMPANION_SUFFIXES = (".ome", ".xml", *SUFFIXES)
_LONGEST_NAME = 255


@dataclass(frozen=True)
class _Member:
    """A file of the set, whose planes are whole."""

    path: Path
    fingerprint: Fingerprint
    structure: Structure


@dataclass(frozen=True)
class OmeSet:
    """All files of an image, whole: what ``Examined`` is of one file."""

    members: tuple[_Member, ...]
    layout: Layout
    pages: tuple[Page, ...]
    owners: tuple[int, ...]
    file_stacks: FileStacks

    def evidence(self) -> Complete:
        """Return what the planes show."""
        return Complete(self.file_stacks, declared=True, blank_planes=self.blank())

    def blank(self) -> tuple[int, ...]:
        """Return the planes that hold nothing but zeros, counted through all files."""
        found: list[int] = []
        first = 0
        for member in self.members:
            pages, states = member.structure.series_pages, bytearray()
            order, dtype = member.structure.byte_order, self.file_stacks.dtype
            with opened(member.path) as (stream, _):
                look_for_data(states, stream, pages, order, dtype, (), everything=True)
            found += [first + each for each, state in enumerate(states) if state == BLANK]
            first += len(pages)
        return tuple(found)

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack; see ``StackReader.read``."""
        file_stacks = self.file_stacks
        shape = file_stacks.shape_of(stack_index.position)
        volume = new_volume(shape, file_stacks.dtype, file_stacks.path)
        planes = enumerate(self.layout.planes[stack_index][: shape[0]].tolist())
        for owner, part in groupby(planes, key=lambda each: self.owners[each[1]]):
            member = self.members[owner]
            with _unchanged(member) as stream:
                for z, number in part:
                    try:
                        volume[z] = read_plane(
                            stream, self.pages[number], member.structure.byte_order, volume.dtype
                        )
                    except DecodeError as error:
                        raise damaged(
                            member.path, f"z {z} of {stack_index.label} is damaged: {error}"
                        ) from error
        require_finite(volume, stack_index, file_stacks.path)
        return volume


@contextmanager
def _unchanged(member: _Member) -> Iterator[BinaryIO]:
    """Open a file of the set, which has to be the one that was looked at until the block ends."""
    with opened(member.path, buffered=True) as (stream, _):
        yield stream
        if fingerprint_of(stream) != member.fingerprint:
            raise StackChangedError(
                "the file changed since it was found complete",
                member.path,
                "let it be written to its end first",
            )


def look(path: Path, fingerprint: Fingerprint, spread: SpreadError) -> OmeSet | Arriving | PartOf:
    """Look at the set that an open file is a part of.

    Parameters
    ----------
    path, fingerprint
        The file.
    spread
        What was found in it.

    Raises
    ------
    StackRefusedError
        No stack, or a name that leads elsewhere.
    StackUnreadableError
        The XML or a file is damaged, or they contradict each other.
    StackBusyError
        A file cannot be read just now.
    """
    found = Found(path, 0, 0, 0)
    folder = path.parent
    names = frozenset(names_in(folder)[0])
    document, others = spread.document, []
    if document.metadata_file:
        name = _plain_name(found, document.metadata_file, _COMPANION_SUFFIXES)
        if name not in names:
            return Arriving(f"{name}, which describes it, is not there yet", waits_for_others=True)
        companion = _companion(found, folder / name)
        if isinstance(companion, Arriving):
            return companion
        document, companion_fingerprint = companion
        others.append((folder / name, companion_fingerprint))
    selected = select(found, document)
    if len(selected.files) > MAX_FILES:
        raise found.contradiction(f"its OME-XML names {len(selected.files):,} files")
    files = [_plain_name(found, name, SUFFIXES) for name in selected.files]
    if files[0] != path.name:
        if files[0] in names:
            return PartOf(folder / files[0])
        return Arriving(
            f"a part of an image that begins in {files[0]}, which is not there yet",
            waits_for_others=True,
        )
    absent = [name for name in files if name not in names]
    if absent:
        return Arriving(
            f"{len(files) - len(absent)} of the {len(files)} files of its image are there "
            f"(not {absent[0]})",
            waits_for_others=True,
        )
    members = [_Member(path, fingerprint, spread.structure)]
    for name in files[1:]:
        member = _member(folder / name)
        if isinstance(member, Arriving):
            return member
        members.append(member)
    return _joined(found, selected, members, others)


def _joined(
    found: Found,
    selected: Selected,
    members: list[_Member],
    others: list[tuple[Path, Fingerprint]],
) -> OmeSet | Arriving:
    """Lay out the planes of all files as those of one."""
    pages: list[Page] = []
    owners: list[int] = []
    chains: dict[str, Chain] = {}
    for number, member in enumerate(members):
        chains[member.path.name] = chain_of(member.structure, len(pages))
        pages += member.structure.series_pages
        owners += [number] * (len(pages) - len(owners))
    if not pages:
        raise found.refused("only thumbnails, no image", "export the files again")
    first = members[0].structure
    found = replace(
        found,
        planes=len(pages),
        height=pages[0].height,
        width=pages[0].width,
        resolution=first.resolution,
        resolution_unit=first.resolution_unit,
    )
    try:
        layout = lay_out(found, selected, chains, pages)
    except PlanesMissingError as short:
        return Arriving(str(short), waits_for_others=True)
    note = f"an image over {len(members)} files"
    layout = replace(layout, notes=(*layout.notes, note))
    file_stacks = described(found.path, members[0].fingerprint, layout, pages, first)
    others = [*others, *((each.path, each.fingerprint) for each in members[1:])]
    file_stacks = replace(file_stacks, other_files=tuple(others))
    return OmeSet(tuple(members), layout, tuple(pages), tuple(owners), file_stacks)


def _member(path: Path) -> _Member | Arriving:
    """Return a further file of the set, or what it lacks."""
    try:
        with opened(path, buffered=True) as (stream, size):
            fingerprint = fingerprint_of(stream)
            structure = walk(stream, size, path)
    except StackChangedError:
        return Arriving(f"{path.name}, a part of its image, vanished", waits_for_others=True)
    if structure.missing:
        short = cut_off(structure.missing)
        return replace(short, reason=f"{path.name}: {short.reason}", waits_for_others=True)
    return _Member(path, fingerprint, structure)


def _companion(found: Found, path: Path) -> tuple[Document, Fingerprint] | Arriving:
    """Return what a companion file, or the OME-TIFF that has the XML of all, says or lacks."""
    try:
        with opened(path, buffered=True) as (stream, size):
            if path.name.lower().endswith(SUFFIXES):
                structure = walk(stream, size, path)
                texts = [each for each in structure.descriptions if is_ome(each)]
                text = "" if structure.missing or not texts else texts[0]
            elif size > MAX_TEXT_BYTES:
                raise StackUnreadableError(
                    f"larger than {MAX_TEXT_BYTES:,} bytes", path, "export it again"
                )
            else:
                text = read_at(stream, 0, size).decode(errors="replace").rstrip("\0 \r\n\t")
            fingerprint = fingerprint_of(stream)
    except StackChangedError:
        return Arriving(f"{path.name}, which describes it, vanished", waits_for_others=True)
    if not is_ome(text) or not is_whole(text):
        return Arriving(f"{path.name} has not been written whole yet", waits_for_others=True)
    document = parse(found, text)
    if document.metadata_file:
        raise found.contradiction(f"{path.name} names a companion file itself")
    return document, fingerprint


def _plain_name(found: Found, name: str, suffixes: tuple[str, ...]) -> str:
    """Return the name of a file beside this one; raises ``StackRefusedError`` for all others."""
    plain = (
        0 < len(name) <= _LONGEST_NAME
        and name.isprintable()
        and not set(name) & set("/\\:")
        and not name.startswith(".")
        and name.lower().endswith(suffixes)
    )
    if not plain:
        raise found.refused(
            f"its OME-XML names {name[:60]!r} as a part of it, which is no image beside it",
            "export the image again, all its files into one folder",
        )
    return name
