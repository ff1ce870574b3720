"""What looking costs: undecided files, a new stack without events among old ones, and a lease.

    python benchmarks/scan.py [--undecided 100 5000 20000] [--old 20000] [--waiting 100000]

Looks as the daemon does, without events, and restores nothing. Prints the share of one core that
looking takes for ten seconds while so many empty files are undecided; how long a new stack goes
unnoticed, in multiples of ``watch.scan_interval_s``, in 20 folders of old files; and how long a
lease takes while the disk of all that waits is full.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import tifffile

from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.sources.folder import FolderSource
from live_restore.stack import Fingerprint, StackKey

_FOLDERS = 20
_MOST = 0.05
_TRIALS = 8


class Watch:
    """A source over a folder, looking as the daemon's loop does."""

    def __init__(self, root: Path, journal: Journal) -> None:
        self.settings = load_settings(None, {})
        self.journal = journal
        self.source = FolderSource(
            root, make_formats(), make_acquisition_formats(), journal, self.settings
        )

    def look(self, seconds: float, until: StackKey | None = None) -> float:
        """Look for so long, or until a stack waits; return how long that was (s)."""
        began = time.perf_counter()
        while time.perf_counter() - began < seconds:
            next_look_s = self.source.poll()
            entry = self.journal.entry(until) if until else None
            if entry is not None and entry.state is State.WAITING:
                break
            self.source.wait(min(next_look_s, 0.5))
            time.sleep(0.02)
        return time.perf_counter() - began


def share_of_a_core(place: Path, files: int) -> float:
    """Return the share that looking takes while so many files are undecided."""
    root = place / f"undecided {files}"
    root.mkdir()
    for number in range(files):
        (root / f"{number}.tif").touch()
    with Journal(place / f"{files}.sqlite", root, recipe="one") as journal:
        watch = Watch(root, journal)
        watch.look(15.0 + files / 200)  # until each has been looked into, once
        before, began = time.thread_time(), time.perf_counter()
        watch.look(10.0)
        return (time.thread_time() - before) / (time.perf_counter() - began)


def delays(place: Path, files: int) -> list[float]:
    """Return how long new stacks went unnoticed, in scan intervals."""
    root = place / "old"
    for number in range(_FOLDERS):
        (root / f"{number:02d}").mkdir(parents=True)
    stack = place / "stack.tif"
    tifffile.imwrite(
        stack, np.ones((3, 8, 8), np.uint16), photometric="minisblack", metadata={"axes": "ZYX"}
    )
    with Journal(place / "old.sqlite", root, recipe="one") as journal:
        with journal.batch():
            for number in range(files):
                path = root / f"{number % _FOLDERS:02d}" / f"{number}.tif"
                os.link(stack, path) if number % 60_000 else path.write_bytes(stack.read_bytes())
                key = StackKey(path.relative_to(root))
                journal.record(key, Fingerprint.of(path.stat()), State.REFUSED)
        watch = Watch(root, journal)
        watch.look(10.0)
        rng, found = np.random.default_rng(1), []
        for number in range(_TRIALS):
            watch.look(rng.uniform(0.5, 3.0))
            key = StackKey(Path(f"{rng.integers(_FOLDERS):02d}") / f"new {number}.tif")
            (root / key.acquisition).write_bytes(stack.read_bytes())
            found.append(watch.look(120.0, key) / watch.settings.watch.scan_interval_s)
    return found


def lease_ms(place: Path, waiting: int) -> float:
    """Return how long a lease takes (ms) where everything waits for a full disk."""
    with Journal(place / "waiting.sqlite", place, recipe="one") as journal:
        with journal.batch():
            for number in range(waiting):
                key = StackKey(Path(f"{number % _FOLDERS:02d}/{number}.tif"))
                journal.record(key, Fingerprint(number, 1), State.WAITING)
        seconds = []
        for _ in range(20):
            began = time.perf_counter()
            assert journal.lease(30, resting=lambda _: True) is None
            seconds.append(time.perf_counter() - began)
    return 1000 * statistics.median(seconds)


def main() -> int:
    """Print the figures; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--undecided", type=int, nargs="*", default=[100, 5000, 20_000])
    parser.add_argument("--old", type=int, default=20_000)
    parser.add_argument("--waiting", type=int, default=100_000)
    arguments = parser.parse_args()
    good = True
    with tempfile.TemporaryDirectory() as made:
        place = Path(made)
        for files in arguments.undecided:
            share = share_of_a_core(place, files)
            good &= share < _MOST
            print(f"{files} undecided files: {share:.1%} of one core")
        found = delays(place, arguments.old)
        good &= max(found) <= 2
        print(
            f"{arguments.old} old files, no events: a new stack is found after "
            f"{statistics.median(found):.2f} scan intervals, {max(found):.2f} at most"
        )
        took_ms = lease_ms(place, arguments.waiting)
        print(f"{arguments.waiting} waiting, disk full: {took_ms:.1f} ms a lease")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
