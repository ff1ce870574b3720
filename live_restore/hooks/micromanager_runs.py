"""The acquisitions that go on in Micro-Manager's window, and what is taken of each.

One that is saved is only reported: its files are followed by another process. The planes of one
that is not are pulled through Micro-Manager and spooled (``spool.py``).
"""

from __future__ import annotations

import datetime
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

from live_restore.errors import OutputError
from live_restore.files.user_folders import fresh_folder
from live_restore.formats.plan import IntendedPlan
from live_restore.hooks import console
from live_restore.hooks.spool import Spool
from live_restore.stack import StackIndex, VoxelSize

_IMAGE_ENDINGS = (".tif", ".index")
_FILES_DATED = 10_000


def tell(say: str, **more: str | float | bool | None) -> None:
    """Send one line to the process that started this one; see ``micromanager_bridge.py``."""
    console.emit(json.dumps({"say": say, **more}))


def started_at(store: Any) -> float | None:
    """Return when a store's acquisition began (s since 1970), ``None`` where it does not tell."""
    # Windows show data of plug-ins, too, which know more or less than Micro-Manager's own.
    summary = store.get_summary_metadata() if hasattr(store, "get_summary_metadata") else None
    if summary is None or not hasattr(summary, "get_start_date"):
        return None
    return parsed_date(summary.get_start_date())


def parsed_date(text: object) -> float | None:
    """Return the time (s since 1970) that Micro-Manager writes, ``None`` for anything else.

    Examples
    --------
    >>> parsed_date("2026-11-22 07:47:59.181 +0000"), parsed_date("2016-07-06 10:50:32 +0200")
    (1795333679.181, 1467795032.0)
    >>> parsed_date("Wed Jul 06") is None, parsed_date(None) is None
    (True, True)
    """
    for form in ("%Y-%m-%d %H:%M:%S.%f %z", "%Y-%m-%d %H:%M:%S %z"):
        with suppress(ValueError, OverflowError):
            return datetime.datetime.strptime(str(text), form).timestamp()
    return None


def last_image_at(path: str) -> float:
    """Return when the newest image file of a saved acquisition was written (s since 1970).

    0 where there is none. Other files do not count: closing the window of an old acquisition
    writes its ``DisplaySettings.json`` once more.
    """
    newest = 0.0
    folders = [path]
    with suppress(OSError), os.scandir(path) as entries:
        folders += [e.path for e in entries if e.is_dir(follow_symlinks=False)]  # of positions
    dated = 0
    for folder in folders:
        with suppress(OSError), os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.endswith(_IMAGE_ENDINGS) and dated < _FILES_DATED:
                    dated += 1
                    newest = max(newest, entry.stat(follow_symlinks=False).st_mtime)
    return newest


class Run:
    """An acquisition that is saved.

    The store is kept until it is frozen: Micro-Manager forgets it before its last planes.

    Parameters
    ----------
    store
        Its ``Datastore``.
    path
        Where it is saved.
    over
        Whether it was found when it was over already.
    """

    def __init__(self, store: Any, path: str, *, over: bool = False) -> None:
        self.store = store
        self.path = path
        self._started = started_at(store)
        tell("run", path=path, started=self._started, over=over)

    def look(self, *, over: bool) -> None:
        """Take what is new."""

    def close(self) -> None:
        """The acquisition is over."""
        tell("ended", path=self.path)


class IgnoredRun(Run):
    """Not saved, and there is no place for it: its end is waited for, and nothing else."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def close(self) -> None:
        """Its beginning was not reported, either."""


class UnsavedRun(Run):
    """Its planes are pulled, in the order of time points, and spooled.

    Parameters
    ----------
    studio
        Micro-Manager's ``Studio``.
    store, over
        As of :class:`Run`.
    folder
        Gets a folder with its planes.

    Raises
    ------
    OutputError
        There is no place for it.
    """

    def __init__(self, studio: Any, store: Any, folder: Path, *, over: bool = False) -> None:
        summary = store.get_summary_metadata()
        dimensions = summary.get_intended_dimensions()
        self._sizes = (
            max(1, dimensions.get_t()),
            max(1, dimensions.get_p()),
            max(1, dimensions.get_c()),
            max(1, dimensions.get_z()),
        )
        self._data = studio.data()
        self._names = [summary.get_safe_channel_name(c) for c in range(self._sizes[2])]
        self._z_um = summary.get_z_step_um()
        self._spool: Spool | None = None
        self._where = fresh_folder(folder)
        self._taken: dict[StackIndex, set[int]] = {}
        self._count = self._front = 0
        self._refused = False
        self._left_out: list[str] = []
        super().__init__(store, str(self._where), over=over)

    def look(self, *, over: bool) -> None:
        """Pull the planes that are new; all that are left once the acquisition is over."""
        if not self._refused:
            try:
                self._pull_new(over=over)
            except OutputError as error:  # of the disk: no reason to begin anew with Micro-Manager
                self._refuse(error)

    def _refuse(self, error: OutputError) -> None:
        self._refused = True
        self._left_out.append(f"the disk refused its planes ({error.what})")
        tell(
            "note",
            what=f"{error}; the rest of this acquisition is not restored: save it to disk instead",
        )

    def _pull_new(self, *, over: bool) -> None:
        times, positions, channels, _ = self._sizes
        there = self.store.get_num_images()
        if there == self._count:
            return
        last = times if over else min(times, self._front + 2)
        for t in range(0 if over else self._front, last):
            before = self._count
            for p in range(positions):
                for c in range(channels):
                    self._pull(StackIndex(p, t, c), whole=over)
            if self._count == there:
                return
            if self._count == before and t == self._front and self._began(t + 1):
                self._front += 1

    def _began(self, t: int) -> bool:
        return any(stack_index.time == t for stack_index in self._taken)

    def _pull(self, stack_index: StackIndex, *, whole: bool) -> None:
        """Pull the new planes of a stack; ``whole``: do not stop at the first that is missing."""
        taken = self._taken.get(stack_index, set())
        for z in range(self._sizes[3]):
            if z in taken:
                continue
            coords = self._data.create_coords(
                f"time={stack_index.time},position={stack_index.position},channel={stack_index.channel},z={z}"
            )
            if self.store.has_image(coords):
                image = self.store.get_image(coords)
                self._take(stack_index, z, image)
                tell("alive")
            elif not whole:
                return

    def _take(self, stack_index: StackIndex, z: int, image: Any) -> None:
        if self._spool is None:
            pixel_um = image.get_metadata().get_pixel_size_um()
            self._spool = Spool(
                self._where,
                IntendedPlan(self._sizes[3]),
                voxel=VoxelSize(self._z_um or None, pixel_um or None, pixel_um or None),
                channel_names=self._names,
            )
        pixels = image.get_raw_pixels().reshape(image.get_height(), image.get_width())
        self._spool.add(stack_index, z, pixels)
        self._taken.setdefault(stack_index, set()).add(z)
        self._count += 1

    def close(self) -> None:
        """Publish what is whole, and report what is left out."""
        if self._spool is not None:
            try:
                self._left_out += self._spool.finish()
            except OutputError as error:
                self._refuse(error)
        tell("ended", path=self.path, left_out="; ".join(self._left_out), unsaved=self._started)
