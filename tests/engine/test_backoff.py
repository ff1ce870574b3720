"""Patience with the journal's disk: growing waits, and one word per half minute."""

from __future__ import annotations

import structlog

from live_restore.engine.backoff import Backoff
from live_restore.engine.progress import Progress
from live_restore.errors import JournalError

FULL = JournalError("the journal cannot be written (full)", None, "free some space")


def test_waits_grow_to_a_limit_and_begin_anew() -> None:
    backoff = Backoff(Progress())
    assert [backoff.refused(FULL) for _ in range(7)] == [0.5, 1, 2, 4, 8, 10, 10]
    backoff.accepted()
    assert backoff.refused(FULL) == 0.5


def test_it_is_said_once_per_half_minute_even_if_some_writes_succeed() -> None:
    now = [0.0]
    progress = Progress()
    backoff = Backoff(progress, lambda: now[0])
    with structlog.testing.capture_logs() as logs:
        for _ in range(59):
            now[0] += 1
            backoff.refused(FULL)
            backoff.accepted()
    assert [entry["log_level"] for entry in logs].count("error") == 2
    (warning,) = progress.snapshot().warnings
    assert "free some space; it is tried again" in warning
