"""The seam behind which file formats live. A new format is one file here and one line in
``live_restore/formats/table.py``."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from live_restore.stack import FileStacks, StackIndex, Volume


@dataclass(frozen=True)
class Arriving:
    """Planes are still missing: ``reason`` says which evidence is not there yet."""

    reason: str


@dataclass(frozen=True)
class Complete:
    """Every plane is really there.

    ``declared`` is True when the file itself says how many planes it holds; without that, only
    quiet tells a finished file from one that somebody is still appending planes to.
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
    """Reads the stacks of one open dataset, in any order."""

    def read(self, stack_index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X) in native byte order; raises ``StackError``."""
        ...


class Format(Protocol):
    """How stacks lie on disk: which are complete, by what evidence, and how to read one.

    All methods open files read-only and keep nothing open afterwards (``open`` until its context
    ends). They treat every byte as untrusted.
    """

    name: str

    def recognises(self, path: Path) -> bool:
        """Return whether a file of this name is this format's business (nothing is opened)."""
        ...

    def inspect(self, path: Path) -> Arriving | Complete | None:
        """Say what is there now; ``None`` for a file that this program itself wrote.

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
        """Open a complete dataset for reading.

        Raises
        ------
        StackChangedError
            The file is no longer the one that was inspected.
        """
        ...
