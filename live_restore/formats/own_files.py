"""Which files of a folder are an acquisition's own, and which a person put beside them.

People save projections, exports and copies into the folder of a run, before, during and after it.
What an acquisition is made of follows from its own names, from what its program wrote beside them,
and from what its headers say; never from the absence of anything else.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Collection, Iterable
from itertools import islice
from pathlib import Path

from live_restore.errors import StackBusyError, StackError
from live_restore.files.raw_data import opened, read_at
from live_restore.formats.tiff.tags import byte_order_of

_IMAGES = (".tif", ".tiff", ".btf", ".tf2", ".tf8")
_HEAD_BYTES = 12
_ASKED = 200
"""Entries of a folder inside an acquisition that are looked at for images."""
MAX_FOREIGN = 20
"""Names that are kept; more are said to be more."""


def is_image(name: str) -> bool:
    """Return whether a file of this name may hold images.

    >>> is_image("MAX_run.TIF"), is_image("notes.txt")
    (True, False)
    """
    return name.lower().endswith(_IMAGES)


def own_group(
    folder_name: str,
    groups: Collection[str],
    *,
    companions: Collection[str] = (),
    genuine: Callable[[str], bool] = lambda _: True,
) -> str | None:
    """Return which group of files is the acquisition's own, ``None`` where nothing tells.

    Parameters
    ----------
    folder_name
        Programs give a folder and its files one name.
    groups
        The names that files of one acquisition have in common.
    companions
        Groups beside whose files lies what only the program writes.
    genuine
        Whether the header of a group's files is the program's; asked last.

    Examples
    --------
    >>> own_group("run_1", ["MAX_run_1", "run_1"])
    'run_1'
    >>> own_group("cell A", ["run_1", "other_1"], companions=["run_1"])
    'run_1'
    >>> own_group("cell A", ["run_1", "other_1"]) is None
    True
    """
    if folder_name in groups:
        return folder_name
    for certain in (groups, [each for each in groups if each in companions]):
        if len(certain) == 1:
            return next(iter(certain))
    real = [each for each in groups if genuine(each)]
    return real[0] if len(real) == 1 else None


def begins_with(path: Path, marker: int) -> bool:
    """Return whether a TIFF file has this number behind its header, or is still all zeros.

    Both formats of Micro-Manager keep a number of their own there, which is written first.
    """
    try:
        with opened(path) as (stream, _):
            head = read_at(stream, 0, _HEAD_BYTES)
    except StackBusyError:
        return True  # locked by whoever writes it
    except StackError:
        return False
    if len(head) < _HEAD_BYTES:
        return False
    if head[:4] not in (b"II*\0", b"MM\0*"):
        return not any(head)
    return struct.unpack_from(byte_order_of(head) + "I", head, 8)[0] in (0, marker)


class ForeignFiles:
    """Images, and folders with images, that lie in an acquisition's folder and are not its own.

    Parameters
    ----------
    folder
        The acquisition's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, None] = {}

    def look(self, files: Iterable[str], folders: Iterable[str] = ()) -> None:
        """Take down names that are not the acquisition's own, as far as they may hold images."""
        for name in files:
            if is_image(name):
                self._add(name)
        for name in folders:
            if name not in self._names and not name.startswith(".") and self._holds_images(name):
                self._add(name)

    def _add(self, name: str) -> None:
        if len(self._names) < MAX_FOREIGN:
            self._names[name] = None

    def _holds_images(self, name: str) -> bool:
        if len(self._names) >= MAX_FOREIGN:
            return False
        try:
            with os.scandir(self._folder / name) as entries:
                return any(is_image(each.name) for each in islice(entries, _ASKED))
        except OSError:
            return False

    @property
    def names(self) -> tuple[str, ...]:
        """The names, in the order in which they were found, not more than some."""
        return tuple(self._names)


def grouped(names: Iterable[str], group_of: Callable[[str], str | None]) -> dict[str, list[str]]:
    """Return names by the group that they belong to, without those that belong to none.

    >>> grouped(["a1", "b1", "a2"], lambda name: name[0])
    {'a': ['a1', 'a2'], 'b': ['b1']}
    """
    groups: dict[str, list[str]] = {}
    for name in names:
        group = group_of(name)
        if group is not None:
            groups.setdefault(group, []).append(name)
    return groups
