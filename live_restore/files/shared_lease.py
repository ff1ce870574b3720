"""Leases of results that several computers could make: a small file beside the result.

::

    .cell.ome.tif.<digest>.1.lease   held by one process, which rewrites it thrice per lease
          │ unchanged for too long, by the clock of whoever looks
          v
    .cell.ome.tif.<digest>.2.lease   held by whoever made it first; the highest number counts

A file is only ever made where there is none (``O_EXCL``, which NFS from version 3 and SMB keep), so
that of two who take over only one gets it; nothing that somebody may still hold is removed. No
clocks are compared: who looks remembers what was written, and since when, by its own clock, it has
not changed. A process that was taken over (a computer that slept) finds the higher number before it
publishes, and gives its work up.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Container
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from live_restore.errors import OutputError, StackBusyError, one_line
from live_restore.files.publish import disk_errors, make_folder, system_identity
from live_restore.files.reading import read_regular
from live_restore.files.values import NotJsonError, json_object

SUFFIX = ".lease"
_MAX_BYTES = 4096
_BEATS_PER_LEASE = 3
# Of whoever looks: a share may hold back what was written for as long as it caches (seconds).
_PATIENCE = 2.0
_LONGEST_LEASE_S = 3600.0
# Lower numbers are removed first: whoever dies in between leaves a gap below his own.
_MOST_MISSED = 4


@dataclass(frozen=True)
class _Found:
    """A lease file of somebody: its number, what is in it, and what that says."""

    number: int
    path: Path
    content: bytes

    @property
    def holder(self) -> str:
        """Which computer holds it, for people."""
        return one_line(str(self._values().get("host", "another process")))[:80]

    @property
    def lease_s(self) -> float:
        """How long it may stay unchanged (s)."""
        stated = self._values().get("lease_s")
        if isinstance(stated, (int, float)) and 0 < stated <= _LONGEST_LEASE_S:
            return float(stated)
        return _LONGEST_LEASE_S

    def is_of_the_dead(self, mine: Container[Path]) -> bool:
        """Return whether a process of this very system made it that is not there any more."""
        values = self._values()
        process = values.get("process")
        if values.get("system") != system_identity() or not isinstance(process, int):
            return False
        if process == os.getpid():
            return self.path not in mine
        return not psutil.pid_exists(process)

    def _values(self) -> dict[str, object]:
        try:
            return json_object(self.content)
        except NotJsonError:  # torn: whoever made it died at that moment, or is writing
            return {"lease_s": 60.0}


class SharedLease:
    """A lease that this process holds.

    Parameters
    ----------
    result
        What it is of.
    number, path
        Its file.
    values
        Say whose it is; a beat is added at every writing.
    """

    def __init__(self, result: Path, number: int, path: Path, values: dict[str, object]) -> None:
        self.result = result
        self.path = path
        self._number = number
        self._values = values
        self._beats = 0

    def content(self) -> bytes:
        """Return what the file holds now."""
        return json.dumps({**self._values, "beat": self._beats}).encode()

    def beat(self) -> None:
        """Show that its holder lives; a share that is away shows nothing, and others take over."""
        self._beats += 1
        with suppress(OSError), self.path.open("r+b") as file:
            file.write(self.content())

    def require(self) -> None:
        """Refuse to go on where somebody has taken over.

        Raises
        ------
        StackBusyError
            Somebody has.
        """
        last = _highest(self.result)
        if last is None or last.number != self._number:
            who = "somebody" if last is None else last.holder
            raise StackBusyError(
                f"{who} took over while this computer did not answer", self.result, ""
            )

    def release(self) -> None:
        """Let others have it; those that were left by the dead go with it."""
        for number, path in _all(self.result):
            if number < self._number:
                with suppress(OSError):
                    path.unlink()
        with suppress(OSError):  # the last: until now nobody could begin with a lower number
            self.path.unlink()


class SharedLeases:
    """Takes leases, and keeps them alive from a thread of its own.

    Parameters
    ----------
    lease_s
        A lease that is not renewed for so long may be taken over (s).
    clock
        The time (monotonic s).
    """

    def __init__(self, lease_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._lease_s = min(lease_s, _LONGEST_LEASE_S)
        self._clock = clock
        self._seen: dict[Path, tuple[bytes, float]] = {}
        self._held: set[SharedLease] = set()
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._thread: threading.Thread | None = None

    def take(self, result: Path) -> SharedLease:
        """Return the lease of a result.

        Raises
        ------
        StackBusyError
            Another process holds it.
        OutputError
            The disk refused.
        """
        with disk_errors(result):
            make_folder(result.parent)
            last = _highest(result)
            if last is not None:
                self._require_dead(result, last)
            number = 1 if last is None else last.number + 1
            values: dict[str, object] = {
                "host": socket.gethostname(),
                "system": system_identity(),
                "process": os.getpid(),
                "token": secrets.token_hex(8),
                "lease_s": self._lease_s,
            }
            path = _path(result, number)
            lease = SharedLease(result, number, path, values)
            try:
                with path.open("xb") as file:
                    file.write(lease.content())
            except FileExistsError:
                raise StackBusyError("another computer took it just now", result, "") from None
        self._seen.pop(result, None)
        with self._lock:
            self._held.add(lease)
            if self._thread is None:
                self._thread = threading.Thread(target=self._beat, name="leases", daemon=True)
                self._thread.start()
        return lease

    def end(self, lease: SharedLease) -> None:
        """Release a lease."""
        with self._lock:
            self._held.discard(lease)
        lease.release()

    def sweep(self, result: Path) -> None:
        """Remove what the dead left beside a result that is there; what may be held stays.

        It is taken over and released, as by somebody who wants to make the result: thus nobody
        ever removes what he does not hold.
        """
        # Whatever is in the way of it is in nobody else's way: the result is there.
        with suppress(OSError, StackBusyError, OutputError):
            if _highest(result) is not None:
                self.end(self.take(result))

    def close(self) -> None:
        """End the thread; what is still held goes stale."""
        self._closing.set()
        if self._thread is not None:
            self._thread.join()

    def _require_dead(self, result: Path, last: _Found) -> None:
        if last.is_of_the_dead({lease.path for lease in self._held}):
            return
        now = self._clock()
        content, since = self._seen.get(result, (b"", now))
        if content != last.content:
            since = now
        self._seen[result] = (last.content, since)
        if now - since < _PATIENCE * last.lease_s:
            raise StackBusyError(f"is being restored by {last.holder}", result, "")

    def _beat(self) -> None:
        while not self._closing.wait(self._lease_s / _BEATS_PER_LEASE):
            with self._lock:
                held = tuple(self._held)
            for lease in held:
                lease.beat()


def _path(result: Path, number: int) -> Path:
    """Return the name of a lease: hidden, and short, whatever the result is called."""
    digest = hashlib.sha256(os.fsencode(result.name)).hexdigest()[:12]
    return result.parent / f".{result.name[:30]}.{digest}.{number}{SUFFIX}"


def _all(result: Path) -> list[tuple[int, Path]]:
    """Return the leases that there are, the one that counts last."""
    found: list[tuple[int, Path]] = []
    number = missed = 0
    while missed <= _MOST_MISSED:
        number += 1
        path = _path(result, number)
        missed = 0 if path.exists() else missed + 1
        if not missed:
            found.append((number, path))
    return found


def _highest(result: Path) -> _Found | None:
    """Return the lease that counts; raises ``OSError``."""
    for number, path in reversed(_all(result)):
        try:
            return _Found(number, path, read_regular(path, _MAX_BYTES))
        except FileNotFoundError:  # released between the two looks
            continue
    return None
