"""Looks into Micro-Manager's window through its server, in a process that may hang and be killed.

    python -m live_restore.hooks.micromanager_bridge 4827 FOLDER SINCE UNSAVED_SINCE

Its client has no time limit once it is connected: when Micro-Manager hangs, so does this process.
It therefore writes to standard output all the time, one JSON object per line, and whoever started
it kills it when it falls silent::

    {"say": "connected"}                  from now on
    {"say": "alive"}                      nothing new
    {"say": "run", "path": PATH, "started": S, "over": false}
                                          an acquisition is being saved there, or spooled
                                          (spool.py); S: when it began (s since 1970), or null
    {"say": "ended", "path": PATH}        and is over; "left_out": TEXT of what was not spooled,
                                          "unsaved": S of one that was
    {"say": "note", "what": TEXT}         something for the person
    {"say": "lost", "why": TEXT}          no connection, or not any more; the process ends

Which acquisitions are the daemon's is one rule for both of Micro-Manager's engines: those that are
going on, and those that were not over yet when it began (SINCE, s since 1970).

Methods of Micro-Manager's objects as of its version 2.0.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
import warnings
from contextlib import suppress
from pathlib import Path
from typing import Any

from live_restore.errors import LiveRestoreError, OutputError, one_line
from live_restore.hooks import console
from live_restore.hooks.leash import end_when_dropped
from live_restore.hooks.micromanager_runs import (
    IgnoredRun,
    Run,
    UnsavedRun,
    last_image_at,
    started_at,
    tell,
)
from live_restore.installation import install_with

_POLL_S = 0.1
# What an engine does not tell is found in the windows that show it.
_VIEWERS_S = 1.0
_CONNECT_MS = 2000

Identity = tuple[str | None, float | None]
"""Where an acquisition is saved, and when it began: a path alone may be used again."""


class Looking:
    """What is going on in one Micro-Manager.

    Parameters
    ----------
    studio
        Micro-Manager's ``Studio``.
    folder
        Where planes of acquisitions that are not saved go.
    since
        What was over by then is not ours (s since 1970); 0: all is.
    unsaved_since
        The same for acquisitions that are not saved: when the last one began that was pulled.
    """

    def __init__(
        self, studio: Any, folder: Path, since: float = 0.0, unsaved_since: float = 0.0
    ) -> None:
        self._studio = studio
        self._folder = folder
        self._since = since
        self._unsaved_since = max(since, unsaved_since)
        self._runs: list[Run] = []
        self._viewers_at = -float("inf")
        self._known: set[Identity] = set()

    def look(self) -> None:
        """Look once, and send what there is."""
        for run in list(self._runs):
            self._follow(run)
        # The windows, whatever the engine says: its store may be gone before the next look
        # (AcqEngJ), or be that of an earlier run for as long as Micro-Manager lives (the default
        # engine). Before the engine, so that of several what it does counts as the newest.
        if time.monotonic() >= self._viewers_at:
            for provider in self._viewed():
                self._consider(provider, only_shown=True)
            self._viewers_at = time.monotonic() + _VIEWERS_S
        # Asked for anew each time: when a person switches "Use new Acquisition Engine", it is
        # another object, with a store of its own.
        store = self._studio.get_acquisition_engine().get_acquisition_datastore()
        if store is not None:
            self._consider(store)
        tell("alive")

    def _follow(self, run: Run) -> None:
        # Asked before the last look: what was there when it froze is drained in that look.
        over = bool(run.store.is_frozen())
        run.look(over=over)
        if over:
            run.close()
            self._known.add(_identity(run.store))  # what it did not tell yet when it was found
            self._runs.remove(run)

    def _consider(self, store: Any, *, only_shown: bool = False) -> None:
        """Take up the acquisition of a store, if it is a new one and ours.

        ``only_shown``: no engine has named it. It may be of the engine that is not chosen any more,
        or a data set that a script made and never closed.
        """
        path, began = identity = _identity(store)
        if identity in self._known:
            return
        frozen = bool(store.is_frozen())
        if only_shown and not frozen and not self._is_ours(path, began):
            return  # unless it turns out to be, when it is over
        nameless = identity == (None, None)
        if nameless and self._runs:
            return  # most likely the one that is followed already
        if not nameless:
            self._known.add(identity)
        if frozen and not self._is_ours(path, began):
            return
        run = Run(store, path, over=frozen) if path else self._pulled(store, over=frozen)
        if frozen:
            run.look(over=True)
            run.close()
        else:
            self._runs.append(run)

    def _is_ours(self, path: str | None, began: float | None) -> bool:
        """Return whether an acquisition that is over ended after the daemon had begun."""
        if path is None:
            return began is not None and began > self._unsaved_since
        return (began or 0.0) >= self._since or last_image_at(path) >= self._since

    def _pulled(self, store: Any, *, over: bool) -> Run:
        try:
            return UnsavedRun(self._studio, store, self._folder, over=over)
        except OutputError as error:
            tell("note", what=f"{error}; this acquisition is not restored: save it to disk instead")
            return IgnoredRun(store)

    def _viewed(self) -> list[Any]:
        """Return what windows show that is saved: no snapped images, no live view."""
        viewers = self._studio.displays().get_all_data_viewers()
        providers = [viewers.get(number).get_data_provider() for number in range(viewers.size())]
        return [p for p in providers if hasattr(p, "get_save_path") and p.get_save_path()]


def _identity(store: Any) -> Identity:
    return store.get_save_path() or None, started_at(store)


def _leave_with_micro_manager(beside: socket.socket, port: int) -> None:
    """End this process when Micro-Manager's ends: its client is never told.

    A plain connection is closed by the system at once. The server closes it, too, when nobody has
    introduced himself for a while (ZeroMQ: 30 s): then it takes another one.
    """
    while True:
        with suppress(OSError), beside:
            while beside.recv(4096):
                pass
        time.sleep(_POLL_S)
        try:
            beside = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_MS / 1000)
            beside.settimeout(None)
        except OSError:
            tell("lost", why="it was closed, or has died")
            os._exit(0)


def main(port: int, folder: Path, since: float, unsaved_since: float) -> None:
    """Look until the connection is lost."""
    end_when_dropped()
    console.keep_stdout_for_lines()
    # A server of another version shows by what fails, not by a warning that nobody reads.
    warnings.simplefilter("ignore")
    try:
        # The client would try for its whole time limit, at full speed.
        beside = socket.create_connection(("127.0.0.1", port), timeout=_CONNECT_MS / 1000)
        beside.settimeout(None)
        from pycromanager import Studio

        studio = Studio(port=port, timeout=_CONNECT_MS, new_socket=True)
        threading.Thread(
            target=_leave_with_micro_manager, args=(beside, port), name="beside", daemon=True
        ).start()
        looking = Looking(studio, folder, since, unsaved_since)
        tell("connected")
        while True:
            looking.look()
            time.sleep(_POLL_S)
    except ImportError as error:
        tell("lost", why=f"{one_line(error)}; {install_with('micromanager')}")
    except LiveRestoreError as error:
        tell("lost", why=str(error))
    except Exception as error:  # noqa: BLE001 - the client raises bare exceptions for everything
        tell("lost", why=one_line(error) or type(error).__name__)
    finally:
        os._exit(0)  # the client's own clean-up waits for a server that may be gone


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4]))
