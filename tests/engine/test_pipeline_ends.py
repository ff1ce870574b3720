"""The pipeline stopped, killed, and begun again."""

from __future__ import annotations

import os
import threading
import time

import numpy as np
import pytest

from live_restore.engine.outcome import OutcomeRecorder
from live_restore.files import publish as publish_module
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.files.shared_lease import SharedLeases
from live_restore.journal.states import State
from tests.support.fakes import Floats, fake_shelf, halve
from tests.support.keys import key_at
from tests.support.pipeline import PATIENCE_S, Bench, Gate
from tests.support.processes import wait_for


def test_stopped_in_mid_stack_it_is_given_back(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif", np.random.default_rng(1).integers(10, 200, (4, 3, 8, 8)), "TZYX")
    bench.stack("b.tif")
    pipeline = bench.start()
    assert gate.entered.wait(PATIENCE_S)
    stopper = threading.Thread(target=pipeline.stop)
    stopper.start()
    wait_for(pipeline._stopping.is_set, "the stop", PATIENCE_S)
    gate.open.set()
    stopper.join(PATIENCE_S)
    bench.pipeline = None
    assert {(e.state, e.attempts) for e in bench.journal.entries()} == {(State.WAITING, 0)}
    assert not (bench.root / "restored").exists() or not list(bench.result("").iterdir())
    bench.run()
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


def test_leftovers_of_a_killed_process_are_removed(bench: Bench) -> None:
    left = bench.result(f".a.ome.tif.{publish_module._host()}-{os.getpid()}-00{TEMPORARY_SUFFIX}")
    left.parent.mkdir()
    left.touch()
    bench.stack("a.tif")
    bench.run()
    assert not left.exists()


def test_what_was_in_hand_at_a_crash_is_worked_on_alone(bench: Bench) -> None:
    """Else a stack that kills would take its neighbours into the grave with it."""
    for n in range(4):
        bench.stack(f"{n}.tif")
    for _ in range(3):  # three files were in hand when the program died
        assert bench.journal.lease(30)
    bench.journal.recover(3)
    running: list[int] = []

    def count(tile: Floats) -> Floats:
        time.sleep(0.1)  # long enough for the reader to claim another, if it would
        running.append(bench.journal.counts()[State.RUNNING])
        return halve(tile)

    bench.model_set = fake_shelf(count)
    bench.run()
    assert running[:3] == [1, 1, 1]
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


def test_what_was_in_hand_at_a_crash_waits_for_what_is_in_hand_now(bench: Bench) -> None:
    """It comes second here: the first is still in hand when it is looked at."""
    bench.stack("first.tif")
    bench.stack("suspect.tif")
    assert bench.journal.lease(30, {key_at("first.tif")})
    bench.journal.recover(3)
    running: list[int] = []

    def count(tile: Floats) -> Floats:
        time.sleep(0.2)  # long enough for the reader to claim another, if it would
        running.append(bench.journal.counts()[State.RUNNING])
        return halve(tile)

    bench.model_set = fake_shelf(count)
    bench.run()
    assert set(running) == {1}
    assert {e.state for e in bench.journal.entries()} == {State.DONE}


def test_the_heartbeat_keeps_the_claim(bench: Bench) -> None:
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif")
    renewed: list[float] = []
    renew = bench.journal.renew
    bench.journal.renew = lambda *told: (renewed.append(told[0]), renew(*told))[1]  # type: ignore[method-assign]
    bench.start()
    assert gate.entered.wait(PATIENCE_S)
    wait_for(lambda: len(renewed) >= 3, "three heartbeats", PATIENCE_S)
    gate.open.set()
    wait_for(lambda: bench.state("a.tif") is State.DONE, "the end", PATIENCE_S)


def test_a_stop_that_is_asked_is_seen_without_being_told(bench: Bench) -> None:
    asked: list[bool] = []
    gate = Gate()
    bench.model_set = fake_shelf(gate)
    bench.stack("a.tif", np.random.default_rng(1).integers(10, 200, (9, 3, 8, 8)), "TZYX")
    bench.start(stop_asked=lambda: bool(asked))
    assert gate.entered.wait(PATIENCE_S)
    asked.append(True)
    gate.open.set()
    wait_for(lambda: bench.state("a.tif") is State.WAITING, "the giving back", PATIENCE_S)
    time.sleep(0.2)
    assert bench.state("a.tif") is State.WAITING


@pytest.mark.parametrize("dies", ["before it is recorded", "between publishing and release"])
def test_whoever_dies_with_a_result_that_is_there_leaves_no_lease_for_good(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, dies: str
) -> None:
    """What the journal calls done, nobody comes back for."""

    class DeathError(BaseException):
        pass

    def die(*_: object) -> None:
        raise DeathError

    bench.settings = {"output": {"shared": True}}
    bench.stack("cell.tif")
    with monkeypatch.context() as patched:
        if dies == "before it is recorded":
            patched.setattr(OutcomeRecorder, "good", die)
        else:
            patched.setattr(SharedLeases, "end", die)
        pipeline = bench.start()
        wait_for(lambda: pipeline.crash is not None, "its death", PATIENCE_S)
        bench.stop()
    assert bench.result("cell.json").exists()
    assert bench.state("cell.tif") is not State.DONE
    bench.journal.recover(3)
    bench.run()
    assert bench.state("cell.tif") is State.DONE
    assert sorted(path.name for path in bench.result("").iterdir()) == ["cell.json", "cell.ome.tif"]
