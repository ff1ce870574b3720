"""When a run is over: times in, decisions out."""

from __future__ import annotations

import pytest

from live_restore.settings.model import WatchSettings
from live_restore.sources.run_clock import END_HELD_S, RunClock

WATCH = WatchSettings(settle_s=0.25, quiet_s=2, stall_s=600)


def over(clock: RunClock, now: float, *, calm: bool = True, hurry: bool = False) -> bool:
    clock.decide(now, calm=calm, hurry=hurry)
    return clock.over


def test_an_end_marker_counts_once_it_has_held() -> None:
    """Between two files of one run it may be there for a moment."""
    clock = RunClock(0, WATCH)
    clock.see_end(10, ended=True, moved=False)
    assert END_HELD_S == 2
    assert not over(clock, 11.9)
    assert over(clock, 12)
    assert not over(clock, 12, calm=False)


@pytest.mark.parametrize(("ended", "moved"), [(False, False), (True, True)])
def test_an_end_marker_that_went_or_that_planes_follow_holds_anew(ended: bool, moved: bool) -> None:
    clock = RunClock(0, WATCH)
    clock.see_end(10, ended=True, moved=False)
    clock.see_end(11, ended=ended, moved=moved)
    clock.see_end(11.5, ended=True, moved=False)
    assert not over(clock, 12.9)
    assert over(clock, 13.5)


@pytest.mark.parametrize(("hurry", "patience_s"), [(False, 600), (True, 2)])
def test_without_an_end_marker_nothing_new_for_long_is_an_end(
    hurry: bool, patience_s: float
) -> None:
    clock = RunClock(0, WATCH)
    clock.moved(50)
    assert not over(clock, 50 + patience_s - 0.1, hurry=hurry)
    assert over(clock, 50 + patience_s, hurry=hurry)
    clock.moved(700)
    assert not over(clock, 700, hurry=hurry)
