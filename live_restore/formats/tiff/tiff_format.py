"""TIFF stacks: ImageJ, OME-TIFF, tifffile's own and plain multi-page files.

Nothing here trusts a library's idea of the file: the structure is walked (``tiff_structure.py``),
the description says which plane is which (``tiff_layout.py``, ``tiff_ome.py``), and pixels are
decoded segment by segment (``tiff_decode.py``). Other files that a file names are never opened.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.raw_data import new_volume
from live_restore.files.reading import open_regular
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.blank import blank_planes, zero_tail
from live_restore.formats.tiff.decode import COMPRESSIONS, DecodeError, dtype_name, read_plane
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
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume

SUFFIXES = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
OWN_SOFTWARE = "live-restore"
"""Every file this program writes names it in the Software tag."""

DTYPES = ("uint8", "uint16", "float32")

_MAGIC = {483729: "NDTiff", 54773648: "Micro-Manager"}
"""At byte 8 (NDTiff format specification; index map of Micro-Manager's image stack files)."""

_VENDORS = {
    33629: "MetaMorph STK",
    34361: "Olympus FluoView",
    34412: "Zeiss LSM",
}
"""Private tags of files whose plane order only their own metadata tell."""

_SHARING_VIOLATION = (32, 33)
"""Windows: another program holds the file open for itself alone, or a part of it locked."""


@dataclass(frozen=True)
class _Examined:
    """An open file whose planes are all there."""

    structure: Structure
    layout: Layout
    pages: Sequence[Page]
    file_stacks: FileStacks


class _OwnOutputError(Exception):
    """The file was written by this program."""


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, Fingerprint]]:
    """Open a regular file read-only; operating system errors become ``StackError``.

    So do those of reading from it while the block runs.
    """
    try:
        with open_regular(path, buffered=True) as stream:
            yield stream, _fingerprint(stream)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise StackChangedError("the file vanished", path, "put it back") from error
    except OSError as error:
        raise _not_now(error, path) from error


def _not_now(error: OSError, path: Path) -> StackError:
    """Return what a refusal of the operating system says about a file.

    None of it is about the file's content, and nearly all of it passes: a virus scanner lets go, a
    share comes back, somebody corrects the rights.
    """
    if error.errno == errno.EINVAL:
        return StackUnreadableError("not a regular file", path, "leave it out of the folder")
    if error.errno in (errno.ELOOP, errno.ENAMETOOLONG):
        return StackUnreadableError(f"cannot be opened ({error.strerror})", path, "check its name")
    if getattr(error, "winerror", None) in _SHARING_VIOLATION:
        return StackBusyError("another program holds the file locked", path, "close it there")
    if isinstance(error, PermissionError):
        return StackBusyError(
            "no permission to read the file", path, "give this user the right to read it"
        )
    return StackBusyError(
        f"reading failed ({error.strerror or error})", path, "check the disk or the network"
    )


def _fingerprint(stream: BinaryIO) -> Fingerprint:
    return Fingerprint.of(os.fstat(stream.fileno()))


