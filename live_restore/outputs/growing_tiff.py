"""An OME-TIFF that grows by whole stacks, and is whole for whoever reads it at any moment.

::

    header, first directory ─┐        ┌──────────┐        ┌──────────┐
    planes, directories ...  │ append │ planes,  │ append │ planes,  │
    OME-XML                  │ ─────> │ director.│ ─────> │ director.│ ...
                             │        │ OME-XML  │        │ OME-XML  │
                             └────────┴──────────┴────────┴──────────┘

What is new goes behind the end of the file, where nothing leads to it, is synced and read back.
Then two numbers of eight bytes are overwritten: where the last directory's next one is (it was 0),
and where the OME-XML lies. Before, between and after the two the file is a valid OME-TIFF, whose
XML names the planes of whole stacks only. What a killed process left behind the end stays there,
and nothing leads to it.

BigTIFF, little endian, one strip per plane, uncompressed.
"""

from __future__ import annotations

import json
import math
import re
import struct
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from live_restore.errors import OutputError
from live_restore.files.reading import open_regular
from live_restore.formats.tiff.tags import BLACK_IS_ZERO, WHITE_IS_ZERO, SampleFormat, Tag
from live_restore.outputs.annotations import Pairs, annotated
from live_restore.outputs.ome_planes import dimension_order, naming_planes, tiff_data
from live_restore.outputs.recorded import ome_metadata
from live_restore.stack import FileStacks, StackIndex, Volume

FIRST_DIRECTORY = 16
_DESCRIPTION_ENTRY = FIRST_DIRECTORY + 8 + 5 * 20
_SOFTWARE_AT = 288
_HEAD_BYTES = 512
"""The header, the first directory and the Software tag: one sector, which a disk writes as one."""
_MAX_XML = 64 * 2**20
_STATE = re.compile(r"<!--live-restore (\{[^<>]*\})-->")
_SHORT, _LONG8, _ASCII = 3, 16, 2
_SAMPLE_FORMATS = {"u": SampleFormat.UNSIGNED, "i": SampleFormat.SIGNED, "f": SampleFormat.FLOAT}


@dataclass(frozen=True)
class HeldStack:
    """Where a stack lies: its first directory, its first plane (z) and how many there are."""

    directory: int
    first_z: int
    planes: int


@dataclass(frozen=True)
class Contents:
    """What a growing file holds: its pages, where the next directory is to be named, its stacks."""

    pages: int = 0
    next_at: int = 0
    stacks: Mapping[StackIndex, HeldStack] = field(default_factory=dict)

    def to_json(self) -> str:
        """Return it as it is kept in the file."""
        stacks = [
            [*index, held.directory, held.first_z, held.planes]
            for index, held in self.stacks.items()
        ]
        state = {"pages": self.pages, "next_at": self.next_at, "stacks": stacks}
        return json.dumps(state, separators=(",", ":"))


def contents_of(path: Path) -> Contents | None:
    """Return what a growing result holds, ``None`` if it is none, or nobody can tell any more."""
    try:
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES)
            if len(head) < _HEAD_BYTES or head[:8] != struct.pack("<2sHHH", b"II", 43, 8, 0):
                return None
            count, at = struct.unpack_from("<QQ", head, _DESCRIPTION_ENTRY + 4)
            if not 0 < count <= _MAX_XML:
                return None
            size = file.seek(0, 2)
            file.seek(min(at, size))
            text = file.read(min(count, size)).decode()
        found = _STATE.search(text)
        return None if found is None else _checked(json.loads(found[1]), size)
    except (OSError, ValueError, TypeError, KeyError, RecursionError, struct.error):
        return None


def _checked(state: dict[str, Any], size: int) -> Contents:
    """Return what a file says of itself; raises ``ValueError`` where it cannot be true."""
    pages, next_at = state["pages"], state["next_at"]
    rows = state["stacks"]
    numbers = [pages, next_at, *(number for row in rows for number in row)]
    if not all(type(number) is int and 0 <= number < 2**62 for number in numbers):
        raise ValueError(state)
    if next_at + 8 > size or any(row[3] + row[5] > pages for row in rows):
        raise ValueError(state)
    stacks = {StackIndex(p, t, c): HeldStack(at, z, n) for p, t, c, at, z, n in rows}
    return Contents(pages, next_at, stacks)


