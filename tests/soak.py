"""A soak: stacks arrive for a long time at half, once and twice the rate that can be restored.

    python tests/soak.py --minutes 10

The real daemon with the bundled model. At the end everything is restored; memory and open files
must be flat, the delay bounded at half the capacity, and back to that after a time of too much. A
second daemon then restores the newest first under twice its capacity: what has arrived last must be
there within two restore times. Prints the figures as JSON; exit code 1 where one is not met.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.faults.audit import states
from tests.faults.daemons import DaemonProcess, Place, exec_daemon
from tests.faults.player import raw_stack
from tests.support.processes import wait_for

SHAPE_ZYX = (6, 64, 64)
# Where restoring takes longer than finding, as it does at a microscope.
_LARGER_ZYX = (12, 128, 128)
SETTLE_S = 0.1
# What the first stacks cost (libraries, the choice of a device, buffers) is not counted as growth.
_WARM_S = 20.0
_MOST_GROWTH_MB = 30.0
_MOST_FILES_MORE = 3


@dataclass
class Phase:
    """A time of one rate of arrival: what arrived, and how late results were (s)."""

    name: str
    rate_per_s: float
    arrived: int = 0
    median_delay_s: float = 0.0
    longest_delay_s: float = 0.0
    backlog_at_end: int = 0


@dataclass
class Figures:
    """What was measured."""

    capacity_per_s: float = 0.0
    phases: list[Phase] = field(default_factory=list)
    arrived: int = 0
    restored: int = 0
    memory_mb: list[float] = field(default_factory=list)
    open_files: list[int] = field(default_factory=list)
    newest_restore_s: float = 0.0
    newest_delays_s: list[float] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    def require(self, good: bool, what: str) -> None:
        """Take down what does not hold."""
        if not good:
            self.failures.append(what)


class Run:
    """One daemon and the stacks that arrive before it; killed where it was not stopped."""

    def __init__(
        self, base: Path, shape_zyx: tuple[int, int, int] = SHAPE_ZYX, **watch: Any
    ) -> None:
        base.mkdir()
        self.place = Place(base)
        watching = {"settle_s": SETTLE_S, "scan_interval_s": 1.0, **watch}
        lines = ["[inference]", 'device = "cpu"', "threads = 1", "[watch]"]
        lines += [f"{key} = {json.dumps(value)}" for key, value in watching.items()]
        self.place.config.write_text("\n".join(lines))  # the bundled model
        self.daemon: DaemonProcess = exec_daemon(self.place)
        self.process = psutil.Process(self.daemon.pid)
        # Written again and again under other names: what is in it does not matter here.
        self._content = raw_stack("any.tif", 1, shape_zyx).content
        self.names: list[str] = []
        self.samples: list[tuple[float, float, int]] = []
        self._end = threading.Event()
        self._sampler = threading.Thread(target=self._sample)
        self._sampler.start()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._sampler.join()
        self.daemon.kill()

    def _sample(self) -> None:
        while not self._end.wait(1.0):
            try:
                memory = self.process.memory_info().rss / 1e6
                self.samples.append((time.monotonic(), memory, self.process.num_fds()))
            except psutil.Error:
                return

    def arrive(self) -> str:
        """Let one more stack arrive; return its name."""
        name = f"s{len(self.names):06d}"
        (self.place.root / f"{name}.tif").write_bytes(self._content)
        self.names.append(name)
        return name

    def report(self, name: str) -> Path:
        """Return where its report will be."""
        return self.place.root / "restored" / f"{name}.json"

    def delay_s(self, name: str) -> float:
        """Return how late its result was."""
        return float(json.loads(self.report(name).read_text())["seconds"]["delay"])

    def backlog(self) -> int:
        """Return how many have arrived and are not restored."""
        results = self.place.root / "restored"
        return len(self.names) - sum(1 for _ in results.glob("*.json"))

    def drain(self) -> None:
        """Wait until everything is restored."""
        wait_for(lambda: self.backlog() == 0, "everything", 3600.0)

    def stop(self) -> None:
        """Stop the daemon."""
        self._end.set()
        assert self.daemon.stop() == 0, self.place.told()[-2000:]

    def at_rate(self, phase: Phase, seconds: float) -> list[str]:
        """Let stacks arrive at the rate of a phase; return their names."""
        names: list[str] = []
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            names.append(self.arrive())
            time.sleep(max(0.0, began + len(names) / phase.rate_per_s - time.monotonic()))
        phase.arrived = len(names)
        phase.backlog_at_end = self.backlog()
        return names


def soak(run: Run, seconds: float, figures: Figures) -> None:
    """Run it for about so long."""
    for _ in range(3):  # until everything is loaded
        run.arrive()
    run.drain()
    began = time.monotonic()
    for _ in range(20):
        run.arrive()
    run.drain()
    capacity = figures.capacity_per_s = 20 / (time.monotonic() - began - SETTLE_S)
    plan = [("half", 0.5, 0.4), ("once", 1.0, 0.2), ("twice", 2.0, 0.15), ("half again", 0.5, 0.25)]
    names: dict[str, list[str]] = {}
    for name, times, share in plan:
        phase = Phase(name, times * capacity)
        figures.phases.append(phase)
        names[name] = run.at_rate(phase, seconds * share)
        print(json.dumps(asdict(phase)), file=sys.stderr, flush=True)
    run.drain()
    run.stop()
    for phase in figures.phases:
        delays = [run.delay_s(name) for name in names[phase.name]]
        phase.median_delay_s = statistics.median(delays)
        phase.longest_delay_s = max(delays)
    figures.arrived = len(run.names)
    figures.restored = list(states(run.place).values()).count("done")
    figures.require(figures.restored == figures.arrived, "not everything is restored")
    flat = [s for s in run.samples if s[0] > run.samples[0][0] + _WARM_S]
    third = max(1, len(flat) // 3)
    first, last = flat[:third], flat[-third:]
    figures.memory_mb = [statistics.median(s[1] for s in part) for part in (first, last)]
    figures.open_files = [max(s[2] for s in part) for part in (first, last)]
    growth_mb = figures.memory_mb[1] - figures.memory_mb[0]
    figures.require(growth_mb <= _MOST_GROWTH_MB, f"memory grew by {growth_mb:.0f} MB")
    more = figures.open_files[1] - figures.open_files[0]
    figures.require(more <= _MOST_FILES_MORE, f"{more} more files are open")
    restore_s = 1 / capacity
    half = figures.phases[0]
    figures.require(
        half.median_delay_s <= SETTLE_S + 4 * restore_s + 0.5, "late at half the capacity"
    )
    after = names["half again"][-max(3, len(names["half again"]) // 10) :]
    recovered_s = statistics.median(run.delay_s(name) for name in after)
    figures.require(recovered_s <= 2 * half.median_delay_s + 0.5, "not recovered after too much")


def newest_first(run: Run, seconds: float, figures: Figures) -> None:
    """Probe how soon the newest stack is there while others have waited for long."""
    for _ in range(3):
        run.arrive()
    run.drain()
    began = time.monotonic()
    for _ in range(10):
        run.arrive()
    run.drain()
    restore_s = figures.newest_restore_s = (time.monotonic() - began - SETTLE_S) / 10
    began = time.monotonic()
    while time.monotonic() - began < seconds:
        # A backlog that would last for long; then the one that somebody wants to see.
        for _ in range(8):
            run.arrive()
            time.sleep(restore_s / 2)
        newest = run.arrive()
        wait_for(lambda name=newest: run.report(name).exists(), "the newest", 60.0)  # type: ignore[misc]
        figures.newest_delays_s.append(run.delay_s(newest))
    run.drain()
    run.stop()
    median_s = statistics.median(figures.newest_delays_s)
    # Until it has settled and is looked at, nobody can know that it is complete.
    figures.require(median_s <= SETTLE_S + 0.2 + 2 * restore_s, f"the newest came after {median_s}")


def main() -> int:
    """Run it; return an exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0)
    arguments = parser.parse_args()
    seconds = 60 * arguments.minutes
    with tempfile.TemporaryDirectory() as folder:
        figures = Figures()
        with Run(Path(folder) / "all") as run:
            soak(run, 0.8 * seconds, figures)
        with Run(Path(folder) / "newest", _LARGER_ZYX, newest_first=True) as run:
            newest_first(run, 0.2 * seconds, figures)
    print(json.dumps(asdict(figures), indent=1))
    return 1 if figures.failures else 0


if __name__ == "__main__":
    sys.exit(main())
