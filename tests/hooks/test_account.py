"""What is said of an acquisition at its end: "restored" only where nothing was left out."""

from __future__ import annotations

from pathlib import Path

from live_restore.hooks.account import Account, account_of, read_account
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.sources.completeness import SINGLE_PLANE
from live_restore.stack import Fingerprint, StackIndex, StackKey


def entry(time: int, channel: int, state: State, reason: str = "") -> Entry:
    key = StackKey(Path(), StackIndex(0, time, channel))
    return Entry(key, state, reason, Fingerprint(1, 1), 1, 1, "", 0.0, None)


def test_nothing_left_out() -> None:
    account = account_of([entry(t, 0, State.DONE) for t in range(3)])
    assert (account.restored, account.line()) == (3, "restored")


def test_a_channel_without_z_stack_is_named_once() -> None:
    entries = [entry(t, 0, State.DONE) for t in range(40)]
    entries += [entry(t, 1, State.REFUSED, SINGLE_PLANE) for t in range(40)]
    line = account_of(entries).line()
    assert line == "40 stack(s) done, not restored: channel 1 has no z-stack"


def test_what_and_why() -> None:
    account = account_of(
        [
            entry(0, 0, State.DONE),
            entry(1, 0, State.INCOMPLETE, "3 of 5 planes; the run is over, not restored"),
            entry(2, 0, State.FAILED, "the model failed"),
            entry(3, 0, State.FAILED, "the model failed"),
            entry(4, 0, State.WAITING),
        ]
    )
    assert account.line() == (
        "1 stack(s) done, not restored: "
        "p000_t0001_c00 (incomplete: 3 of 5 planes; the run is over, not restored); "
        "p000_t0002_c00 and 1 more (failed: the model failed); p000_t0004_c00 (waiting)"
    )


def test_a_line_has_an_end() -> None:
    entries = [entry(t, 0, State.FAILED, f"reason {t}") for t in range(1000)]
    assert account_of(entries).line().endswith("; 997 more reason(s): live-restore status")


def test_it_is_read_from_the_journal_of_the_child(tmp_path: Path) -> None:
    run, journals = tmp_path / "run_1", tmp_path / "journals"
    run.mkdir()
    assert read_account(run, journals) == Account()
    with Journal(journal_path(run, journals), run, recipe="r" * 64) as journal:
        key = StackKey(Path(), StackIndex(0, 7, 0))
        journal.record(key, Fingerprint(1, 1), State.INCOMPLETE, "cut short")
    account = read_account(run, journals)
    assert account == Account(0, ("p000_t0007_c00 (incomplete: cut short)",))
    journal_path(run, journals).write_bytes(b"no journal")
    assert "journal" in read_account(run, journals).line()