class GrowingTiff:
    """Appends stacks to an open file.

    Parameters
    ----------
    file
        Open for reading and writing; empty, or a growing result.
    file_stacks
        What the raw file declares; of the dtype of the result.
    software
        Goes into the Software tag, which says whose file it is.
    contents
        What it holds; nothing: it is begun.
    """

    def __init__(
        self, file: BinaryIO, file_stacks: FileStacks, software: str, contents: Contents
    ) -> None:
        self._file = file
        self._file_stacks = file_stacks
        self._software = software
        self._contents = contents
        self._pages, self._next_at = contents.pages, contents.next_at
        self._first_new = 0
        self._new: dict[StackIndex, HeldStack] = {}
        self._checksums: list[tuple[int, int, int]] = []
        self._xml = (0, 0)
        if not contents.pages:
            head = struct.pack("<2sHHHQ", b"II", 43, 8, 0, FIRST_DIRECTORY)
            file.write(head.ljust(_HEAD_BYTES, b"\0"))

    @property
    def stacks(self) -> dict[StackIndex, HeldStack]:
        """What it holds, with what has been appended."""
        return {**self._contents.stacks, **self._new}

    def append(self, stack_index: StackIndex, volume: Volume, first_z: int = 0) -> None:
        """Write a stack (Z, Y, X) behind the end, where nothing leads to it yet.

        Raises
        ------
        OSError
            The disk refused.
        """
        volume = np.ascontiguousarray(volume, self._file_stacks.dtype.newbyteorder("<"))
        pixels_at = self._to_the_end()
        self._file.write(volume.data)
        self._checksums.append((pixels_at, volume.nbytes, zlib.crc32(volume.data)))
        self._new[stack_index] = HeldStack(self._pages, first_z, len(volume))
        plane_bytes = volume.nbytes // len(volume)
        at = self._to_the_end()
        block = bytearray()
        for z in range(len(volume)):
            at_pixels = pixels_at + z * plane_bytes
            directory = self._directory(at_pixels, volume.shape[1:], plane_bytes)
            if self._pages == 0:
                self._file.seek(FIRST_DIRECTORY)
                self._file.write(directory)
                self._next_at = FIRST_DIRECTORY + len(directory) - 8
                self._pages = 1
                continue
            here = at + len(block)
            if self._pages == self._contents.pages:
                self._first_new = here
            elif self._next_at >= at:
                struct.pack_into("<Q", block, self._next_at - at, here)
            else:
                self._put(self._next_at, here)
            block += directory
            self._next_at = here + len(directory) - 8
            self._pages += 1
        self._file.seek(at)
        self._file.write(block)

    def describe(self, annotations: Sequence[Pairs] = ()) -> None:
        """Write the OME-XML behind the end.

        Parameters
        ----------
        annotations
            What it is to tell about each position.

        Raises
        ------
        OSError
            The disk refused.
        """
        contents = Contents(self._pages, self._next_at, self.stacks)
        text = ome_xml(self._file_stacks, contents, annotations).encode()
        # A power of two: most of the time where it lies is all that changes.
        room = max(4096, 1 << len(text).bit_length())
        end = b"</OME>"
        text = text.removesuffix(end).ljust(room - len(end) - 1) + end + b"\0"
        at = self._to_the_end()
        self._file.write(text)
        self._checksums.append((at, len(text), zlib.crc32(text)))
        self._xml = (at, len(text))
        if not self._contents.pages:
            self._put_description()
        self._file.flush()

    def check(self, path: Path) -> None:
        """Read back from ``path`` what was written; raises ``OutputError``."""
        with path.open("rb") as file:
            for at, count, expected in self._checksums:
                file.seek(at)
                if zlib.crc32(file.read(count)) != expected:
                    raise OutputError("does not read back as written", path, "check that disk")

    def link_planes(self) -> None:
        """Let the directories lead to those that are new; all else still leads past them."""
        if self._first_new:
            self._put(self._contents.next_at, self._first_new)
            self._file.flush()

    def link_description(self) -> None:
        """Let the first directory lead to the new OME-XML, which names the new planes."""
        self._put_description()
        self._file.flush()

    def _put_description(self) -> None:
        # The length first: what follows the earlier text's end is passed over, and never shown.
        at, count = self._xml
        self._put(_DESCRIPTION_ENTRY + 4, count)
        self._file.flush()
        self._put(_DESCRIPTION_ENTRY + 12, at)

    def _put(self, at: int, number: int) -> None:
        self._file.seek(at)
        self._file.write(struct.pack("<Q", number))

    def _to_the_end(self) -> int:
        """Go to the end of the file, at a multiple of 8 bytes; return where that is."""
        end = self._file.seek(0, 2)
        if end % 8:
            self._file.write(bytes(-end % 8))
        return end + -end % 8

    def _directory(self, pixels_at: int, shape_yx: tuple[int, ...], plane_bytes: int) -> bytes:
        """Return the directory of one plane; of the first, with the tags that count for all."""
        height, width = shape_yx
        white_is_zero = self._file_stacks.metadata.photometric == "miniswhite"
        dtype = self._file_stacks.dtype
        entries: dict[int, tuple[int, int, int]] = {
            Tag.WIDTH: (_LONG8, 1, width),
            Tag.HEIGHT: (_LONG8, 1, height),
            Tag.BITS: (_SHORT, 1, 8 * dtype.itemsize),
            Tag.COMPRESSION: (_SHORT, 1, 1),
            Tag.PHOTOMETRIC: (_SHORT, 1, WHITE_IS_ZERO if white_is_zero else BLACK_IS_ZERO),
            Tag.STRIP_OFFSETS: (_LONG8, 1, pixels_at),
            Tag.SAMPLES: (_SHORT, 1, 1),
            Tag.STRIP_ROWS: (_LONG8, 1, height),
            Tag.STRIP_BYTES: (_LONG8, 1, plane_bytes),
            Tag.SAMPLE_FORMAT: (_SHORT, 1, _SAMPLE_FORMATS[dtype.kind]),
        }
        software = b""
        if self._pages == 0:
            software = self._software.encode() + b"\0"
            entries[Tag.DESCRIPTION] = (_ASCII, 0, 0)
            entries[Tag.SOFTWARE] = (_ASCII, len(software), _SOFTWARE_AT)
            self._file.seek(_SOFTWARE_AT)
            self._file.write(software)
        # An even number of entries: the number behind them lies at a multiple of eight.
        packed = b"".join(struct.pack("<HHQQ", tag, *entries[tag]) for tag in sorted(entries))
        return struct.pack("<Q", len(entries)) + packed + bytes(8)


