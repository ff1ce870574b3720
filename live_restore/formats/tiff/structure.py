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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import repeat
from operator import add
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackUnreadableError
from live_restore.files.values import bearable_bytes
from live_restore.formats.tiff.page import Page, Structure
from live_restore.formats.tiff.tags import (
    FIRST_PRIVATE_TAG,
    MAX_RATIO,
    OTHER_RATIO,
    PALETTE,
    RATIO_SLACK_BYTES,
    RATIONAL,
    SEPARATE_PLANES,
    SUBFILE_TYPES,
    ByteOrder,
    Compression,
    Predictor,
    ResolutionUnit,
    SampleFormat,
    Tag,
    byte_order_of,
    is_reduced,
)

MAX_DIRECTORY_ENTRIES = 4096
"""Entries in one directory; vendors' files hold up to about a hundred."""

MAX_SEGMENTS = 8_000_000
"""Strips and tiles in one file: 16 bytes each in memory, 16 GB of data at 2 kB a strip."""

MAX_TEXT_BYTES = 32 * 2**20
"""Of all descriptions. OME-XML takes about 250 bytes a plane: this is 100,000 planes."""

MAX_SAMPLES = 1024
"""Samples of one pixel; those of a camera have one, and colour is refused later by its name."""

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(frozen=True)
class _Entry:
    """What a directory says of one tag: type and number of its values, and where they lie."""

    type: int
    count: int
    at: int


class _MissingError(Exception):
    """More bytes could mend it."""


@dataclass
class _Found:
    """What has been named so far, in all: the walk ends where it is more than the file can hold."""

    text_bytes: int = 0
    directory_bytes: int = 0
    segments: int = 0
    decoded_bytes: int = 0
    best_ratio: int = 1


