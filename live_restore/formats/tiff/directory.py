"""Reads the directories (IFDs) of a TIFF file, and the values that they name.

Every number in the file is untrusted: what is read, and how much of it in all, is bounded by the
file's real size.
"""

from __future__ import annotations

import struct
from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackUnreadableError
from live_restore.formats.tiff.tags import RATIONAL, ByteOrder, Tag, byte_order_of

MAX_DIRECTORY_ENTRIES = 4096
"""Entries in one directory; vendors' files hold up to about a hundred."""

MAX_TEXT_BYTES = 32 * 2**20
"""Of all descriptions. OME-XML takes about 250 bytes a plane: this is 100,000 planes."""

_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_TYPE_BYTES |= {13: 4, 16: 8, 17: 8, 18: 8}
_INTEGER_CODES = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}


@dataclass(slots=True)  # not frozen: a file of many planes makes a hundred thousand of them
class Entry:
    """What a directory says of one tag: type and number of its values, and where they lie.

    ``inline`` holds those that lie in the directory itself, which was read with it; else nothing.
    """

    type: int
    count: int
    at: int
    inline: bytes = b""


EMPTY = "the file is empty"


class MissingError(Exception):
    """Something is not there that more bytes could bring."""


@dataclass
class _Found:
    """What has been named so far, in all: the walk ends where it is more than the file can hold."""

    text_bytes: int = 0
    directory_bytes: int = 0
    segments: int = 0
    decoded_bytes: int = 0
    best_ratio: int = 1


class DirectoryReader:
    """Reads directories and values of one file.

    Parameters
    ----------
    stream
        The file, binary, seekable.
    size
        Its real size in bytes.
    path
        Its name, for messages.
    """

    def __init__(self, stream: BinaryIO, size: int, path: Path) -> None:
        self.stream, self.size, self.path = stream, size, path
        self.order: ByteOrder = "<"
        self.big = False
        self.found = _Found()

    def damaged(self, what: str) -> StackUnreadableError:
        return StackUnreadableError(
            f"damaged TIFF: {what}", self.path, "copy or export the file again"
        )

    def read(self, at: int, count: int, what: str) -> bytes:
        if at + count > self.size:
            raise MissingError(f"{what} lies beyond the end of the file ({self.size} bytes)")
        self.stream.seek(at)
        data = self.stream.read(count)
        if len(data) < count:
            raise MissingError(f"{what} could not be read whole; the file got shorter")
        return data

    def first_directory(self, head: bytes) -> int:
        """Set byte order and flavour from the header; return the first directory's offset."""
        if not head:
            raise MissingError(EMPTY)
        if not any(head):
            # Copies onto network shares reserve the whole file first and fill it later.
            raise MissingError("the header has not been written yet")
        magic = head[:4]
        if magic not in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"):
            if len(magic) < 4:
                raise MissingError("the header is not complete yet")
            raise StackUnreadableError(
                "not a TIFF file", self.path, "check the name and the program that wrote it"
            )
        self.order = byte_order_of(magic)
        self.big = b"+" in magic
        needed = 16 if self.big else 8
        if len(head) < needed:
            raise MissingError("the header is not complete yet")
        if self.big:
            width, zero, first = struct.unpack(self.order + "HHQ", head[4:16])
            if (width, zero) != (8, 0):
                raise self.damaged("its BigTIFF header is wrong")
        else:
            (first,) = struct.unpack(self.order + "I", head[4:8])
        if first == 0:
            raise MissingError("the first directory has not been written yet")
        return int(first)

    def directory(self, at: int, index: int) -> tuple[dict[int, Entry], list[Entry], int, int]:
        """Read one directory: its tags and descriptions, the next one, and where that is named."""
        what = f"directory {index + 1}"
        count_code, entry, inline, pointer = ("Q", 20, 8, "Q") if self.big else ("H", 12, 4, "I")
        head = struct.calcsize("=" + count_code)
        (count,) = struct.unpack(self.order + count_code, self.read(at, head, what))
        if count == 0:
            raise MissingError(f"{what} has not been written yet")
        if count > MAX_DIRECTORY_ENTRIES:
            raise self.damaged(f"{what} claims {count} entries")
        length = count * entry + struct.calcsize("=" + pointer)
        block = self.read(at + head, length, what)
        self.found.directory_bytes += length
        if self.found.directory_bytes > self.size:
            raise self.damaged("its directories overlap")
        tags: dict[int, Entry] = {}
        texts: list[Entry] = []
        entries = struct.iter_unpack(self.order + "HH" + pointer * 2, block[: count * entry])
        before = entry - inline
        for number, (code, kind, items, value) in enumerate(entries):
            if kind == 0:
                raise MissingError(f"{what} has not been written whole yet")
            each = _TYPE_BYTES.get(kind)
            if each is None:
                continue
            if items * each > inline:
                if value == 0 or value + items * each > self.size:
                    raise MissingError(f"the value of tag {code} in {what} is not there yet")
                tag = Entry(kind, items, value)
            else:
                inside = number * entry + before
                values = block[inside : inside + items * each]
                tag = Entry(kind, items, at + head + inside, values)
            if code == Tag.DESCRIPTION:
                texts.append(tag)
            tags.setdefault(code, tag)
        (following,) = struct.unpack(self.order + pointer, block[count * entry :])
        return tags, texts, int(following), at + head + count * entry

    def numbers(self, tags: dict[int, Entry], code: int, wanted: int) -> array[int]:
        """Return a tag's first integers, at most ``wanted``; empty where the tag is absent."""
        tag = tags.get(code)
        if tag is None or tag.count == 0:
            return array("Q")
        return array("Q", self._integers(tag, code, wanted))

    def number(self, tags: dict[int, Entry], code: int, default: int) -> int:
        """Return a tag's first integer."""
        tag = tags.get(code)
        if tag is None or tag.count == 0:
            return default
        return int(self._integers(tag, code, 1)[0])

    def _integers(self, tag: Entry, code: int, wanted: int) -> tuple[int, ...]:
        letter = _INTEGER_CODES.get(tag.type)
        if letter is None:
            raise self.damaged(f"tag {code} holds no integers")
        # No more than are needed: any number of directories may point to one long list.
        count = min(tag.count, wanted)
        length = count * _TYPE_BYTES[tag.type]
        data = tag.inline[:length] or self.read(tag.at, length, f"tag {code}")
        return struct.unpack(f"{self.order}{count}{letter}", data)

    def text(self, tag: Entry) -> str:
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

    def begins_with_brace(self, tag: Entry) -> bool:
        """Return whether a text may be tifffile's JSON: of later planes nothing else matters."""
        return tag.count > 0 and self.read(tag.at, 1, "a text") == b"{"

    def rational(self, tags: dict[int, Entry], code: int) -> float | None:
        """Return a RATIONAL tag, ``None`` where it is absent or no number."""
        tag = tags.get(code)
        if tag is None or tag.type != RATIONAL or tag.count == 0:
            return None
        above, below = struct.unpack(self.order + "2I", self.read(tag.at, 8, f"tag {code}"))
        return above / below if below else None
