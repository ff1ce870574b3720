"""Restoring waits while planes arrive fast, and goes on in the pauses: times in, decisions out."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from live_restore.engine.cadence import Cadence
from live_restore.engine.microscope_first import IdleCores, MicroscopeFirst
from tests.support.processes import wait_for


def run_of(planes: int, every_s: float, begins: float = 0.0) -> list[float]:
    return [begins + number * every_s for number in range(planes)]


def seen(times: list[float]) -> Cadence:
    cadence = Cadence()
    for at in times:
        cadence.arrived(at)
    return cadence


def test_nothing_has_arrived() -> None:
    assert Cadence().may_begin(0.0, takes_s=100.0)


def test_planes_that_come_fast_are_waited_for() -> None:
    cadence = seen(run_of(20, 0.1))
    assert not cadence.may_begin(2.0, takes_s=0.1)
    assert cadence.may_begin(2.5, takes_s=100.0), "no time point is due: it may be the last"


def test_one_file_is_no_run_of_planes() -> None:
    assert seen([0.0]).may_begin(0.01, takes_s=1.0)


def test_planes_that_come_slowly_disturb_nobody() -> None:
    cadence = seen(run_of(20, 1.0))
    assert all(cadence.may_begin(19.0 + after, takes_s=1.0) for after in (0.01, 0.3, 0.9))


@pytest.mark.parametrize("every_s", [0.1, 0.3])
def test_a_pause_is_longer_than_what_planes_usually_take(every_s: float) -> None:
    cadence = seen(run_of(20, every_s))
    last = 19 * every_s
    pause_s = max(0.5, 3 * every_s)
    assert cadence.arriving(last + 0.95 * pause_s)
    assert not cadence.arriving(last + 1.05 * pause_s)


def time_points(period_s: float, count: int = 6, planes: int = 10) -> list[float]:
    return [at for t in range(count) for at in run_of(planes, 0.1, begins=t * period_s)]


@pytest.mark.parametrize(
    ("takes_s", "fits"), [(3.0, True), (4.9, True), (7.4, False), (100.0, False)]
)
def test_a_tile_is_begun_between_time_points_only_where_it_fits(takes_s: float, fits: bool) -> None:
    """Time points every 10 s; the next is due in 5 s, and a fifth of the period may be shared."""
    cadence = seen(time_points(10.0))
    assert cadence.may_begin(55.0, takes_s) == fits


def test_a_time_point_that_does_not_come_is_not_waited_for() -> None:
    cadence = seen(time_points(10.0))
    assert cadence.may_begin(60.1, takes_s=100.0)


def test_without_a_rhythm_pauses_are_used_at_once() -> None:
    times = [at for begins in (0, 4, 21, 26, 60) for at in run_of(10, 0.1, begins)]
    assert seen(times).may_begin(62.0, takes_s=100.0)


class Gate:
    """The gate with a clock of its own."""

    def __init__(self, mode: Any, *, on_gpu: bool = False, idle: float = 0.0) -> None:
        self.now = 0.0
        models: Any = SimpleNamespace(devices=[SimpleNamespace(on_gpu=on_gpu, elsewhere=False)])
        self.gate = MicroscopeFirst(mode, [models], lambda: self.now, idle_cores=lambda: idle)

    def record(self, planes: int, every_s: float) -> None:
        for _ in range(planes):
            self.now += every_s
            self.gate.arrived()

    def passes(self) -> bool:
        """Return whether a tile may begin now."""
        asked: list[None] = []

        def stopping() -> bool:  # asked before each look, and at the end
            asked.append(None)
            return len(asked) > 1

        self.gate.before_tile(stopping)
        return len(asked) == 2


@pytest.mark.parametrize(
    ("mode", "every_s", "idle", "on_gpu", "passes"),
    [
        ("auto", 0.1, 1.0, False, False),
        ("auto", 0.1, 60.0, False, True),  # half of the cores, and more than four, are idle
        ("auto", 0.1, 0.0, True, True),
        ("pause", 0.1, 60.0, False, False),
        ("pause", 0.4, 60.0, False, False),
        ("full", 0.1, 0.0, False, True),
    ],
)
def test_what_each_setting_does_while_planes_arrive(
    mode: str, every_s: float, idle: float, on_gpu: bool, passes: bool
) -> None:
    gate = Gate(mode, on_gpu=on_gpu, idle=idle)
    gate.record(10, every_s)
    assert gate.passes() == passes
    gate.now += 10.0
    assert gate.passes()


def waiting(gate: Gate) -> Callable[[], bool]:
    return lambda: gate.gate.waiting


def test_it_waits_says_so_and_goes_on() -> None:
    gate = Gate("auto")
    gate.record(10, 0.1)
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(gate.gate.before_tile(lambda: False)), daemon=True
    )
    thread.start()
    wait_for(waiting(gate), "the display to say so", 5)
    assert thread.is_alive()
    gate.now += 5.0
    thread.join(5.0)
    assert answers == [False]
    assert not gate.gate.waiting


def test_a_stop_ends_the_wait() -> None:
    gate = Gate("pause")
    gate.record(10, 0.1)
    stop = threading.Event()
    answers: list[bool] = []
    thread = threading.Thread(
        target=lambda: answers.append(gate.gate.before_tile(stop.is_set)), daemon=True
    )
    thread.start()
    wait_for(waiting(gate), "the wait", 5)
    stop.set()
    thread.join(5.0)
    assert answers == [True]


def test_idle_cores_are_those_of_the_last_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of this process's own work they would be free."""
    measured = IdleCores()
    samples = iter([(0.5, 1.0, 1.0), (1.0, 5.0, 3.0), (100.0, 500.0, 3.0), (101.0, 501.5, 3.0)])
    measured._sampled = (0.0, 0.0, 0.0)
    monkeypatch.setattr(measured, "_sample", lambda: next(samples))
    assert measured() == 0.0, "unknown counts as none"
    assert measured() == 5.0 + 3.0
    assert measured() == 0.0, "an hour ago there was no acquisition"
    assert measured() == 1.5
