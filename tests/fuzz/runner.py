"""Runs many mutated inputs through every reader, in worker processes under a watchdog.

    python -m tests.fuzz.runner                       5 cases of every kind
    python -m tests.fuzz.runner --count 20000 tiff    cases 0 to 19,999 of one kind
    python -m tests.fuzz.runner --first 1234 tiff     one case again

A case fails when anything but a valid result or an error of the project's own comes out, when it
ends its process, takes longer than 5 s, or needs more than 1 GiB beyond what the process had.
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

ROOT = Path(__file__).resolve().parents[2]
CASE_S = 5.0
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
    def __init__(self, kind: str, first: int, count: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.worker", kind, str(first), str(count), str(MEMORY)],
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


def run(kind: str, first: int, count: int) -> Outcome:
    """Run cases of one kind; a case that ends its worker is tried once more by itself."""
    outcome = Outcome(kind)
    at = first
    while at < first + count and len(outcome.failures) < MOST_FAILURES:
        at = _run_worker(outcome, at, first + count - at)
    return outcome


def _run_worker(outcome: Outcome, first: int, count: int, *, again: bool = False) -> int:
    """Run cases in one process; return the next case to run."""
    worker = _Worker(outcome.kind, first, count)
    current: int | None = None
    wait_s = START_S
    try:
        while True:
            try:
                line = worker.lines.get(timeout=wait_s)
            except queue.Empty:
                why = f"hung for {wait_s:.0f} s"
                break
            if line is None:
                why = "its process ended"
                break
            said = json.loads(line)
            wait_s = CASE_S
            if "done" in said:
                return first + count
            if "begin" in said:
                current = said["begin"]
            elif "end" in said:
                outcome.cases += 1
                outcome.slowest_s = max(outcome.slowest_s, said["seconds"])
                outcome.most_bytes = max(outcome.most_bytes, said["resident"])
                if said["problem"]:
                    outcome.failures[said["end"]] = said["problem"]
                    if len(outcome.failures) >= MOST_FAILURES:
                        return first + count
                current = None
    finally:
        code = worker.close()
    if current is None:
        said = worker.errors.decode(errors="replace")
        raise RuntimeError(f"the worker for {outcome.kind} stopped between cases: {why} {said}")
    if again or count == 1:
        tail = worker.errors.decode(errors="replace").strip().splitlines()[-1:]
        outcome.cases += 1
        outcome.failures[current] = f"{why} (code {code}) {' '.join(tail)}"
    else:  # a machine that stood still for a moment is no find
        _run_worker(outcome, current, 1, again=True)
    return current + 1


def main() -> int:
    """Run what the command line says; return 1 if a case failed."""
    from tests.fuzz.seeds import SEEDS

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("kinds", nargs="*", default=list(SEEDS), metavar="KIND")
    parser.add_argument("--count", type=int)
    parser.add_argument("--first", type=int, default=0)
    arguments = parser.parse_args()
    count = arguments.count or (1 if arguments.first else 5)
    failed = total = 0
    for kind in arguments.kinds:
        began = time.monotonic()
        outcome = run(kind, arguments.first, count)
        print(f"{outcome.line()}  in {time.monotonic() - began:.0f} s", flush=True)
        failed += len(outcome.failures)
        total += outcome.cases
        alike = Counter(problem.split(" at ")[-1] for problem in outcome.failures.values())
        shown: set[str] = set()
        for number, problem in outcome.failures.items():
            where = problem.split(" at ")[-1]
            if where not in shown:
                shown.add(where)
                print(f"    case {number} (and {alike[where] - 1} more like it): {problem}", flush=True)
    print(f"{total} cases, {failed} failures")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