class _Walker:
    """One walk over one open file."""

    def __init__(self, stream: BinaryIO, size: int, path: Path) -> None:
        self.stream, self.size, self.path = stream, size, path
        self.order: ByteOrder = "<"
        self.big = False
        self.pages: list[Page] = []
        self.first_tags: dict[int, _Entry] = {}
        self.first_texts: list[_Entry] = []
        self.later: dict[int, str] = {}
        self.found = _Found()

    def damaged(self, what: str) -> StackUnreadableError:
        return StackUnreadableError(
            f"damaged TIFF: {what}", self.path, "copy or export the file again"
        )

    def read(self, at: int, count: int, what: str) -> bytes:
        if at + count > self.size:
            raise _MissingError(f"{what} lies beyond the end of the file ({self.size} bytes)")
        self.stream.seek(at)
        data = self.stream.read(count)
        if len(data) < count:
            raise _MissingError(f"{what} could not be read whole; the file got shorter")
        return data

    def first_directory(self, head: bytes) -> int:
        """Set byte order and flavour from the header; return the first directory's offset."""
        if not head:
            raise _MissingError("the file is empty")
        if not any(head):
            # Copies onto network shares reserve the whole file first and fill it later.
            raise _MissingError("the header has not been written yet")
        magic = head[:4]
        if magic not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            if len(magic) < 4:
                raise _MissingError("the header is not complete yet")
            raise StackUnreadableError(
                "not a TIFF file", self.path, "check the name and the program that wrote it"
            )
        self.order = byte_order_of(magic)
        self.big = b"+" in magic
        needed = 16 if self.big else 8
        if len(head) < needed:
            raise _MissingError("the header is not complete yet")
        if self.big:
            width, zero, first = struct.unpack(self.order + "HHQ", head[4:16])
            if (width, zero) != (8, 0):
                raise self.damaged("its BigTIFF header is wrong")
        else:
            (first,) = struct.unpack(self.order + "I", head[4:8])
        if first == 0:
            raise _MissingError("the first directory has not been written yet")
        return int(first)

    def chain(self, first: int) -> None:
        """Follow the directories to the end of the chain."""
        seen: set[int] = set()
        offset = first
        while offset:
            index = len(self.pages)
            if offset in seen:
                raise self.damaged(f"its directories form a loop after {index} planes")
            if offset < 8:
                raise self.damaged("a directory lies inside the header")
            seen.add(offset)
            tags, texts, offset = self.directory(offset, index)
            page = self.page(tags, index)
            if index == 0:
                self.first_tags, self.first_texts = tags, texts
            elif texts and self.begins_with_brace(texts[0]):
                self.later[index] = self.text(texts[0])
            self.require_there(page, index)
            self.pages.append(page)

    def directory(self, at: int, index: int) -> tuple[dict[int, _Entry], list[_Entry], int]:
        """Read one directory: its tags, its descriptions, and where the next one is."""
        what = f"directory {index + 1}"
        count_code, entry, inline, pointer = ("Q", 20, 8, "Q") if self.big else ("H", 12, 4, "I")
        head = struct.calcsize("=" + count_code)
        (count,) = struct.unpack(self.order + count_code, self.read(at, head, what))
        if count == 0:
            raise _MissingError(f"{what} has not been written yet")
        if count > MAX_DIRECTORY_ENTRIES:
            raise self.damaged(f"{what} claims {count} entries")
        length = count * entry + struct.calcsize("=" + pointer)
        block = self.read(at + head, length, what)
        self.found.directory_bytes += length
        if self.found.directory_bytes > self.size:
            raise self.damaged("its directories overlap")
        tags: dict[int, _Entry] = {}
        texts: list[_Entry] = []
        entries = struct.iter_unpack(self.order + "HH" + pointer * 2, block[: count * entry])
        for number, (code, kind, items, value) in enumerate(entries):
            if kind == 0:
                raise _MissingError(f"{what} has not been written whole yet")
            each = _TYPE_BYTES.get(kind)
            if each is None:
                continue
            values_at = at + head + number * entry + (entry - inline)
            if items * each > inline:
                values_at = value
                if values_at == 0 or values_at + items * each > self.size:
                    raise _MissingError(f"the value of tag {code} in {what} is not there yet")
            tag = _Entry(kind, items, values_at)
            if code == Tag.DESCRIPTION:
                texts.append(tag)
            tags.setdefault(code, tag)
        (following,) = struct.unpack(self.order + pointer, block[count * entry :])
        return tags, texts, int(following)

    def numbers(self, tags: dict[int, _Entry], code: int, wanted: int) -> array[int]:
        """Return a tag's first integers, at most ``wanted``; empty where the tag is absent."""
        tag = tags.get(code)
        if tag is None or tag.count == 0:
            return array("Q")
        letter = _INTEGER_CODES.get(tag.type)
        if letter is None:
            raise self.damaged(f"tag {code} holds no integers")
        # No more than are needed: any number of directories may point to one long list.
        count = min(tag.count, wanted)
        data = self.read(tag.at, count * _TYPE_BYTES[tag.type], f"tag {code}")
        return array("Q", struct.unpack(f"{self.order}{count}{letter}", data))

    def number(self, tags: dict[int, _Entry], code: int, default: int) -> int:
        """Return a tag's first integer."""
        found = self.numbers(tags, code, 1)
        return found[0] if found else default

    def text(self, tag: _Entry) -> str:
        """Return a text; ASCII by the standard, UTF-8 in practice, Latin-1 in old ImageJ files."""
        length = tag.count * _TYPE_BYTES[tag.type]
        self.found.text_bytes += length
        if self.found.text_bytes > MAX_TEXT_BYTES:
            raise self.damaged(f"its descriptions claim {self.found.text_bytes} bytes")
        raw = self.read(tag.at, length, "a text").rstrip(b"\0 \r\n\t")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            return raw.decode("latin-1")

    def begins_with_brace(self, tag: _Entry) -> bool:
        """Return whether a text may be tifffile's JSON: of later planes nothing else matters."""
        return tag.count > 0 and self.read(tag.at, 1, "a text") == b"{"

    def rational(self, tags: dict[int, _Entry], code: int) -> float | None:
        """Return a RATIONAL tag, ``None`` where it is absent or no number."""
        tag = tags.get(code)
        if tag is None or tag.type != RATIONAL or tag.count == 0:
            return None
        above, below = struct.unpack(self.order + "2I", self.read(tag.at, 8, f"tag {code}"))
        return above / below if below else None

    def page(self, tags: dict[int, _Entry], index: int) -> Page:
        """Check one directory's segments against the file's real size."""
        plane = f"plane {index + 1}"
        width, height = self.number(tags, Tag.WIDTH, 0), self.number(tags, Tag.HEIGHT, 0)
        if not width or not height:
            raise _MissingError(f"{plane} has no size yet")
        samples = self.number(tags, Tag.SAMPLES, 1)
        bits = self.numbers(tags, Tag.BITS, MAX_SAMPLES) or array("Q", [1])
        if not all(bits):
            raise _MissingError(f"{plane} has no sample size yet")
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
            raise _MissingError(f"{plane} has parts that have not been written yet")
        if max(map(add, page.offsets, page.counts)) > self.size:
            raise _MissingError(f"the pixels of {plane} are not all there yet")
        if page.compression == Compression.NONE and any(
            have < need for have, need in zip(page.counts, _segment_bytes(page), strict=True)
        ):
            raise self.damaged(f"{plane} has fewer bytes than its size needs")
        ratio = MAX_RATIO.get(page.compression, OTHER_RATIO)
        # Tiles are decoded whole, however far they hang over the plane's edges.
        decoded = max(page.plane_bytes, sum(_segment_bytes(page)) if page.tiled else 0)
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
        tags = self.first_tags
        across = self.rational(tags, Tag.X_RESOLUTION)
        along = self.rational(tags, Tag.Y_RESOLUTION)
        software = tags.get(Tag.SOFTWARE)
        texts = [self.text(tag) for tag in self.first_texts]
        # Micro-Manager reserves a description of 0 bytes, tifffile one of 4, both filled in at
        # the very end; a lone NUL is an empty text.
        reserved = any(
            tag.count != 1 and not text for tag, text in zip(self.first_texts, texts, strict=True)
        )
        if not missing and reserved:
            missing = "the description has not been written yet"
        coloured = bool(self.pages) and self.pages[0].photometric == PALETTE
        return Structure(
            self.order,
            tuple(self.pages),
            missing,
            tuple(texts),
            self.later,
            self.text(replace(software, count=min(software.count, 256))) if software else "",
            (along, across) if across and along else None,
            self.number(tags, Tag.RESOLUTION_UNIT, ResolutionUnit.INCH),
            frozenset(code for code in tags if code >= FIRST_PRIVATE_TAG),
            header,
            tuple(self.numbers(tags, Tag.COLOUR_TABLE, 3 << 16)) if coloured else (),
        )


def _segment_bytes(page: Page) -> Iterator[int]:
    """Yield the decoded bytes of each strip or tile, in file order."""
    if page.tiled or page.samples > 1:
        rows = page.segment_width * page.bits // 8 * page.segment_height if page.tiled else 1
        yield from repeat(rows, len(page.offsets))
        return
    left = page.height
    for _ in page.offsets:
        yield page.row_bytes * min(left, page.segment_height)
        left -= page.segment_height


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
    walker = _Walker(stream, size, path)
    stream.seek(0)
    header = stream.read(min(size, 64))
    missing = ""
    try:
        walker.chain(walker.first_directory(header[:16]))
    except _MissingError as error:
        missing = str(error)
    try:
        return walker.result(missing, header)
    except _MissingError as error:
        return Structure(walker.order, tuple(walker.pages), missing or str(error), header=header)
