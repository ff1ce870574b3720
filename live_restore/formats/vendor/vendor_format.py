"""Finished files of microscopes' own programs: each read by a child process.

Their readers are other people's packages, and the files anybody's: what hangs, dies or takes too
much memory is a child, and the outcome of one file. The child is asked for one stack at a time.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from live_restore.errors import StackRefusedError, StackUnreadableError, one_line
from live_restore.files.raw_data import new_volume, opened
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.tiff.reader import require_unchanged
from live_restore.formats.vendor.protocol import (
    HEADER,
    MAX_TEXT,
    Description,
    Kind,
    ProtocolError,
)
from live_restore.formats.vendor.table import VendorKind, kind_of
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Volume, VoxelSize

PYTHON = (sys.executable, "-P", "-m", "live_restore.formats.vendor.child")
"""How the child is started: not with modules of the current folder, which may be one of data."""

_DESCRIBE_S = 120.0
_READ_S = 60.0
_SLOWEST_BYTES_PER_S = 2e6
"""A network share that is slower than this counts as hung."""
_ENDS_S = 5.0
_REMEDY = "open it in the program that wrote it, and export it as OME-TIFF"


class ReaderError(Exception):
    """A reader could not do it; the message says why."""


class VendorFormat:
    """Files of every kind whose reader is installed."""

    name = "vendor"

    def recognises(self, path: Path) -> bool:
        """Return whether the name ends as that of a kind whose reader is installed."""
        kind = kind_of(path.name)
        return kind is not None and not kind.obstacle()

    def inspect(self, path: Path) -> Arriving | Complete:
        """Return what is there now.

        What its reader cannot open may still be being written, so it is waited for.

        Raises
        ------
        StackRefusedError
            No z-stack, colour, or a type that is not restored.
        StackUnreadableError
            Its reader hung or died over it, or said what cannot be.
        StackBusyError
            It cannot be opened or read just now.
        StackChangedError
            The file vanished.
        """
        fingerprint = _fingerprint(path)
        try:
            with _Child.reading(path) as child:
                said = child.describe(fingerprint.size)
        except ReaderError as error:
            return Arriving(f"its reader cannot open it ({error})")
        if _fingerprint(path) != fingerprint:
            return Arriving("the file is being written right now")
        return Complete(_file_stacks(path, fingerprint, said), declared=False)

    @contextmanager
    def open(self, file_stacks: FileStacks) -> Iterator[VendorStackReader]:
        """Open a complete file for reading.

        Raises
        ------
        StackChangedError
            The file is no longer the one that was inspected.
        StackBusyError
            It cannot be opened or read just now.
        """
        path = file_stacks.path
        require_unchanged(file_stacks, _fingerprint(path))
        with _Child.reading(path) as child:
            try:
                said = child.describe(file_stacks.fingerprint.size)
            except ReaderError as error:
                raise StackUnreadableError(f"cannot be opened ({error})", path, _REMEDY) from error
            if _file_stacks(path, file_stacks.fingerprint, said) != file_stacks:
                raise StackUnreadableError("is described otherwise each time", path, _REMEDY)
            yield VendorStackReader(child, file_stacks)


class VendorStackReader:
    """Reads the stacks of one open file."""

    def __init__(self, child: _Child, file_stacks: FileStacks) -> None:
        self._child = child
        self._file_stacks = file_stacks

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X), native byte order; raises ``StackError``."""
        stacks = self._file_stacks
        volume = new_volume(stacks.shape_zyx, stacks.dtype, stacks.path)
        try:
            self._child.read(stack_index, volume)
        except ReaderError as error:
            require_unchanged(stacks, _fingerprint(stacks.path))
            raise StackUnreadableError(
                f"{stack_index.label} cannot be read ({error})", stacks.path, _REMEDY
            ) from error
        require_unchanged(stacks, _fingerprint(stacks.path))
        blank = sum(not plane.any() for plane in volume)
        if blank:
            raise StackUnreadableError(
                f"{blank} plane(s) of {stack_index.label} hold nothing but zeros, which is what "
                "readers give where planes are missing", stacks.path, _REMEDY,
            )  # fmt: skip
        if volume.dtype.kind == "f" and not np.isfinite(volume).all():
            raise StackRefusedError(
                f"{stack_index.label} holds NaN or infinite values", stacks.path,
                "replace them and save again",
            )  # fmt: skip
        return volume


