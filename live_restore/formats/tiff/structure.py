"""Walks the structure of a TIFF file: what is really there, not what the file claims.

Classic and BigTIFF, both byte orders, standard library only. A library that opens a truncated TIFF
usually returns one plane, or the full shape with zero planes, without an error; so completeness is
decided here, from the directories (IFDs) and the byte ranges they name.

Every number in the file is untrusted. The work is bounded by the file's real size: an honest
file's directories and planes do not overlap, so together they are no larger than the file.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import replace
from operator import add
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackUnreadableError
from live_restore.files.values import bearable_bytes
from live_restore.formats.tiff.directory import DirectoryReader, Entry, MissingError
from live_restore.formats.tiff.page import Page, Structure
from live_restore.formats.tiff.tags import (
    FIRST_PRIVATE_TAG,
    MAX_RATIO,
    OTHER_RATIO,
    PALETTE,
    RATIO_SLACK_BYTES,
    SEPARATE_PLANES,
    SUBFILE_TYPES,
    Compression,
    Predictor,
    ResolutionUnit,
    SampleFormat,
    Tag,
    is_reduced,
)

MAX_SOFTWARE = 65_536
"""Characters of the Software tag: ScanImage writes all its settings there, some 30,000."""
MAX_SEGMENTS = 8_000_000
"""Strips and tiles in one file: 16 bytes each in memory, 16 GB of data at 2 kB a strip."""

MAX_SAMPLES = 1024
"""Samples of one pixel; those of a camera have one, and colour is refused later by its name."""


class Walker(DirectoryReader):
    """A walk over one file, which may go on where it ended once the file has grown.

    ``at`` holds the offset of each page's directory; ``next_at`` is where the one after the last
    page is named. What is wrong with pages whose directories can be read is in ``faults``: a
    ``MissingError`` is what more bytes could mend.
    """

    def __init__(self, stream: BinaryIO, size: int, path: Path) -> None:
        super().__init__(stream, size, path)
        self.pages: list[Page] = []
        self.first: tuple[dict[int, Entry], list[Entry]] = ({}, [])
        self.later: dict[int, str] = {}
        self.at: dict[int, int] = {}
        self.next_at = 0
        self.faults: dict[int, MissingError | StackUnreadableError] = {}

    def chain(self, offset: int) -> None:
        """Follow the directories from the one at ``offset`` to the end of the chain."""
        while offset:
            index = len(self.pages)
            if offset in self.at:
                raise self.damaged(f"its directories form a loop after {index} planes")
            if offset < 8:
                raise self.damaged("a directory lies inside the header")
            counted = self.found.directory_bytes, self.found.segments
            try:
                page, following, next_at = self.look_at(offset, index)
            except MissingError:  # which will be read once more when the file has grown
                self.found.directory_bytes, self.found.segments = counted
                raise
            self.pages.append(page)
            self.at[offset], self.next_at, offset = index, next_at, following

    def look_at(self, offset: int, index: int) -> tuple[Page, int, int]:
        """Read a page's directory; return the page, the next directory and where that is named.

        That pixels are missing or impossible is a fault of this page alone: the others are found.
        """
        page, following, next_at = self.described(offset, index)
        self.faults.pop(index, None)
        try:
            self.require_there(page, index)
        except (MissingError, StackUnreadableError) as fault:
            self.faults[index] = fault
        return page, following, next_at

    def described(self, offset: int, index: int) -> tuple[Page, int, int]:
        """Return what :meth:`look_at` does, of which no pixel need be there."""
        tags, texts, following, next_at = self.directory(offset, index)
        page = self.page(tags, index)
        if index == 0:
            self.first = tags, texts
        elif texts and self.begins_with_brace(texts[0]):
            self.later[index] = self.text(texts[0])
        return page, following, next_at

    def following(self) -> int:
        """Return where the directory after the last page is now, 0 where there is none yet."""
        code = "Q" if self.big else "I"
        data = self.read(self.next_at, struct.calcsize("=" + code), "the chain of directories")
        return int(struct.unpack(self.order + code, data)[0])

    def page(self, tags: dict[int, Entry], index: int) -> Page:
        """Check one directory's segments against the file's real size."""
        plane = f"plane {index + 1}"
        width, height = self.number(tags, Tag.WIDTH, 0), self.number(tags, Tag.HEIGHT, 0)
        if not width or not height:
            raise MissingError(f"{plane} has no size yet")
        samples = self.number(tags, Tag.SAMPLES, 1)
        bits = self.numbers(tags, Tag.BITS, MAX_SAMPLES) or array("Q", [1])
        if not all(bits):
            raise MissingError(f"{plane} has no sample size yet")
        if not 0 < samples <= MAX_SAMPLES or len(set(bits)) > 1 or not 0 < bits[0] <= 128:
            raise self.damaged(f"{plane} has {samples} samples of {list(bits[:4])} bits")
        tiled = Tag.TILE_WIDTH in tags
        if tiled:
            across = self.number(tags, Tag.TILE_WIDTH, 0)
            down = self.number(tags, Tag.TILE_HEIGHT, 0)
        else:
            across, down = width, min(self.number(tags, Tag.STRIP_ROWS, height), height)
        if not across or not down:
            raise self.damaged(f"{plane} has strips or tiles without a size")
        separate = samples if self.number(tags, Tag.PLANAR, 1) == SEPARATE_PLANES else 1
        expected = -(-width // across) * -(-height // down) * separate
        self.found.segments += expected
        if self.found.segments > min(MAX_SEGMENTS, self.size):
            raise self.damaged(f"{plane} claims {expected} strips or tiles")
        # Some writers describe tiles by the tags of strips.
        tile_offsets = tiled and Tag.TILE_OFFSETS in tags
        tile_bytes = tiled and Tag.TILE_BYTES in tags
        offsets = self.numbers(
            tags, Tag.TILE_OFFSETS if tile_offsets else Tag.STRIP_OFFSETS, expected
        )
        counts = self.numbers(tags, Tag.TILE_BYTES if tile_bytes else Tag.STRIP_BYTES, expected)
        page = Page(
            width, height, bits[0], samples,
            sample_format=self.number(tags, Tag.SAMPLE_FORMAT, SampleFormat.UNSIGNED),
            compression=self.number(tags, Tag.COMPRESSION, Compression.NONE),
            predictor=self.number(tags, Tag.PREDICTOR, Predictor.NONE),
            fill_order=self.number(tags, Tag.FILL_ORDER, 1),
            photometric=self.number(tags, Tag.PHOTOMETRIC, 1),
            segment_width=across,
            segment_height=down,
            tiled=tiled,
            offsets=offsets,
            counts=counts,
            reduced=is_reduced(*(self.number(tags, t, 0) for t in SUBFILE_TYPES)),
        )  # fmt: skip
        if not counts and expected == 1 and page.compression == Compression.NONE:
            # Old writers leave the byte counts out where there is only one answer.
            if page.plane_bytes > self.size:
                raise self.damaged(f"{plane} claims {width} x {height} pixels")
            page.counts.append(page.plane_bytes)
        if len(page.offsets) < expected or len(page.counts) < expected:
            raise self.damaged(f"{plane} names {len(offsets)} of its {expected} strips or tiles")
        return page

    def require_there(self, page: Page, index: int) -> None:
        """Check that a page's bytes are in the file and can hold what the page claims."""
        plane = f"plane {index + 1}"
        if not all(page.offsets) or not all(page.counts):
            raise MissingError(f"{plane} has parts that have not been written yet")
        if max(map(add, page.offsets, page.counts)) > self.size:
            raise MissingError(f"the pixels of {plane} are not all there yet")
        if page.compression == Compression.NONE and any(
            have < need for have, need in zip(page.counts, page.segment_bytes(), strict=True)
        ):
            raise self.damaged(f"{plane} has fewer bytes than its size needs")
        ratio = MAX_RATIO.get(page.compression, OTHER_RATIO)
        # Tiles are decoded whole, however far they hang over the plane's edges.
        decoded = max(page.plane_bytes, sum(page.segment_bytes()) if page.tiled else 0)
        if decoded > ratio * page.stored_bytes + RATIO_SLACK_BYTES * (ratio > 1):
            raise self.damaged(
                f"{plane} claims {page.width} x {page.height} pixels in {page.stored_bytes} bytes"
            )
        self.found.best_ratio = max(ratio, self.found.best_ratio)
        self.found.decoded_bytes += decoded
        if self.found.decoded_bytes > self.found.best_ratio * self.size + RATIO_SLACK_BYTES:
            raise self.damaged("its planes overlap")
        if self.found.decoded_bytes > bearable_bytes(self.size):
            raise self.damaged(
                f"{self.size} bytes claim to hold images of {self.found.decoded_bytes} bytes"
            )

    def result(self, missing: str, header: bytes) -> Structure:
        """Gather what the first directory says about the file."""
        tags, first_texts = self.first
        across = self.rational(tags, Tag.X_RESOLUTION)
        along = self.rational(tags, Tag.Y_RESOLUTION)
        software = tags.get(Tag.SOFTWARE)
        texts = [self.text(tag) for tag in first_texts]
        # Micro-Manager reserves a description of 0 bytes, tifffile one of 4, both filled in at
        # the very end; a lone NUL is an empty text.
        reserved = any(
            tag.count != 1 and not text for tag, text in zip(first_texts, texts, strict=True)
        )
        if not missing and reserved:
            missing = "the description has not been written yet"
        coloured = bool(self.pages) and self.pages[0].photometric == PALETTE
        return replace(
            self.without_texts(missing, header),
            descriptions=tuple(texts),
            software=(
                self.text(replace(software, count=min(software.count, MAX_SOFTWARE)))
                if software
                else ""
            ),
            resolution=(along, across) if across and along else None,
            resolution_unit=self.number(tags, Tag.RESOLUTION_UNIT, ResolutionUnit.INCH),
            vendor_tags=frozenset(code for code in tags if code >= FIRST_PRIVATE_TAG),
            colour_table=(tuple(self.numbers(tags, Tag.COLOUR_TABLE, 3 << 16)) if coloured else ()),
        )

    def without_texts(self, missing: str, header: bytes) -> Structure:
        """Gather what the directories say of their planes."""
        kinds = self.faults.items()
        return Structure(
            self.order,
            tuple(self.pages),
            missing,
            later_descriptions=self.later,
            header=header,
            lacking=frozenset(index for index, fault in kinds if isinstance(fault, MissingError)),
            damage={n: fault for n, fault in kinds if isinstance(fault, StackUnreadableError)},
        )


