"""While a CUDA graph is recorded, nothing else happens on GPUs."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from live_restore.inference.backends.recording import Recording, Turn


def test_what_is_recorded_runs_alone_and_the_rest_side_by_side() -> None:
    recording = Recording()
    inside: list[str] = []
    seen: list[tuple[str, ...]] = []
    side_by_side = threading.Barrier(2)

    def run(turn: Turn, name: str) -> None:
        with turn.run():
            inside.append(name)
            time.sleep(0.002)
            seen.append(tuple(inside))
            inside.remove(name)

    def ordinary() -> None:
        with Turn(recording, records=False).run():
            side_by_side.wait(5)  # two of them at once, or it breaks

    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(ordinary) for _ in range(4)]:
            done.result(5)
        turns = [Turn(recording, records=i % 3 == 0) for i in range(40)]
        for done in [pool.submit(run, t, "graph" if i % 3 == 0 else "plain")
                     for i, t in enumerate(turns)]:  # fmt: skip
            done.result(5)
    assert len(seen) == 40
    assert all(names == ("graph",) for names in seen if "graph" in names)


def test_a_graph_is_recorded_on_every_thread_and_then_repeated_beside_others() -> None:
    recording = Recording()
    turn = Turn(recording, records=True)

    def waits() -> bool:
        """Whether a run of another session on this thread keeps it waiting."""
        done = threading.Event()

        def run() -> None:
            with turn.run():
                done.set()

        other = ThreadPoolExecutor(1)
        with recording.beside_others():
            started = other.submit(run)
            waited = not done.wait(0.05)
        started.result(5)
        with recording.beside_others():  # the same thread again
            other.submit(run).result(5)
        other.shutdown()
        return waited

    assert waits()
    assert waits(), "a new thread records anew"


def test_a_recording_that_fails_frees_the_others_and_is_tried_again() -> None:
    recording = Recording()
    turn = Turn(recording, records=True)
    for _ in range(2):
        with pytest.raises(RuntimeError), turn.run():
            raise RuntimeError("operation not permitted when stream is capturing")
    with recording.beside_others():
        pass
