"""The seam behind which file formats live: one file, one or more stacks, each whole or not.

The life of a file, from its first byte to a stack in memory:

>>> import tempfile, numpy, tifffile
>>> from live_restore.formats.table import format_for, make_formats
>>> folder = tempfile.TemporaryDirectory()
>>> path = Path(folder.name) / "cell.tif"
>>> file_format = format_for(path, make_formats())  # 1. recognised, by its name alone
>>> file_format.name
'tiff'
>>> _ = path.write_bytes(b"II*\\0")
>>> type(file_format.inspect(path)).__name__  # 2. inspected, as often as it changes: not whole yet
'Arriving'
>>> image = numpy.ones((3, 8, 8), "uint16")
>>> tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})
>>> found = file_format.inspect(path)  # ... and now it is
>>> found.declared, found.file_stacks.shape_zyx, found.file_stacks.indices()
(True, (3, 8, 8), [StackIndex(position=0, time=0, channel=0)])
>>> with file_format.open(found.file_stacks) as reader:  # 3. opened: the very file of 2.
...     volume = reader.read(StackIndex(0, 0, 0))
>>> volume.shape, volume.dtype
((3, 8, 8), dtype('uint16'))
>>> folder.cleanup()

A new format is one file here and one line in ``live_restore/formats/table.py``; or, in a package of
its own, an entry point of the group ``live_restore.file_formats``: its name is the format's, its
object is called without arguments (a class will do) and returns a :class:`FileFormat`::

    [project.entry-points."live_restore.file_formats"]
    czi = "my_package:CziFormat"

Either runs through ``live_restore.testing.formats.FileFormatCompliance``.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, runtime_checkable

from live_restore.stack import FileStacks, StackIndex, Volume


@dataclass(frozen=True)
class StackPlanes:
    """What is there of a stack that has begun and is not, or not surely, whole.

    Parameters
    ----------
    expected
        How many planes it should have.
    present
        Planes (z, ascending) whose bytes are all in the file.
    blank
        Those of them that hold nothing but zeros.
    passed
        Whether a later plane of the file holds data: the writer has gone past it.
    damage
        What is wrong with one of its planes that no more bytes could mend; "": nothing.
    """

    expected: int
    present: tuple[int, ...]
    blank: tuple[int, ...] = ()
    passed: bool = False
    damage: str = ""


@dataclass(frozen=True)
class StacksFound:
    """What is known of each stack of a file that is not whole as it stands.

    Parameters
    ----------
    file_stacks
        The stacks that the file declares, whether they are there or not.
    whole
        Those whose planes are all there and hold data.
    others
        Those that have begun, or that the writer has gone past, and are not surely whole: also one
        that has all its planes while the last of them may still be filled.
    zeros_are_data
        Whether zeros are nothing odd in this file: its planes of data hold many, as those of a
        detector that counts photons do. A camera's offset leaves none.
    """

    file_stacks: FileStacks
    whole: tuple[StackIndex, ...]
    others: Mapping[StackIndex, StackPlanes] = field(default_factory=dict)
    zeros_are_data: bool = False


@dataclass(frozen=True)
class Arriving:
    """Planes are still missing: ``reason`` says which evidence is not there yet.

    ``waits_for_others``: that is in other files, so that this one need not change to be complete.
    ``stacks``: what is there already, where the file says what belongs to which stack.
    ``detail``: the same for those who know the format, for the log.
    """

    reason: str
    waits_for_others: bool = field(default=False, repr=False)
    stacks: StacksFound | None = field(default=None, compare=False, repr=False)
    detail: str = field(default="", compare=False, repr=False)


@dataclass(frozen=True)
class PartOf:
    """A part of an image that is inspected, and read, at ``path``: nothing to restore by itself."""

    path: Path


@dataclass(frozen=True)
class Complete:
    """Every plane is really there.

    ``declared`` is True when the file itself says how many planes it holds; without that, only
    quiet distinguishes a finished file from one that somebody is still appending planes to.
    ``blank_planes`` are planes that hold nothing but zeros (indices from 0, in file order): what
    a pre-allocated file looks like where nothing has been written.
    ``zero_tail`` is True when the last plane that holds anything ends in whole rows of zeros
    although no other plane does: what a reserved file looks like while that plane is being
    written. Processed images may look so too, so it is a reason to wait longer, not to refuse.
    ``stacks``: which stacks the blank planes belong to; ``None`` where every stack is whole, or
    where the format does not say.
    """

    file_stacks: FileStacks
    declared: bool
    blank_planes: tuple[int, ...] = ()
    zero_tail: bool = False
    stacks: StacksFound | None = field(default=None, compare=False, repr=False)


class StackReader(Protocol):
    """Reads the stacks of one open file, in any order."""

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X) in native byte order; raises ``StackError``."""
        ...


class PartialStackReader(StackReader, Protocol):
    """Reads stacks of which planes may be missing, too."""

    def read_planes(self, stack_index: StackIndex, z: range) -> Volume:
        """Return these planes of a stack, (len(z), Y, X); raises as :meth:`read` does."""
        ...


class FileFormat(Protocol):
    """How stacks lie in a file: which are complete, by what evidence, and how to read one.

    All methods open files read-only and keep nothing open afterwards (``open`` until its context
    ends). They trust no byte of it: what comes out is a result or one of these errors, in bounded
    time and memory.
    """

    name: str

    def recognises(self, path: Path) -> bool:
        """Return whether a file of this name is this format's business (nothing is opened)."""
        ...

    def inspect(self, path: Path) -> Arriving | Complete | PartOf | None:
        """Return what is there now; ``None`` for a file that this program itself wrote.

        Of an image over several files, one of them stands for all: its ``FileStacks`` name the
        others, and each of the others is a :class:`PartOf` it.

        Raises
        ------
        StackRefusedError
            Readable, but nothing to restore.
        StackUnreadableError
            Not this format, or damaged beyond what more bytes could mend.
        StackBusyError
            It cannot be opened or read just now; nothing is known about its content.
        StackChangedError
            The file vanished meanwhile.
        """
        ...

    def open(self, file_stacks: FileStacks) -> AbstractContextManager[StackReader]:
        """Open a complete file for reading.

        Raises
        ------
        StackChangedError
            The file is no longer the one that was inspected.
        """
        ...


@runtime_checkable
class GrowingFileFormat(FileFormat, Protocol):
    """A format whose files can be looked into, and read, while they are being written.

    Optional: of a format that is none the stacks are restored once the whole file is there.
    """

    def inspect_growing(self, path: Path) -> Arriving | Complete | PartOf | None:
        """Return what :meth:`inspect` does, without looking again at all that was there before.

        Each thread has its own memory of what it saw. What has been overwritten meanwhile may be
        missed: before a file counts as finished it is inspected as any other.
        """
        ...

    def open_growing(self, file_stacks: FileStacks) -> AbstractContextManager[PartialStackReader]:
        """Open a file that may have grown since it was inspected, or of which planes are missing.

        Raises
        ------
        StackChangedError
            It is another one: shorter, or with other stacks.
        """
        ...
