"""Looks into Micro-Manager's window through its server, in a process that may hang and be killed.

    python -m live_restore.hooks.micromanager_bridge 4827 FOLDER

Its client has no time limit once it is connected: when Micro-Manager hangs, so does this process.
It therefore writes to standard output all the time, one JSON object per line, and whoever started
it kills it when it falls silent::

    {"say": "connected"}                  from now on
    {"say": "alive"}                      nothing new
    {"say": "run", "path": PATH}          an acquisition is being saved there, or spooled (spool.py)
    {"say": "ended", "path": PATH}        and is over
    {"say": "note", "what": TEXT}         something for the person
    {"say": "lost", "why": TEXT}          no connection, or not any more; the process ends

Methods of Micro-Manager's objects as of its version 2.0.
"""

from __future__ import annotations

import json
import os
import socket
import sys
import threading
import time
import warnings
from pathlib import Path
from typing import Any

from live_restore.errors import LiveRestoreError, OutputError, one_line
from live_restore.files.user_folders import fresh_folder
from live_restore.formats.plan import IntendedPlan
from live_restore.hooks import console
from live_restore.hooks.leash import wait_until_dropped
from live_restore.hooks.spool import Spool
from live_restore.stack import StackIndex, VoxelSize

_POLL_S = 0.1
# Acquisitions that begin and end between two polls are found in the windows that show them.
_VIEWERS_S = 1.0
_CONNECT_MS = 2000


class Looking:
    """What is going on in one Micro-Manager.

    Parameters
    ----------
    studio
        Micro-Manager's ``Studio``.
    folder
        Where planes of acquisitions that are not saved go.
    """

    def __init__(self, studio: Any, folder: Path) -> None:
        self._studio = studio
        self._engine = studio.get_acquisition_engine()
        self._folder = folder
        self._run: _Run | None = None
        self._viewers_at = time.monotonic() + _VIEWERS_S
        self._seen = set(self._viewed())  # windows of before are not ours

    def look(self) -> None:
        """Look once, and send what there is."""
        if self._run is None:
            self._find()
        else:
            # Asked before the last look: what was there when it froze is drained in that look.
            over = bool(self._run.store.is_frozen())
            self._run.look(over=over)
            if over:
                self._run.close()
                self._run = None
        tell("alive")

    def _find(self) -> None:
        store = self._engine.get_acquisition_datastore()
        if store is not None:
            path = store.get_save_path()
            if path:
                if path not in self._seen:
                    self._seen.add(path)
                    self._run = _SavedRun(store, path)
            elif not store.is_frozen():
                self._run = self._pulled(store)
        elif time.monotonic() >= self._viewers_at:
            self._viewers_at = time.monotonic() + _VIEWERS_S
            for path in self._viewed():
                if path not in self._seen:
                    self._seen.add(path)
                    tell("run", path=path)
                    tell("ended", path=path)

    def _pulled(self, store: Any) -> _Run:
        try:
            return _UnsavedRun(self._studio, store, self._folder)
        except OutputError as error:
            tell("note", what=f"{error}; this acquisition is not restored: save it to disk instead")
            return _IgnoredRun(store)

    def _viewed(self) -> list[str]:
        """Return where acquisitions are saved that windows show and that are over."""
        viewers = self._studio.displays().get_all_data_viewers()
        found = []
        for number in range(viewers.size()):
            provider = viewers.get(number).get_data_provider()
            path = provider.get_save_path() if hasattr(provider, "get_save_path") else None
            if path and provider.is_frozen():
                found.append(path)
        return found


class _Run:
    """An acquisition that goes on in Micro-Manager.

    The store is kept until it is frozen: Micro-Manager forgets it before its last planes.
    """

    def __init__(self, store: Any, path: str) -> None:
        self.store = store
        self.path = path
        tell("run", path=path)

    def look(self, *, over: bool) -> None:
        """Take what is new."""

    def close(self) -> None:
        """The acquisition is over."""
        tell("ended", path=self.path)


class _IgnoredRun(_Run):
    """Not saved, and there is no place for it: its end is waited for, and nothing else."""

    def __init__(self, store: Any) -> None:
        self.store = store

    def close(self) -> None:
        """Its beginning was not reported, either."""


class _SavedRun(_Run):
    """Its files are followed by another process."""


class _UnsavedRun(_Run):
    """Its planes are pulled, in the order of time points, and spooled."""

    def __init__(self, studio: Any, store: Any, folder: Path) -> None:
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
        super().__init__(store, str(self._where))

    def look(self, *, over: bool) -> None:
        """Pull the planes that are new; all that are left once the acquisition is over."""
        if not self._refused:
            try:
                self._pull_new(over=over)
            except OutputError as error:  # of the disk: no reason to begin anew with Micro-Manager
                self._refuse(error)

    def _refuse(self, error: OutputError) -> None:
        self._refused = True
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
        """Publish what is whole, and report what is not."""
        if self._spool is not None:
            try:
                left = self._spool.finish()
            except OutputError as error:
                left = 0
                self._refuse(error)
            if left:
                tell("note", what=f"{self.path}: {left} stacks are incomplete and not restored")
            if self._spool.left_out:
                what = f"no room for {self._spool.left_out} planes; save to disk instead"
                tell("note", what=f"{self.path}: {what}")
        super().close()


def tell(say: str, **more: str) -> None:
    """Send one line."""
    console.emit(json.dumps({"say": say, **more}))


def _leave_with_the_parent() -> None:
    wait_until_dropped()
    os._exit(0)


def main(port: int, folder: Path) -> None:
    """Look until the connection is lost."""
    threading.Thread(target=_leave_with_the_parent, name="leash", daemon=True).start()
    console.keep_stdout_for_lines()
    # A server of another version shows by what fails, not by a warning that nobody reads.
    warnings.simplefilter("ignore")
    try:
        # The client would try for its whole time limit, at full speed.
        socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_MS / 1000).close()
        from pycromanager import Studio

        looking = Looking(Studio(port=port, timeout=_CONNECT_MS, new_socket=True), folder)
        tell("connected")
        while True:
            looking.look()
            time.sleep(_POLL_S)
    except ImportError as error:
        tell("lost", why=f"{one_line(error)}; pip install 'live-restore[micromanager]'")
    except LiveRestoreError as error:
        tell("lost", why=str(error))
    except Exception as error:  # noqa: BLE001 - the client raises bare exceptions for everything
        tell("lost", why=one_line(error) or type(error).__name__)
    finally:
        os._exit(0)  # the client's own clean-up waits for a server that may be gone


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