def walk(stream: BinaryIO, size: int, path: Path) -> Structure:
    """Walk a TIFF file that is open for reading.

    Parameters
    ----------
    stream
        The file, binary, seekable.
    size
        Its real size in bytes.
    path
        Its name, for messages.

    Raises
    ------
    StackUnreadableError
        Not a TIFF, or damaged such that more bytes could not mend it.
    """
    structure = go_on(Walker(stream, size, path))
    if structure.damage:
        raise structure.damage[min(structure.damage)]
    return structure


def go_on(walker: Walker) -> Structure:
    """Walk on from where a walk has ended, or begin; return all that has been found.

    What is damaged behind the first directory costs the planes that it is about, and those that
    nothing leads to any more.

    Raises
    ------
    StackUnreadableError
        Not a TIFF, or its first directory is damaged.
    """
    stream = walker.stream
    stream.seek(0)
    header = stream.read(min(walker.size, 64))
    missing = ""
    try:
        walker.chain(walker.following() if walker.pages else walker.first_directory(header[:16]))
    except MissingError as error:
        missing = str(error)
    except StackUnreadableError as error:
        if not walker.pages:
            raise
        walker.faults[len(walker.pages)] = error
    lacking = [n for n, fault in walker.faults.items() if isinstance(fault, MissingError)]
    if lacking:
        missing = str(walker.faults[min(lacking)])
    try:
        return walker.result(missing, header)
    except MissingError as error:
        return walker.without_texts(missing or str(error), header)
