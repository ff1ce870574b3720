"""SIGKILL at random moments over a replayed acquisition: nothing lost, doubled, partial, changed.

    python -m tests.faults.kills --kills 500 --stacks 300

Every daemon is started as people start it and killed after a random time: one in four counted from
its start (imports, the opening of the journal), the others from the moment at which it has opened
the journal. After every kill the journal, all final names and all raw files are checked. At the end
one more daemon finishes what is left, and is stopped; what all of them logged must tell no stack as
restored twice. With ``--forked`` daemons are forked from a
process that has imported everything, which is three times as fast.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.faults.audit import Audit, journal_rows, states
from tests.faults.daemons import DaemonProcess, Nursery, Place, exec_daemon
from tests.faults.player import (
    Arrival,
    Player,
    RawStack,
    at_once,
    pre_allocated,
    raw_stack,
    renamed_into_place,
    slowly,
)
from tests.support.processes import PATIENCE_S, wait_for

ARRIVALS: tuple[Arrival, ...] = (
    at_once,
    slowly,
    at_once,
    pre_allocated,
    at_once,
    renamed_into_place,
)


_KILLED_AT_START = 0.25
# Reading all raw files takes a second where there are many; their sizes and times are compared
# after every kill.
_CONTENTS_EVERY = 20


@dataclass
class Figures:
    """What was seen; any harm ends the run."""

    kills: int = 0
    stacks: int = 0
    killed_with_work_in_hand: int = 0
    killed_while_writing: int = 0
    restored: int = 0
    seconds: float = 0.0


def run_kills(
    place: Place,
    stacks: list[RawStack],
    kills: int,
    start: Callable[[Place], DaemonProcess],
    *,
    longest_life_s: float,
    seed: int = 1,
    tell: Callable[[Figures], None] = lambda _: None,
) -> Figures:
    """Replay ``stacks`` while daemons live and die; raises ``AssertionError`` at the first harm.

    The stacks arrive spread over the first nine tenths of the kills. A stack that is in hand when
    its process dies is set aside after ``journal.max_attempts``; these kills are not its fault, so
    the place must be configured with more.
    """
    rng = random.Random(seed)
    began = time.monotonic()
    figures = Figures(stacks=len(stacks))
    audit = Audit(place)
    arrived: list[RawStack] = []
    # One for the daemon that lives: it is asked to stop when it surely listens.
    *waiting, last = stacks
    for number in range(kills):
        due = (len(stacks) - 1) * (number + 1) // max(1, kills * 9 // 10)
        batch = [waiting.pop(0) for _ in range(min(len(waiting), due - len(arrived)))]
        with Player(place.root, [(s, rng.choice(ARRIVALS)) for s in batch]) as player:
            opened_before = _journal_written(place)
            daemon = start(place)
            try:
                if rng.random() >= _KILLED_AT_START:
                    _wait_until_open(place, daemon, opened_before)
                time.sleep(rng.uniform(0.0, longest_life_s))
                assert daemon.poll() is None, f"it ended by itself: {place.told()[-2000:]}"
            finally:
                daemon.kill()
            player.wait()
        arrived += batch
        figures.kills += 1
        rows = journal_rows(place)
        figures.killed_with_work_in_hand += any(r["state"] == "running" for r in rows)
        results = place.root / "restored"
        figures.killed_while_writing += results.exists() and any(results.glob(".*"))
        audit.at_any_moment(arrived, contents=number % _CONTENTS_EVERY == 0)
        tell(figures)
    opened_before = _journal_written(place)
    daemon = start(place)

    def finished() -> bool:
        assert daemon.poll() is None, place.told()[-2000:]
        return list(states(place).values()).count("done") == len(stacks)

    try:
        _wait_until_open(place, daemon, opened_before)
        with Player(place.root, [(last, rng.choice(ARRIVALS))]) as player:
            player.wait()
        wait_for(finished, "the rest", 600.0)
        assert daemon.stop() == 0
    finally:
        daemon.kill()
    audit.at_rest(stacks)
    _told_once(place, stacks, kills)
    figures.restored = len(stacks)
    figures.seconds = round(time.monotonic() - began, 1)
    return figures


def _told_once(place: Place, stacks: list[RawStack], kills: int) -> None:
    """Of every stack one daemon said that it restored it, or died before it said so."""
    said = Counter(re.findall(r" restored .* stack_key=(\S+)", place.told()))
    assert set(said) <= {stack.name for stack in stacks}
    assert len(said) >= len(stacks) - kills, "the log does not tell"
    assert {name: times for name, times in said.items() if times > 1} == {}


def _journal_written(place: Place) -> int:
    """Return when the journal was last written to (ns since 1970); every start does."""
    written = [0]
    for file in place.state.glob("*.sqlite*"):
        with suppress(FileNotFoundError):  # SQLite deletes what stands beside the journal
            written.append(file.stat().st_mtime_ns)
    return max(written)


def _wait_until_open(place: Place, daemon: DaemonProcess, before_ns: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while _journal_written(place) == before_ns:
        assert daemon.poll() is None, f"it did not start: {place.told()[-2000:]}"
        assert time.monotonic() < deadline
        time.sleep(0.01)


def main() -> int:
    """Run it long; print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--stacks", type=int, default=300)
    parser.add_argument("--life", type=float, default=1.5, help="longest life of a daemon (s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--forked", action="store_true", help="without the second of imports")
    arguments = parser.parse_args()

    def tell(figures: Figures) -> None:
        if figures.kills % 25 == 0:
            print(json.dumps(asdict(figures)), file=sys.stderr, flush=True)

    with tempfile.TemporaryDirectory() as folder:
        place = Place(Path(folder), {"journal": {"max_attempts": 10_000}})
        # Large enough that reading, restoring and writing each take a while.
        stacks = [raw_stack(f"s{n:03d}.tif", n, (16, 256, 256)) for n in range(arguments.stacks)]
        nursery = Nursery() if arguments.forked else None
        try:
            figures = run_kills(
                place, stacks, arguments.kills, nursery.start if nursery else exec_daemon,
                longest_life_s=arguments.life, seed=arguments.seed, tell=tell,
            )  # fmt: skip
        finally:
            if nursery:
                nursery.close()
    print(json.dumps(asdict(figures), indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
