"""Runs many mutated inputs through every reader, in worker processes under a watchdog.

    python -m tests.fuzz.runner                       5 cases of every kind
    python -m tests.fuzz.runner --count 20000 tiff    cases 0 to 19,999 of one kind
    python -m tests.fuzz.runner --first 1234 tiff     one case again

A case fails when anything but a valid result or an error of the project's own comes out, when it
ends its process, takes longer than 5 s (of the processor, or waiting for something else), or needs
more than 1 GiB beyond what the process had.
"""

from __future__ import annotations

import argparse
import json
import queue
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
CASE_S = 5.0
BUSY_MACHINE_S = 120.0
START_S = 120.0
MEMORY = 2**30
MOST_FAILURES = 40


@dataclass
class Outcome:
    """What became of the cases of one kind."""

    kind: str
    cases: int = 0
    slowest_s: float = 0.0
    most_bytes: int = 0
    failures: dict[int, str] = field(default_factory=dict)

    def line(self) -> str:
        """Return the figures in one line."""
        return (
            f"{self.kind:10} {self.cases:7} cases  {len(self.failures):3} failures  "
            f"slowest {self.slowest_s:5.2f} s  memory +{self.most_bytes / 2**20:5.0f} MiB"
        )


class _Worker:
    """A process that runs cases, and what it says."""

    def __init__(self, kinds: list[str], first: int, count: int, done: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", ",".join(kinds),
             *map(str, (first, count, done, MEMORY))],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip
        self.lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.errors = b""
        self._threads = [
            threading.Thread(target=self._read, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for thread in self._threads:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.put(line)
        self.lines.put(None)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.errors = (self.errors + line)[-2000:]

    def gets_no_time(self, cpu_s: float) -> bool:
        """Return whether it would go on, had others not taken the processor since ``cpu_s``."""
        try:
            process = psutil.Process(self.process.pid)
            spent_s = sum(process.cpu_times()[:2]) - cpu_s
            return process.status() != psutil.STATUS_SLEEPING and spent_s < CASE_S
        except psutil.NoSuchProcess:
            return False

    def close(self) -> int:
        """End it and everything about it; return its exit code."""
        self.process.kill()
        code = self.process.wait()
        for thread in self._threads:
            thread.join()
        for stream in (self.process.stdout, self.process.stderr):
            if stream is not None:
                stream.close()
        return code


def run(kinds: list[str], first: int, count: int) -> dict[str, Outcome]:
    """Run cases ``first`` to ``first + count - 1`` of every kind, in as few processes as will do.

    A case that ends its process is tried once more by itself: a machine that stood still for a
    moment is no find.
    """
    outcomes = {kind: Outcome(kind) for kind in kinds}
    done = 0
    while done < len(kinds) * count:
        worker = _Worker(kinds, first, count, done)
        ended, why = _watch(worker, outcomes)
        done += ended
        if why:
            kind, number = kinds[done // count], first + done % count
            again, why = _watch(_Worker([kind], number, 1, 0), outcomes)
            if not again:
                outcomes[kind].cases += 1
                outcomes[kind].failures[number] = why
            done += 1
        if sum(len(outcome.failures) for outcome in outcomes.values()) >= MOST_FAILURES:
            break
    return outcomes


def _watch(worker: _Worker, outcomes: dict[str, Outcome]) -> tuple[int, str]:
    """Follow one process; return how many cases it ended, and what ended it in the middle."""
    ended = 0
    running = False
    why = "its process ended"
    wait_s, cpu_s, waited_s = START_S, 0.0, 0.0
    try:
        while True:
            try:
                line = worker.lines.get(timeout=wait_s)
                waited_s = 0.0
            except queue.Empty:
                waited_s += wait_s
                if running and waited_s < BUSY_MACHINE_S and worker.gets_no_time(cpu_s):
                    continue
                why = f"hung for {waited_s:.0f} s"
                break
            if line is None:
                break
            said = json.loads(line)
            if "done" in said:
                return ended, ""
            running = "begin" in said
            wait_s = (
                CASE_S if running else START_S
            )  # to make the next case is not the reader's work
            cpu_s = said.get("cpu", 0.0)
            if not running:
                ended += 1
                outcome = outcomes[said["kind"]]
                outcome.cases += 1
                outcome.slowest_s = max(outcome.slowest_s, said["seconds"])
                outcome.most_bytes = max(outcome.most_bytes, said["resident"])
                if said["problem"]:
                    outcome.failures[said["end"]] = said["problem"]
    finally:
        code = worker.close()
    tail = worker.errors.decode(errors="replace").strip().splitlines()[-1:]
    if not running:
        raise RuntimeError(f"a worker stopped between cases: {why} (code {code}) {tail}")
    return ended, f"{why} (code {code}) {' '.join(tail)}"


def main() -> int:
    """Run what the command line says; return 1 if a case failed."""
    from tests.fuzz.seeds import BEYOND, SEEDS

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument(
        "kinds", nargs="*", default=[each for each in SEEDS if each not in BEYOND], metavar="KIND"
    )
    parser.add_argument("--count", type=int)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    count = arguments.count or (1 if arguments.first else 5)
    failed = total = 0
    for kind in arguments.kinds:
        began = time.monotonic()
        outcome = run([kind], arguments.first, count)[kind]
        print(f"{outcome.line()}  in {time.monotonic() - began:.0f} s", flush=True)
        failed += len(outcome.failures)
        total += outcome.cases
        alike = Counter(problem.split(" at ")[-1] for problem in outcome.failures.values())
        shown: set[str] = set()
        for number, problem in outcome.failures.items():
            where = problem.split(" at ")[-1]
            if where not in shown:
                shown.add(where)
                print(
                    f"    case {number} (and {alike[where] - 1} more like it): {problem}",
                    flush=True,
                )
    print(f"{total} cases, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
