"""What a person is told of, and that it is told once."""

from __future__ import annotations

from dataclasses import replace

import pytest

from live_restore.alerts.rules import Cause, HoldOff, Situation, causes_in
from live_restore.journal.facts import RunRecord
from live_restore.journal.states import State
from live_restore.settings.alerts import AlertSettings
from live_restore.stack import FOR_BRIGHTNESS
from tests.page.test_night import entry_at

NOW = 1e9 + 4000
RULES = AlertSettings(command=("say",), quiet_min=30)
WATCHED = Situation((), True, RunRecord(1e9))


def names(situation: Situation, rules: AlertSettings = RULES, now: float = NOW) -> list[str]:
    return [cause.name.partition(":")[0] for cause in causes_in(situation, rules, now)]


def test_a_run_that_goes_well_is_nothing_to_tell() -> None:
    shown = [entry_at(n) for n in range(40)]
    assert names(replace(WATCHED, shown=shown, disk_free_bytes=10**12), now=1e9 + 410) == []


@pytest.mark.parametrize(
    ("count", "state", "expected"),
    [(20, State.WAITING, []), (21, State.WAITING, ["behind"]), (500, State.FAILED, ["failed"])],
)
def test_many_stacks_are_one_cause(count: int, state: State, expected: list[str]) -> None:
    shown = [entry_at(n, state=state, reason=f"plane {n} is bad; redo") for n in range(count)]
    assert names(replace(WATCHED, shown=shown), now=1e9 + 10 * count) == expected


def test_failures_of_earlier_runs_are_no_news() -> None:
    shown = [entry_at(n, state=State.FAILED, reason="bad") for n in range(5)]
    assert names(replace(WATCHED, shown=shown, since=1e9 + 100), now=1e9 + 200) == []


def test_doubts_silence_and_a_full_disk() -> None:
    doubtful = [entry_at(n, reason="too dark") for n in range(11)]
    shown = [*doubtful, *(entry_at(20 + n) for n in range(9))]
    dim = [entry_at(n, reason=f"{FOR_BRIGHTNESS}: dim") for n in range(20)]
    assert names(replace(WATCHED, shown=dim), now=1e9 + 300) == []
    assert names(replace(WATCHED, shown=shown), now=1e9 + 300) == ["doubtful"]
    assert names(replace(WATCHED, shown=shown[1:]), now=1e9 + 300) == ["doubtful"]
    assert names(replace(WATCHED, shown=shown[2:]), now=1e9 + 300) == []
    assert names(replace(WATCHED, shown=shown[11:]), now=1e9 + 280 + 1801) == ["quiet"]
    assert names(replace(WATCHED, shown=shown[11:], watched=False), now=NOW) == ["died"]
    assert names(replace(WATCHED, disk_free_bytes=9 * 10**9)) == ["disk"]


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        (RunRecord(1e9), ["died"]),
        (RunRecord(1e9, 2e9, "stopped by an internal error"), ["died"]),
        (RunRecord(1e9, 2e9, "stopped by Ctrl-C"), []),
        (RunRecord(1e9, 2e9, "its terminal was closed"), []),
        (RunRecord(), []),
    ],
)
def test_a_daemon_that_is_gone_without_being_asked(record: RunRecord, expected: list[str]) -> None:
    assert names(Situation((), False, record)) == expected


def test_every_rule_can_be_switched_off() -> None:
    off = AlertSettings(
        command=("say",), behind_stacks=0, doubtful_share=0, quiet_min=0, disk_free_gb=0,
        failed=False, died=False,
    )  # fmt: skip
    shown = [
        *(entry_at(n, reason="dark") for n in range(9)),
        *(entry_at(n, state=State.FAILED, reason="bad") for n in range(9)),
        *(entry_at(n, state=State.WAITING) for n in range(99)),
    ]
    assert names(Situation(shown, True, RunRecord(1e9), 0.0, 0), off) == []
    assert names(Situation((), False, RunRecord(1e9)), off) == []


def test_a_cause_that_comes_and_goes_is_told_once_per_hold_off() -> None:
    hold_off = HoldOff(600)
    cause, told = Cause("disk", "9 GB are free", ""), []
    for second in range(0, 1200, 10):
        causes = [cause] if second % 20 else []
        for due in hold_off.due(causes, second):
            hold_off.told(due, second)
            told.append(second)
    assert told == [10, 630]
    worse = replace(cause, measure=1.0)
    hold_off.told(cause, 3000)
    assert hold_off.due([worse], 3500) == []
    assert hold_off.due([cause], 3700) == []
    assert hold_off.due([worse], 3700) == [worse]