def ome_xml(file_stacks: FileStacks, contents: Contents, annotations: Sequence[Pairs] = ()) -> str:
    """Return the OME-XML of a file that holds these stacks; its T ends with the last of them."""
    from tifffile import OmeXml

    positions = 1 + max(index.position for index in contents.stacks)
    times = 1 + max(index.time for index in contents.stacks)
    so_far = replace(file_stacks, times=times)
    directories: list[list[tuple[int, dict[str, int]]]] = [[] for _ in range(positions)]
    for index, held in sorted(contents.stacks.items(), key=lambda each: each[1].directory):
        directories[index.position] += [
            (held.directory + n, {"T": index.time, "C": index.channel, "Z": held.first_z + n})
            for n in range(held.planes)
        ]
    written, images = OmeXml(), []
    for position, named in enumerate(directories):
        depth, height, width = file_stacks.shape_of(position)
        sizes = {"T": times, "C": file_stacks.channels, "Z": depth}
        # Axes of length 1 may stand anywhere; tifffile takes those that are longer, in turn.
        axes = "".join(axis for axis in file_stacks.axes if axis in "YX" or sizes[axis] > 1)
        order = dimension_order(axes)
        lengths = tuple(sizes[axis] for axis in axes[:-2])
        of_image = {k: v for k, v in ome_metadata(so_far, position).items() if k != "axes"}
        written.addimage(
            file_stacks.dtype,
            (*lengths, height, width),
            (math.prod(lengths), 1, 1, height, width, 1),
            axes=axes,
            **{**of_image, "DimensionOrder": order},
        )
        images.append(tiff_data(order, sizes, named))
    xml = annotated(naming_planes(written.tostring(declaration=True), images), annotations)
    return xml.replace("</OME>", f"<!--live-restore {contents.to_json()}--></OME>")
