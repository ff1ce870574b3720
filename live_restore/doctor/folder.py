"""The folder that is going to be watched: the results' disk, events, and its clock."""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

import psutil

from live_restore.doctor.finding import Finding, Verdict, tried
from live_restore.errors import LiveRestoreError
from live_restore.files.windows import is_network_drive
from live_restore.sources.events import watch_events

_LITTLE_DISK_GB = 20
_BAD_DISK_GB = 1
# Enough to leave the caches of most disks, and half a second of a slow one.
_WRITTEN_MB = 32
# A camera of 2048 x 2048 pixels at 10 frames per second makes 84 MB/s.
_SLOW_MB_PER_S = 80.0
_EVENT_S = 2.0
# Times of files on a share come from the other computer.
_SKEW_S = 2.0
_PREFIX = ".doctor-"
# As /proc/mounts calls what other computers write to without an event here.
_SHARES = (
    "nfs", "cifs", "smb", "afs", "9p", "ceph", "lustre", "beegfs", "fuse.sshfs", "fuse.glusterfs",
)  # fmt: skip


def examine_disk(what: str, folder: Path) -> Finding:
    """Check that a folder can be written to and has room."""

    def try_it() -> None:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=_PREFIX) as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())

    try:
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(what, "bad", f"{folder}: {error.strerror}", "check the path")
    remedy = "give it a folder that you may write to"
    finding = tried(what, f"{folder}: {free_gb:.1f} GB free", remedy, try_it)
    if finding.verdict == "good" and free_gb < _LITTLE_DISK_GB:
        verdict: Verdict = "bad" if free_gb < _BAD_DISK_GB else "note"
        return Finding(what, verdict, finding.found, "make room: results are as large as raw data")
    return finding


def examine_folder(folder: Path) -> Iterator[Finding]:
    """Check a folder that can be written to: speed, clock, events."""
    try:
        with tempfile.TemporaryDirectory(dir=folder, prefix=_PREFIX) as name:
            place = Path(name)
            yield speed_finding(_write_speed(place))
            yield skew_finding(_skew_s(place))
            mounts = [] if os.name == "nt" else [
                (each.mountpoint, each.fstype) for each in psutil.disk_partitions(all=True)
            ]  # fmt: skip
            network = is_network_drive(folder) or is_on_share(folder.resolve(), mounts)
            yield events_finding(_event_s(place), network=network)
    except OSError as error:
        yield Finding("results' disk", "bad", f"{folder}: {error}", "check that disk")


def speed_finding(mb_per_s: float) -> Finding:
    """Judge how fast results are written (MB/s)."""
    found = f"{mb_per_s:.0f} MB/s, safely on the disk"
    if mb_per_s < _SLOW_MB_PER_S:
        remedy = "set output.template to a faster disk if acquisitions are longer than the wait"
        return Finding("write speed", "note", found, remedy)
    return Finding("write speed", "good", found)


def _write_speed(place: Path) -> float:
    block = os.urandom(2**20)  # some disks compress
    began = time.perf_counter()
    with (place / "speed").open("wb") as file:
        for _ in range(_WRITTEN_MB):
            file.write(block)
        file.flush()
        os.fsync(file.fileno())
    return _WRITTEN_MB * 2**20 / 1e6 / max(time.perf_counter() - began, 1e-6)


def skew_finding(skew_s: float) -> Finding:
    """Judge how far the clock of the folder's computer is ahead of ours (s)."""
    if abs(skew_s) <= _SKEW_S:
        return Finding("clock of the disk", "good", "the same as this computer's")
    found = f"{abs(skew_s):.0f} s {'ahead of' if skew_s > 0 else 'behind'} this computer's"
    return Finding("clock of the disk", "note", found, "set both computers by a time server")


def _skew_s(place: Path) -> float:
    before = time.time()
    (place / "clock").write_bytes(b"x")
    dated = (place / "clock").stat().st_mtime
    return 0.0 if before - _SKEW_S <= dated <= time.time() + _SKEW_S else dated - before


def is_on_share(folder: Path, mounts: Iterable[tuple[str, str]]) -> bool:
    """Return whether a folder lies on another computer, by what is mounted where, and its kind.

    Examples
    --------
    >>> mounts = [("/", "ext4"), ("/data", "nfs4"), ("/data/here", "xfs")]
    >>> [is_on_share(Path(each), mounts) for each in ("/data/run", "/data/here/run", "/database")]
    [True, False, False]
    """
    above = {str(folder), *map(str, folder.parents)}
    kinds = {len(point): kind for point, kind in mounts if point in above}
    return bool(kinds) and kinds[max(kinds)].startswith(_SHARES)


def events_finding(after_s: float | None, *, network: bool) -> Finding:
    """Judge after how long a new file was reported (s); ``None``: not at all."""
    remedy = "nothing to do: scans find every file, every watch.scan_interval_s"
    if after_s is None:
        return Finding("events", "note", "new files are not reported here", remedy)
    if network:
        found = "this computer's own files are reported; those of others on the share may not be"
        return Finding("events", "note", found, remedy)
    return Finding("events", "good", f"a new file is reported after {after_s * 1e3:.0f} ms")


def _event_s(place: Path) -> float | None:
    reported = threading.Event()
    try:
        stop = watch_events(place, False, lambda _: reported.set())
    except LiveRestoreError:
        return None
    try:
        began = time.perf_counter()
        (place / "event").write_bytes(b"x")
        return time.perf_counter() - began if reported.wait(_EVENT_S) else None
    finally:
        stop()
