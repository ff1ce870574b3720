"""Restored stacks as OME-TIFF: the raw file's axes, dtype, voxel size, channel names and times."""

from __future__ import annotations

import os
import re
import struct
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

import numpy as np

from live_restore._version import __version__
from live_restore.errors import OutputError
from live_restore.files import disk
from live_restore.files.naming import candidates, error_bars_path, report_path, variants
from live_restore.files.publish import publishing, remove_for_good
from live_restore.files.reading import open_regular
from live_restore.formats.tiff.examine import OWN_SOFTWARE
from live_restore.formats.tiff.tags import Tag
from live_restore.outputs.annotations import Pairs, annotated
from live_restore.outputs.growing import GrowingPublication
from live_restore.outputs.names import is_emptied, is_there
from live_restore.outputs.ome_planes import dimension_order, naming_planes, tiff_data
from live_restore.outputs.output import (
    FinishedStack,
    Proof,
    Publication,
    Published,
    ResultPath,
    ResultRequest,
    Verify,
)
from live_restore.outputs.provenance import made_by, report_name_is_ours
from live_restore.outputs.recorded import ome_metadata
from live_restore.outputs.report import Report
from live_restore.stack import FileStacks, StackIndex, Volume, crc32, plane_number, result_dtype

# With the NUL that ends a tag's text: no name inside the OME-XML can pass for the tag.
_TOKEN = re.compile(rb"live-restore [^\0(]{1,40}\(result ([0-9a-f]{16})\)\0")
# The tag lies before the pixels, behind an OME-XML that grows with the number of planes.
_HEADER_BYTES = 32 * 2**20
_HEADER_PART = 2**20
_TOKEN_BYTES = 128
# Past this a classic TIFF's 32-bit offsets could overflow; the rest is room for headers.
_CLASSIC_TIFF_BYTES = 2**32 - 2**25
# A plane's directory, with room to spare.
_DIRECTORY_BYTES = 512


class OmeTiffOutput:
    """A file per raw file, or per stack of an acquisition folder; see ``Output``."""

    def choose(self, request: ResultRequest) -> ResultPath:
        """Return where the result goes; see ``Output``."""
        source, tried = request.file_stacks.path, []
        named = candidates(source, request.template, request.model_name, request.recipe)
        for number, (path, token) in enumerate(named):
            there = path != source and is_there(path, source)
            if path != source and (there or number > 0 or not request.apart):
                report = report_path(path)
                image, *bars = _images(request, path)
                ours = _free_or_ours(image, token, source) and _bars_have_room(bars, token, source)
                if ours and report_name_is_ours(report):
                    return ResultPath(path, report, token, there)
            tried.append(path)
        raise OutputError(
            f"is taken by a file that live-restore did not write (so is {tried[-1].name})",
            tried[0],
            "move that file away, or set output.template to another folder",
        )

    def earlier(self, request: ResultRequest, proof: Proof) -> ResultPath | None:
        """Return a result that was made under another name; see ``Output``."""
        plain, own = next(
            candidates(
                request.file_stacks.path, request.template, request.model_name, request.recipe
            )
        )
        if read_token(plain) in (None, own):
            return None
        for path in (plain, *variants(plain, ".ome.tif")):
            report, token = report_path(path), read_token(path)
            if token is not None and made_by(report, request.recipe) and proof(report):
                return ResultPath(path, report, token, True)
        return None

    def begin(
        self, request: ResultRequest, result_path: ResultPath, verify: Verify = tuple
    ) -> Publication:
        """Begin to write a file aside; see ``Output``."""
        source, token = request.file_stacks.path, result_path.token
        image, *bars = _images(request, result_path.image)
        free = result_path.taken or not image.exists()
        if not (free and _bars_have_room(bars, token, source)):
            # Since it was chosen, ``a.tif`` was given the name that ``a.ome.tif`` had found free.
            result_path = self.choose(request)
        if request.growth is not None:
            return GrowingPublication(request, result_path, verify, _software(result_path.token))
        return _OmeTiffPublication(request, result_path, verify)

    def made(self, path: Path) -> bool:
        """Return whether a file is a result of ours; see ``Output``."""
        return read_token(path) is not None


def _images(request: ResultRequest, image: Path) -> list[Path]:
    """Return what a result of this name is made of."""
    return [image, *([error_bars_path(image)] if request.error_bars else [])]


class _AbandonedError(Exception):
    """Makes contexts clean up as after an error."""


