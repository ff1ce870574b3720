"""Looks at a TIFF file that grows, each time from where the last look ended.

A walk from the first directory at every look would be quadratic in the number of planes.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

from live_restore.errors import StackUnreadableError
from live_restore.formats.file_format import Arriving
from live_restore.formats.tiff.directory import MissingError
from live_restore.formats.tiff.examine import Declared, Examined, Taken, examine
from live_restore.formats.tiff.page import Structure
from live_restore.formats.tiff.structure import Walker, go_on
from live_restore.stack import Fingerprint

_LOOKS_KEPT = 16
"""Files that one thread watches growing at the same time; 30,000 planes take 15 MB."""

_RECHECKED = 64
"""Planes whose directories were there before their pixels that a look asks after again."""

_TEXT_BYTES = 2**16
"""Of the description that are compared: all of most. OME-XML that is completed gets longer."""


@dataclass
class Look:
    """What the last look at a file found.

    ``states``, ``checked`` and ``declared`` are what others know of its planes: see ``blank.py``
    and ``examine.py``.
    """

    walker: Walker
    identity: tuple[int, int]
    header: bytes = b""
    text: bytes = b""
    structure: Structure | None = None
    states: bytearray = field(default_factory=bytearray)
    checked: int = 0
    declared: Declared | None = None

    def go_on(self, stream: BinaryIO, size: int) -> Structure:
        """Walk on to where the file ends now; raises ``StackUnreadableError``."""
        walker = self.walker
        walker.stream, walker.size = stream, size
        walker.faults.pop(len(walker.pages), None)  # what broke the chain off may be mended
        counted = replace(walker.found)
        self._ask_again()
        # What was counted once must not be counted at every look.
        counted.decoded_bytes = walker.found.decoded_bytes
        counted.text_bytes = sum(len(text) for text in walker.later.values())
        walker.found = counted
        structure = go_on(walker)
        self.header, self.text = structure.header, self._first_text()
        self.structure = structure
        return structure

    def examined(
        self, stream: BinaryIO, fingerprint: Fingerprint, path: Path, taken: Taken
    ) -> Examined | Arriving:
        """Walk on, and examine what is new; raises as ``examine`` does."""
        structure = self.go_on(stream, fingerprint.size)
        found = examine(structure, fingerprint, path, taken, self.checked, self.declared)
        if isinstance(found, Examined):
            self.checked, self.declared = len(structure.series_pages), found.declares
        return found

    def goes_on(self, stream: BinaryIO, status: os.stat_result) -> bool:
        """Return whether the file still begins, and goes on, as it did."""
        walker = self.walker
        if self.identity != (status.st_dev, status.st_ino) or status.st_size < walker.size:
            return False
        if not walker.pages:
            return False
        walker.stream, walker.size = stream, status.st_size
        counted = replace(walker.found)
        ends = ((next(iter(walker.at)), 0), (next(reversed(walker.at)), len(walker.pages) - 1))
        try:
            stream.seek(0)
            same = stream.read(len(self.header)) == self.header and all(
                # Their pixels are counted already: twice, they would be more than the file holds.
                walker.described(offset, index)[0] == walker.pages[index]
                for offset, index in ends
            )
            return same and self._first_text() == self.text
        except (MissingError, StackUnreadableError):
            return False
        finally:
            walker.found = counted

    def _ask_again(self) -> None:
        """Look again at pages whose directories were there before their pixels."""
        walker = self.walker
        lacking = sorted(n for n, e in walker.faults.items() if isinstance(e, MissingError))
        if not lacking:
            return
        offsets = list(walker.at)
        for index in lacking[:_RECHECKED]:
            try:
                walker.pages[index] = walker.look_at(offsets[index], index)[0]
            except (MissingError, StackUnreadableError) as fault:
                walker.faults[index] = fault

    def _first_text(self) -> bytes:
        tags = self.walker.first[1]
        if not tags:
            return b""
        count = min(_TEXT_BYTES, tags[0].count)
        try:
            return self.walker.read(tags[0].at, count, "a text")
        except MissingError:
            return b""


class Looks:
    """The last looks at a few files."""

    def __init__(self) -> None:
        self._looks: OrderedDict[Path, Look] = OrderedDict()

    def at(self, path: Path, stream: BinaryIO, status: os.stat_result) -> Look:
        """Return the last look at a file, or a first one where it is another than it was."""
        look = self._looks.pop(path, None)
        if look is None or not look.goes_on(stream, status):
            look = Look(Walker(stream, status.st_size, path), (status.st_dev, status.st_ino))
        self._looks[path] = look
        while len(self._looks) > _LOOKS_KEPT:
            self._looks.popitem(last=False)
        return look

    def last(self, path: Path) -> Look:
        """Return the last look at a file, at which :meth:`at` has just been."""
        return self._looks[path]

    def forget(self, path: Path) -> None:
        """The file is whole, or of no use."""
        self._looks.pop(path, None)