class TiffFormat:
    """Single TIFF files, each holding one or more stacks.

    Parameters
    ----------
    undeclared_axis
        What an axis is that nobody declared. "T" leaves such files without depth: refused.
    """

    name = "tiff"

    def __init__(self, *, undeclared_axis: UndeclaredAxis = "Z") -> None:
        self.undeclared_axis = undeclared_axis

    def recognises(self, path: Path) -> bool:
        """Return whether the name ends as a TIFF's does."""
        return path.name.lower().endswith(SUFFIXES)

    def inspect(self, path: Path) -> Arriving | Complete | None:
        """Say what is there now; ``None`` for this program's own output.

        Raises
        ------
        StackRefusedError
            A 2-D image, RGB, an unsupported type or compression, undeclared axes.
        StackUnreadableError
            Not a TIFF, or damaged.
        StackBusyError
            It cannot be opened or read just now.
        StackChangedError
            The file vanished.
        """
        try:
            with _opened(path) as (stream, fingerprint):
                found = self._examine(stream, fingerprint, path)
                if isinstance(found, Arriving):
                    return found
                blank, tail = self._zeros(stream, found, path)
                if _fingerprint(stream) != fingerprint:
                    return Arriving("the file is being written right now")
        except _OwnOutputError:
            return None
        declared = found.layout.declared_planes is not None
        return Complete(found.file_stacks, declared, blank, tail)

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[TiffReader]:
        """Open a complete dataset for reading.

        Raises
        ------
        StackChangedError
            The file is no longer the one that was inspected.
        StackBusyError
            It cannot be opened or read just now.
        """
        path = file_stacks.path
        try:
            with _opened(path) as (stream, fingerprint):
                _unchanged(file_stacks, fingerprint)
                found = self._examine(stream, fingerprint, path)
                if isinstance(found, Arriving):
                    raise StackIncompleteError(found.reason, path, "wait for the rest of it")
                yield TiffReader(stream, found)
        except _OwnOutputError as error:
            raise StackRefusedError("a result of this program", path, "name raw files") from error

    def _examine(
        self, stream: BinaryIO, fingerprint: Fingerprint, path: Path
    ) -> _Examined | Arriving:
        """Find out whether all planes are there, and what they are."""
        structure = walk(stream, fingerprint.size, path)
        if structure.software.startswith(OWN_SOFTWARE):
            raise _OwnOutputError
        if structure.missing:
            return Arriving(structure.missing)
        pages: Sequence[Page] = structure.series_pages
        if not pages:
            raise StackRefusedError("only thumbnails, no image", path, "export the file again")
        if any(is_ome(text) and not is_whole(text) for text in structure.descriptions):
            return Arriving("the OME-XML has not been written whole yet")
        dtype = _checked(pages, path)
        try:
            layout, pages = self._lay_out(structure, pages, fingerprint.size, path)
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
        return _Examined(structure, layout, pages, file_stacks)

    def _lay_out(
        self, structure: Structure, pages: Sequence[Page], size: int, path: Path
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
            self.undeclared_axis,
            structure.resolution,
            structure.resolution_unit,
        )
        layout = None
        if described:
            layout = ome(
                replace(found, planes=len(pages)),
                described,
            )
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

    def _zeros(
        self, stream: BinaryIO, found: _Examined, path: Path
    ) -> tuple[tuple[int, ...], bool]:
        try:
            blank = blank_planes(
                stream, found.pages, found.structure.byte_order, found.file_stacks.dtype
            )
            return blank, zero_tail(stream, found.pages, frozenset(blank))
        except DecodeError as error:
            raise _damaged(path, str(error)) from error


def _unchanged(file_stacks: FileStacks, fingerprint: Fingerprint) -> None:
    if fingerprint != file_stacks.fingerprint:
        raise StackChangedError(
            "the file changed since it was found complete",
            file_stacks.path,
            "let it be written to its end first",
        )


def _damaged(path: Path, what: str) -> StackUnreadableError:
    return StackUnreadableError(what, path, "copy or export the file again")


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
    if any(page.samples > 1 or page.photometric == 3 for page in pages):
        raise StackRefusedError(
            f"a colour image (RGB or palette, {first.samples} samples per pixel)",
            path,
            "save the camera's grey values, one channel after the other"
            # What tifffile makes of three or four planes, unless it is told better.
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
    odd = sorted({page.compression for page in pages} - set(COMPRESSIONS))
    predictors = {page.predictor for page in pages}
    floating = kinds[0].startswith("float")
    if odd or not predictors <= ({1, 2, 3} if floating else {1, 2}):
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
            "watch the whole data set's folder" if folder else "save as OME-TIFF",
        )


class TiffReader:
    """Reads the stacks of one open TIFF, plane by plane."""

    def __init__(self, stream: BinaryIO, found: _Examined) -> None:
        self._stream = stream
        self._found = found

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X), native byte order, contiguous.

        Raises
        ------
        StackUnreadableError
            A plane is damaged; the message names it.
        StackBusyError
            The disk or the network failed.
        StackChangedError
            The file changed while it was being read.
        StackRefusedError
            Not-a-number or infinite values.
        """
        file_stacks = self._found.file_stacks
        planes = self._found.layout.planes[stack_index]
        volume = new_volume(file_stacks.shape_zyx, file_stacks.dtype, file_stacks.path)
        order = self._found.structure.byte_order
        for z, index in enumerate(planes.tolist()):
            try:
                volume[z] = read_plane(
                    self._stream, self._found.pages[index], order, file_stacks.dtype
                )
            except DecodeError as error:
                self._still_the_same()
                raise _damaged(
                    file_stacks.path,
                    f"plane {index + 1} (z {z}) of {stack_index.label} is damaged: {error}",
                ) from error
        self._still_the_same()
        if volume.dtype.kind == "f":
            wrong = volume.size - int(np.isfinite(volume).sum())
            if wrong:
                raise StackRefusedError(
                    f"{stack_index.label} holds NaN or infinite values in {wrong} voxels",
                    file_stacks.path,
                    "replace them and save again",
                )
        return volume

    def _still_the_same(self) -> None:
        """Raise ``StackChangedError`` if the file is another than when it was inspected."""
        file_stacks = self._found.file_stacks
        _unchanged(file_stacks, _fingerprint(self._stream))
        try:
            now = file_stacks.path.stat()
        except (FileNotFoundError, NotADirectoryError):
            # Already read whole from the open file; that its name is gone changes no pixel.
            return
        _unchanged(file_stacks, Fingerprint.of(now))