class _OmeTiffPublication(Publication):
    """A file written aside; see ``Publication``."""

    def __init__(self, request: ResultRequest, result_path: ResultPath, verify: Verify) -> None:
        self._result_path = result_path
        self._verify = verify
        self._report = Report(request, result_path.image.name)
        self._left = request.left
        self._writing_s = 0.0
        raw = request.file_stacks
        written = replace(raw, dtype=result_dtype(raw.dtype, request.units))
        image, token = result_path.image, result_path.token
        self._bars: OmeTiffWriter | None = None
        with ExitStack() as publishing_, ExitStack() as writing:

            def begin(path: Path, of: FileStacks, *, free: bool) -> OmeTiffWriter:
                writers: list[OmeTiffWriter] = []
                temporary = publishing_.enter_context(
                    publishing(path, check=lambda at: writers[0].check(at), free=free)
                )
                writers.append(writing.enter_context(writing_ome_tiff(temporary, of, token)))
                return writers[0]

            self._writer = begin(image, written, free=not result_path.taken)
            if request.error_bars:  # begun last, and so published first
                bars = error_bars_path(image)
                self._report.bars_name = bars.name
                of_bars = replace(raw, dtype=np.dtype(np.float32))
                of_ours = read_token(bars) == token or is_emptied(bars)
                self._bars = begin(bars, of_bars, free=not of_ours)
            self._writing, self._publishing = writing.pop_all(), publishing_.pop_all()

    def take(self, stack: FinishedStack) -> None:
        """Write the planes of a stack to their places; see ``Publication``."""
        began = time.perf_counter()
        try:
            self._writer.write(stack.index, stack.volume)
            if self._bars is not None:
                self._bars.write(stack.index, stack.bars)
        except BaseException:
            with self._publishing, self._writing:  # they clean up, and say what the disk refused
                raise
        self._writing_s += time.perf_counter() - began
        self._report.add(stack)

    def close(self) -> Published:
        """Publish image and report; see ``Publication``."""
        with self._publishing:
            with self._writing:
                self._report.warnings += self._verify()
                left = self._left()
                self._report.leave_out(left)
                self._writer.describe(left, self._report.annotations())
                if self._bars is not None:
                    self._bars.describe(left, self._report.annotations(of_bars=True))
            began = time.perf_counter()
            # The report of an earlier result must not stand beside a newer image, whatever happens
            # between.
            remove_for_good(self._result_path.report)
        publishing_s = time.perf_counter() - began
        return self._report.publish(self._result_path, write=self._writing_s, publish=publishing_s)

    def abandon(self) -> None:
        """Leave nothing behind; see ``Publication``."""
        # A disk that refuses even that has been reported, or will be by the next result.
        with suppress(_AbandonedError, OutputError), self._publishing, self._writing:
            raise _AbandonedError


class OmeTiffWriter:
    """Writes one file's restored stacks, in any order, into a file of the same axes.

    The file's structure is written first with its pixels still empty, then each stack's planes go
    to their places. No stack but the one being written is held in memory.
    """

    def __init__(self, file: BinaryIO, file_stacks: FileStacks, first_byte: list[int]) -> None:
        self._file = file
        self._file_stacks = file_stacks
        self._first_byte = first_byte
        self.checksums: dict[StackIndex, int] = {}
        self.left: frozenset[StackIndex] = frozenset()

    def write(self, stack_index: StackIndex, volume: Volume) -> None:
        """Write one stack (Z, Y, X); raises ``OSError``."""
        volume = np.ascontiguousarray(volume, dtype=self._file_stacks.dtype.newbyteorder("<"))
        crc = 0
        for z, plane in enumerate(volume):
            self._file.seek(_plane_offset(self._file_stacks, self._first_byte, stack_index, z))
            self._file.write(plane.data)
            crc = crc32(plane.data, crc)
        self.checksums[stack_index] = crc

    def describe(self, left: Collection[StackIndex], annotations: Sequence[Pairs]) -> None:
        """Let the OME-XML tell about its images, and name the planes of what was written only.

        Parameters
        ----------
        left
            Stacks that were not written.
        annotations
            One per position.

        Raises
        ------
        OSError
            The disk refused.
        """
        self.left = frozenset(left)
        _describe(self._file, self._file_stacks, self.left, annotations)

    def check(self, path: Path) -> None:
        """Read every stack back from ``path`` and compare; raises ``OutputError``."""
        known = self.checksums.keys() | self.left
        missing = [each for each in self._file_stacks.indices() if each not in known]
        if missing:
            raise OutputError(
                f"lacks {len(missing)} of its stacks (first {missing[0]})",
                path,
                "please report it with the log file",
            )
        with path.open("rb") as file:
            for stack_index, expected in self.checksums.items():
                crc = 0
                plane = bytearray(_plane_bytes(self._file_stacks, stack_index.position))
                for z in range(self._file_stacks.shape_of(stack_index.position)[0]):
                    file.seek(_plane_offset(self._file_stacks, self._first_byte, stack_index, z))
                    crc = crc32(memoryview(plane)[: file.readinto(plane)], crc)
                if crc != expected:
                    raise OutputError(
                        f"does not read back as written (stack {stack_index.label})",
                        path,
                        "check that disk",
                    )


@contextmanager
def writing_ome_tiff(path: Path, file_stacks: FileStacks, token: str) -> Iterator[OmeTiffWriter]:
    """Lay out an OME-TIFF for ``file_stacks`` at ``path`` and give a writer for its stacks.

    Parameters
    ----------
    path
        A temporary file.
    file_stacks
        Describes axes, shape, dtype and metadata.
    token
        The result's identity, kept in the Software tag (see :func:`read_token`).

    Raises
    ------
    OSError
        The disk refused.
    """
    with disk.current.open(path, "wb+") as file:
        yield OmeTiffWriter(file, file_stacks, _lay_out(file, path, file_stacks, token))