class _Child:
    """The process that has one file open.

    Every answer has a time limit: a timer ends the process, which ends the waiting.
    """

    def __init__(self, path: Path, process: subprocess.Popen[bytes]) -> None:
        self._path = path
        self._process = process
        self._hung = False

    @classmethod
    @contextmanager
    def reading(cls, path: Path) -> Iterator[_Child]:
        """Start a process that opens ``path``; end it with the block."""
        kind = kind_of(path.name)
        assert kind is not None
        process = subprocess.Popen(
            [*PYTHON, kind.module, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is the daemon's, which finishes the stack in hand
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        try:
            yield cls(path, process)
        finally:
            process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    with suppress(OSError):
                        pipe.close()
            with suppress(subprocess.TimeoutExpired):  # held inside the system by a dead disk
                process.wait(_ENDS_S)

    def describe(self, file_bytes: int) -> Description:
        """Return what the file holds; raises ``ReaderError`` and ``StackError``."""
        with self._limit(_DESCRIBE_S + file_bytes / (10 * _SLOWEST_BYTES_PER_S)):
            length = self._header(Kind.DESCRIPTION)
            if length > MAX_TEXT:
                raise self._lied(f"a description of {length:,} bytes")
            data = bytearray(length)
            self._fill(memoryview(data))
            try:
                return Description.from_json(bytes(data), file_bytes)
            except ProtocolError as error:
                raise self._lied(str(error)) from error

    def read(self, index: StackIndex, volume: Volume) -> None:
        """Fill ``volume`` with one stack; raises ``ReaderError`` and ``StackError``."""
        with self._limit(_READ_S + volume.nbytes / _SLOWEST_BYTES_PER_S):
            assert self._process.stdin is not None
            with suppress(OSError):  # it died: there is no answer
                self._process.stdin.write(b"%d %d %d\n" % index)
            length = self._header(Kind.VOXELS)
            if length != volume.nbytes:
                raise self._lied(f"{length:,} bytes of voxels where {volume.nbytes:,} belong")
            self._fill(volume.data.cast("B"))

    @contextmanager
    def _limit(self, seconds: float) -> Iterator[None]:
        timer = threading.Timer(seconds, self._end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            timer.join()

    def _end(self) -> None:
        self._hung = True
        self._process.kill()

    def _header(self, wanted: Kind) -> int:
        """Return the length of what follows, of the kind that was asked for."""
        head = bytearray(HEADER.size)
        self._fill(memoryview(head))
        kind, length = HEADER.unpack(head)
        if kind == wanted.encode():
            return int(length)
        if kind not in (Kind.REFUSAL.encode(), Kind.ERROR.encode()) or length > MAX_TEXT:
            raise self._lied(f"an answer of kind {kind!r}")
        text = bytearray(length)
        self._fill(memoryview(text))
        said = bytes(text).decode(errors="replace")
        if kind == Kind.REFUSAL.encode():
            what, _, remedy = said.partition("\n")
            raise StackRefusedError(one_line(what)[:300], self._path, one_line(remedy)[:300])
        raise ReaderError(one_line(said)[:300])

    def _fill(self, buffer: memoryview) -> None:
        assert self._process.stdout is not None
        while buffer:
            try:
                # In pieces, as on Windows a pipe gives no more at once.
                count = self._process.stdout.readinto(buffer[: 2**20])  # type: ignore[attr-defined]
            except OSError:
                count = 0
            if not count:
                raise self._died()
            buffer = buffer[count:]

    def _died(self) -> StackUnreadableError:
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDS_S)
        code = self._process.returncode
        what = f"its reader died over it (code {code})"
        if self._hung:
            what = "its reader hung over it and was ended"
        return StackUnreadableError(what, self._path, _REMEDY)

    def _lied(self, what: str) -> StackUnreadableError:
        return StackUnreadableError(f"its reader gave {what}", self._path, _REMEDY)


def _fingerprint(path: Path) -> Fingerprint:
    with opened(path, follow_link=True) as (stream, _):
        return Fingerprint.of(os.fstat(stream.fileno()))


def _file_stacks(path: Path, fingerprint: Fingerprint, said: Description) -> FileStacks:
    kind: VendorKind | None = kind_of(path.name)
    assert kind is not None
    return FileStacks(
        path,
        fingerprint,
        said.positions,
        said.times,
        said.channels,
        said.shape_zyx,
        np.dtype(said.dtype),
        VoxelSize(*said.voxel_um),
        _axes(said),
        said.channel_names,
        said.position_names,
        said.time_increment_s,
        (f"read as {kind.name} by {kind.package}", *said.notes),
    )


def _axes(said: Description) -> str:
    """Return the axes of the result: those of which there is more than one."""
    time, channel = ("T" if said.times > 1 else ""), ("C" if said.channels > 1 else "")
    return f"{time}{channel}ZYX"
