"""The seam behind which file formats live: one file, one or more stacks, complete all at once.

The life of a file, from its first byte to a stack in memory:

>>> import tempfile, numpy, tifffile
>>> from live_restore.formats.table import format_for, make_formats
>>> folder = tempfile.TemporaryDirectory()
>>> path = Path(folder.name) / "cell.tif"
>>> file_format = format_for(path, make_formats())  # 1. recognised, by its name alone
>>> file_format.name
'tiff'
>>> _ = path.write_bytes(b"II*\\0")
>>> file_format.inspect(path)  # 2. inspected, as often as it changes: not whole yet
Arriving(reason='the header is not complete yet')
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

from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from live_restore.stack import FileStacks, StackIndex, Volume


@dataclass(frozen=True)
class Arriving:
    """Planes are still missing: ``reason`` says which evidence is not there yet.

    ``waits_for_others``: that is in other files, so that this one need not change to be complete.
    """

    reason: str
    waits_for_others: bool = field(default=False, repr=False)


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
    """

    file_stacks: FileStacks
    declared: bool
    blank_planes: tuple[int, ...] = ()
    zero_tail: bool = False


class StackReader(Protocol):
    """Reads the stacks of one open file, in any order."""

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X) in native byte order; raises ``StackError``."""
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