def read_token(path: Path) -> str | None:
    """Return the identity of the result in ``path``, or ``None`` if it is not one of ours."""
    tail = b""
    try:
        with open_regular(path) as file:
            for _ in range(_HEADER_BYTES // _HEADER_PART):
                part = file.read(_HEADER_PART)
                found = _TOKEN.search(tail + part)
                if found or not part:
                    return found.group(1).decode() if found else None
                tail = part[-_TOKEN_BYTES:]
    except OSError:
        pass
    return None


def _free_or_ours(path: Path, token: str, source: Path) -> bool:
    """Return whether a name can be had for the result of a token."""
    return not is_there(path, source) or read_token(path) == token


def _bars_have_room(bars: list[Path], token: str, source: Path) -> bool:
    """Return whether the error bars of a result can have their name.

    What was emptied there holds nothing of anybody's.
    """
    return all(_free_or_ours(each, token, source) or is_emptied(each) for each in bars)


def _axis_sizes(file_stacks: FileStacks, position: int) -> dict[str, int]:
    z, y, x = file_stacks.shape_of(position)
    return {"T": file_stacks.times, "C": file_stacks.channels, "Z": z, "Y": y, "X": x}


def _plane_bytes(file_stacks: FileStacks, position: int) -> int:
    _, y, x = file_stacks.shape_of(position)
    return y * x * file_stacks.dtype.itemsize


def _shape(file_stacks: FileStacks, position: int) -> tuple[int, ...]:
    sizes = _axis_sizes(file_stacks, position)
    return tuple(sizes[axis] for axis in file_stacks.axes)


def _lay_out(file: BinaryIO, path: Path, file_stacks: FileStacks, token: str) -> list[int]:
    import tifffile

    total = file_stacks.voxel_bytes + file_stacks.plane_count * _DIRECTORY_BYTES
    with tifffile.TiffWriter(
        file, bigtiff=total > _CLASSIC_TIFF_BYTES, ome=True, byteorder="<"
    ) as tif:
        # Where its pixels begin; ``None`` where they do not lie in one piece.
        places = [
            tif.write(
                shape=_shape(file_stacks, position),
                dtype=file_stacks.dtype.newbyteorder("<"),
                photometric=file_stacks.metadata.photometric,
                metadata=ome_metadata(file_stacks, position),
                software=_software(token),
                returnoffset=True,
            )
            for position in range(file_stacks.positions)
        ]
    if None in places:
        raise OutputError(
            "could not be laid out for writing", path, "please report it with the raw file's shape"
        )
    return [place[0] for place in places if place is not None]


def _software(token: str) -> str:
    """Return the Software tag, by which a result is known as ours, and as which."""
    return f"{OWN_SOFTWARE} {__version__} (result {token})"


def _describe(
    file: BinaryIO,
    file_stacks: FileStacks,
    left: Collection[StackIndex],
    annotations: Sequence[Pairs],
) -> None:
    """Write the OME-XML once more, behind the end: annotated, without the planes of some stacks."""
    import tifffile

    file.flush()
    file.seek(0)
    with tifffile.TiffFile(file, _multifile=False) as tif:
        tag, big = tif.pages.first.tags[int(Tag.DESCRIPTION)], tif.is_bigtiff
        xml = tif.pages.first.description
    if left:
        xml = naming_planes(xml, _planes_without(file_stacks, left))
    text = annotated(xml, annotations).encode() + b"\0"
    at = file.seek(0, os.SEEK_END)
    file.write(text)
    file.seek(tag.offset + 4)
    file.write(struct.pack("<QQ" if big else "<II", len(text), at))


def _planes_without(file_stacks: FileStacks, left: Collection[StackIndex]) -> list[str]:
    """Return the elements that name the planes of each image, but for those of some stacks."""
    axes = file_stacks.axes[:-2]
    order = dimension_order(file_stacks.axes)
    images, directory = [], 0
    for position in range(file_stacks.positions):
        sizes = _axis_sizes(file_stacks, position)
        named = []
        for where in np.ndindex(tuple(sizes[axis] for axis in axes)):
            place = dict(zip(axes, where, strict=True))
            if StackIndex(position, place.get("T", 0), place.get("C", 0)) not in left:
                named.append((directory, place))
            directory += 1
        images.append(tiff_data(order, sizes, named))
    return images


def _plane_offset(
    file_stacks: FileStacks, first_byte: list[int], stack_index: StackIndex, z: int
) -> int:
    place = {"T": stack_index.time, "C": stack_index.channel, "Z": z}
    position = stack_index.position
    plane = plane_number(file_stacks.axes, _axis_sizes(file_stacks, position), place)
    return first_byte[position] + plane * _plane_bytes(file_stacks, position)
