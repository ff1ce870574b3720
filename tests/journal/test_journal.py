"""The journal: every state and order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from live_restore.journal.entry import GROWING
from live_restore.journal.journal import Journal
from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.stack import Fingerprint, StackIndex, StackKey
from tests.support.journal import NEW, OLD, A, B, C, claimed, only
from tests.support.keys import key_at


def test_from_arriving_to_done(journal: Journal) -> None:
    journal.record(A, OLD, State.ARRIVING, "2 of 3 planes")
    assert (only(journal).state, only(journal).reason) == (State.ARRIVING, "2 of 3 planes")
    assert journal.lease(30) is None
    journal.record(A, NEW, State.WAITING, stacks=4)
    entry = journal.lease(30)
    assert entry is not None
    assert (entry.key, entry.state, entry.attempts, entry.stacks) == (A, State.RUNNING, 1, 4)
    assert journal.counts()[State.RUNNING] == 1
    journal.finish(entry, State.DONE, result="restored/a.ome.tif")
    done = only(journal)
    assert (done.state, done.result, done.fingerprint) == (State.DONE, "restored/a.ome.tif", NEW)
    assert done.finished_at is not None
    assert done.finished_at >= done.seen_at
    assert journal.lease(30) is None
    assert not journal.waits()


@pytest.mark.parametrize("state", [State.ARRIVING, State.INCOMPLETE, State.FAILED, State.REFUSED])
def test_what_a_source_says_is_kept(journal: Journal, state: State) -> None:
    journal.record(A, OLD, state, "because")
    assert (only(journal).state, only(journal).reason) == (state, "because")
    assert journal.counts() == {s: int(s is state) for s in State}


@pytest.mark.parametrize("state", [State.RUNNING, State.DONE])
def test_a_source_cannot_say_what_only_a_worker_knows(journal: Journal, state: State) -> None:
    with pytest.raises(ValueError, match="cannot record"):
        journal.record(A, OLD, state)


@pytest.mark.parametrize("state", [State.WAITING, State.RUNNING, State.INCOMPLETE])
def test_a_claim_ends_with_a_verdict(journal: Journal, state: State) -> None:
    with pytest.raises(ValueError, match="cannot end"):
        journal.finish(claimed(journal), state)


def test_a_file_that_is_still_written_goes_back_to_arriving(journal: Journal) -> None:
    journal.record(A, OLD, State.WAITING, GROWING, 2)
    entry = journal.lease(30.0)
    assert entry is not None
    assert entry.growing
    journal.finish(entry, State.ARRIVING, reason="so far", result="restored/a.ome.tif")
    now = journal.entry(A)
    assert now is not None
    assert (now.state, now.result, now.finished_at) == (State.ARRIVING, "restored/a.ome.tif", None)


def test_that_a_file_is_finished_is_recorded_over_its_lease(journal: Journal) -> None:
    journal.record(A, OLD, State.WAITING, GROWING, 2)
    entry = journal.lease(30.0)
    assert entry is not None
    journal.record(A, OLD, State.WAITING, GROWING, 2)
    assert journal.entry(A) == entry, "nothing new"
    journal.record(A, OLD, State.WAITING, "", 3)
    journal.finish(entry, State.ARRIVING, reason="so far")
    now = journal.entry(A)
    assert now is not None
    assert (now.state, now.reason) == (State.WAITING, "")


def test_stacks_that_were_left_out_have_rows_until_they_are_not(journal: Journal) -> None:
    first, second = StackIndex(0, 1, 0), StackIndex(0, 2, 0)
    journal.record(A, OLD, State.WAITING, stacks=2)
    entry = journal.lease(30.0)
    assert entry is not None
    journal.finish(entry, State.DONE)
    journal.record_left(entry, {first: (State.FAILED, "x"), second: (State.INCOMPLETE, "y")})
    assert {i: e.state for i, e in journal.stacks_in(A.acquisition).items()} == {
        first: State.FAILED, second: State.INCOMPLETE,
    }  # fmt: skip
    assert journal.retry_failed() == 1
    assert set(journal.stacks_in(A.acquisition)) == {second}
    again = journal.lease(30.0)
    assert again is not None
    assert again.key == A, "the file is what is worked on"
    journal.record_left(entry, {})
    assert not journal.stacks_in(A.acquisition)
    journal.record_left(entry, {first: (State.FAILED, "x")})
    journal.record(A, NEW, State.REFUSED, "another file")
    assert not journal.stacks_in(A.acquisition)


def test_claims_are_in_order_of_completion(journal: Journal) -> None:
    journal.record(A, OLD, State.ARRIVING)
    for source in (B, A, C):
        journal.record(source, OLD, State.WAITING)
    assert journal.waits(frozenset({A, B}))
    assert not journal.waits(frozenset({A, B, C}))
    order = []
    while entry := journal.lease(30):
        order.append(entry.key)
    assert order == [B, A, C]


def test_the_newest_may_come_first(journal: Journal) -> None:
    for name in ("a.tif", "b.tif", "c.tif"):
        journal.record(key_at(name), OLD, State.WAITING)
    claims = [journal.lease(30, newest_first=True) for _ in range(4)]
    assert [c and c.key.path.name for c in claims] == ["c.tif", "b.tif", "a.tif", None]


def test_the_stacks_of_a_data_set_are_told_by_their_places(journal: Journal) -> None:
    inside = [key_at("run_1/p000_t0000_c00"), key_at("run_1/p002_t0013_c01")]
    beside = [
        "run_1/p.tif",
        "run_1/q",
        "run_1/p000_t0000_c00/p000_t0000_c00",
        "run_10/p000_t0000_c00",
    ]
    for source in (*inside, *map(key_at, beside), key_at("p000_t0007_c00")):
        journal.record(source, OLD, State.WAITING)
    found = journal.stacks_in(Path("run_1"))
    assert {stack_index: entry.key for stack_index, entry in found.items()} == {
        StackIndex(0, 0, 0): inside[0],
        StackIndex(2, 13, 1): inside[1],
    }
    assert set(journal.stacks_in(Path())) == {StackIndex(0, 7, 0)}


def test_a_stack_whose_result_was_deleted_is_made_again(journal: Journal, tmp_path: Path) -> None:
    entry = claimed(journal, key_at("run_1/p000_t0000_c00"))
    journal.finish(entry, State.DONE, result=str(tmp_path / "deleted.ome.tif"))
    assert journal.redo_missing(tmp_path) == 0  # the data set is not there either
    (tmp_path / "run_1").mkdir()
    assert journal.redo_missing(tmp_path) == 1


def test_a_waiting_file_that_is_named_again_keeps_its_turn(journal: Journal) -> None:
    journal.record(A, OLD, State.WAITING)
    journal.record(B, OLD, State.WAITING)
    journal.record(A, OLD, State.WAITING, stacks=2)
    assert [e.key for e in journal.entries()] == [A, B]
    journal.record(A, NEW, State.WAITING)
    assert [e.key for e in journal.entries()] == [B, A]


def test_excluded_sources_are_left_for_later(journal: Journal) -> None:
    journal.record(A, OLD, State.WAITING)
    journal.record(B, OLD, State.WAITING)
    entry = journal.lease(30, frozenset({A}))
    assert entry is not None
    assert entry.key == B
    assert journal.lease(30, frozenset({A})) is None


@pytest.mark.parametrize("newest_first", [False, True])
def test_while_a_place_rests_it_is_asked_about_once_per_folder(
    journal: Journal, newest_first: bool
) -> None:
    """Asked for each of 100,000 stacks, a lease took seconds, and whoever records waited."""
    full = [StackKey(Path(f"full/{number}.tif")) for number in range(300)]
    full += [StackKey(Path("full/run_1"), StackIndex(0, number, 0)) for number in range(300)]
    other = [StackKey(Path(f"other disk/{number}.tif")) for number in range(3)]
    with journal.batch():
        for key in (*full[:300], *other, *full[300:]):
            journal.record(key, OLD, State.WAITING)
    asked: list[StackKey] = []

    def resting(key: StackKey) -> bool:
        asked.append(key)
        return key.acquisition.parts[0] == "full"

    order = other[::-1] if newest_first else other
    for expected in (*order[1:], None):
        asked.clear()
        entry = journal.lease(
            30, {order[0]}, resting=resting, alone=True, newest_first=newest_first
        )
        assert (entry and entry.key) == expected
        assert len(asked) <= 3
    assert journal.lease(30, newest_first=newest_first) is not None


def test_given_back_it_keeps_turn_and_account(journal: Journal) -> None:
    entry = claimed(journal, A)
    journal.record(B, OLD, State.WAITING)
    journal.give_back(entry, "no space")
    assert [(e.key, e.attempts) for e in journal.entries()] == [(A, 0), (B, 0)]
    assert journal.entries()[0].reason == "no space"
    entry = journal.lease(30)
    assert entry is not None
    assert entry.key == A
    journal.give_back(entry, counts=True)
    assert journal.entries()[0].attempts == 1


def test_a_verdict_about_a_replaced_file_is_ignored(journal: Journal) -> None:
    entry = claimed(journal)
    journal.record(A, NEW, State.ARRIVING, "being written")
    journal.finish(entry, State.DONE, result="old")
    assert (only(journal).state, only(journal).result) == (State.ARRIVING, "")
    journal.record(A, NEW, State.WAITING)
    journal.finish(entry, State.FAILED, reason="old")
    journal.give_back(entry)
    assert (only(journal).state, only(journal).fingerprint) == (State.WAITING, NEW)


def test_a_verdict_about_the_old_file_does_not_end_the_claim_on_the_new(journal: Journal) -> None:
    old = claimed(journal)
    new = claimed(journal, A, NEW)
    journal.finish(old, State.DONE)
    assert only(journal).state is State.RUNNING
    journal.finish(new, State.DONE)
    assert only(journal).state is State.DONE


def test_a_claim_ends_once(journal: Journal) -> None:
    entry = claimed(journal)
    journal.finish(entry, State.DONE, result="there")
    journal.give_back(entry, "too late")
    journal.finish(entry, State.FAILED, reason="too late")
    assert (only(journal).state, only(journal).result) == (State.DONE, "there")


def test_naming_a_file_again_does_not_break_the_claim_on_it(journal: Journal) -> None:
    entry = claimed(journal)
    journal.record(A, OLD, State.WAITING)
    assert only(journal).state is State.RUNNING
    journal.finish(entry, State.DONE)
    assert only(journal).state is State.DONE


def test_a_changed_file_starts_anew(journal: Journal) -> None:
    journal.finish(claimed(journal), State.DONE, result="x")
    journal.record(A, NEW, State.WAITING)
    entry = only(journal)
    assert (entry.attempts, entry.finished_at, entry.result) == (0, None, "")


def test_a_lost_file_is_new_when_it_comes_back(journal: Journal) -> None:
    journal.lose(claimed(journal), "vanished")
    assert (only(journal).state, only(journal).reason) == (State.FAILED, "vanished")
    assert only(journal).fingerprint not in (OLD, NEW)


def test_what_is_recorded_of_a_whole_acquisition_costs_its_stacks_nothing(journal: Journal) -> None:
    """It could not be read for a moment, and can again; of a file, its stacks go with it."""
    run = key_at("run_1")
    journal.record_acquisition(run.acquisition, "ndtiff")
    for acquisition in (run.acquisition, A.acquisition):
        journal.record(StackKey(acquisition, StackIndex(0, 0, 0)), OLD, State.WAITING, stacks=1)
    for key in (run, A):
        journal.record(key, Fingerprint(0, 0), State.REFUSED, "cannot be read just now")
        journal.forget(key)
    assert only(journal).key == StackKey(run.acquisition, StackIndex(0, 0, 0))


def test_forget_drops_only_what_was_not_worked_on(journal: Journal) -> None:
    journal.finish(claimed(journal, A), State.DONE)
    journal.record(B, OLD, State.ARRIVING)
    claimed(journal, C)
    for source in (A, B, C):
        journal.forget(source)
    assert {e.key for e in journal.entries()} == {A, C}


def test_retry_failed_gives_a_clean_account(journal: Journal) -> None:
    journal.finish(claimed(journal, A), State.FAILED, reason="bad")
    journal.finish(claimed(journal, B), State.REFUSED, reason="2-D")
    assert journal.retry_failed() == 1
    entry = journal.lease(30)
    assert entry is not None
    assert (entry.key, entry.attempts, entry.reason) == (A, 1, "")
    assert journal.lease(30) is None


def test_another_recipe_is_new_work(file: Path, tmp_path: Path) -> None:
    with Journal(file, tmp_path, recipe="one") as journal:
        journal.finish(claimed(journal), State.DONE)
    with Journal(file, tmp_path, recipe="two") as journal:
        assert journal.entries() == []
        assert claimed(journal).key == A
    with Journal(file, tmp_path, recipe="one") as journal:
        assert only(journal).state is State.DONE


@pytest.mark.skipif(os.name != "posix", reason="names are always text there")
def test_names_need_not_be_text(journal: Journal, tmp_path: Path) -> None:
    source = StackKey(Path(os.fsdecode(b"caf\xe9 \xff\n.tif")))
    entry = claimed(journal, source)
    assert entry.key == source
    result = tmp_path / "restored" / source.path
    journal.finish(entry, State.DONE, reason=f"odd: {source.path}", result=str(result))
    assert only(journal).result == str(result)
    assert only(journal).reason.isprintable()


@pytest.mark.skipif(os.name != "posix", reason="names are always text there")
def test_a_root_need_not_be_text(file: Path, tmp_path: Path) -> None:
    root = tmp_path / os.fsdecode(b"\xff")
    with Journal(file, root, recipe="one") as journal:
        assert journal.entries() == []
    assert journal_path(root, tmp_path).suffix == ".sqlite"


def test_each_folder_has_its_own_journal_outside_it(tmp_path: Path, state_folder: Path) -> None:
    one, two = journal_path(tmp_path / "1"), journal_path(tmp_path / "2")
    assert one != two
    assert state_folder in one.parents
    assert journal_path(tmp_path / "x" / ".." / "1") == one


def test_thousands_of_files_are_recorded_and_asked_for_cheaply(journal: Journal) -> None:
    """By the plans of the queries, which do not depend on the machine."""
    with journal._file.reading() as db:
        for query, index in (
            ("SELECT COALESCE(MAX(turn), 0) + 1 FROM entry", "entry_by_turn"),
            (
                "SELECT * FROM entry WHERE recipe = 'one' AND state = 'waiting' ORDER BY turn",
                "entry_by_state",
            ),
            (
                "SELECT * FROM entry WHERE recipe = 'one' AND state = 'waiting' AND folder = x'' "
                "ORDER BY turn DESC",
                "entry_by_folder",
            ),
        ):
            plan = " ".join(row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {query}"))
            assert index in plan, plan
            assert "TEMP B-TREE" not in plan, plan


def test_a_lost_result_is_told_and_made_again(journal: Journal, tmp_path: Path) -> None:
    for source in (A, B, C):
        (tmp_path / source.path).parent.mkdir(exist_ok=True)
        (tmp_path / source.path).touch()
        journal.finish(claimed(journal, source), State.DONE, result=str(tmp_path / f"{source}.r"))
        (tmp_path / f"{source}.r").touch()
    assert not any(e.lost_its_result(tmp_path) for e in journal.entries())
    (tmp_path / f"{A}.r").unlink()
    (tmp_path / f"{B}.r").unlink()
    (tmp_path / B.acquisition).unlink()  # nothing to restore it from
    assert [e.key for e in journal.entries() if e.lost_its_result(tmp_path)] == [A]
    assert journal.redo_missing(tmp_path) == 1
    entry = journal.lease(30)
    assert entry is not None
    assert (entry.key, entry.attempts) == (A, 1)
    assert journal.lease(30) is None
