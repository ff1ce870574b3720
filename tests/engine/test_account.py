"""Which reasons are one line of the account."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from live_restore.engine.account import grouped
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.reasons import ReasonKind
from live_restore.journal.states import State
from live_restore.stack import Fingerprint, StackKey


@pytest.fixture
def entry(tmp_path: Path) -> Entry:
    with Journal(tmp_path / "state" / "j.sqlite", tmp_path, recipe="one") as journal:
        journal.record(StackKey(Path("a.tif")), Fingerprint(1, 1), State.REFUSED, "reason")
        (found,) = journal.entries()
    return found


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("3 of 7 planes", "4 of 12 planes", True),
        ("int32 voxels; convert it", "int8 voxels; convert it", False),
        ("float16 voxels", "float64 voxels", False),
        ("is constant (every voxel is 100)", "is constant (every voxel is 65535)", False),
        ("is constant (every voxel is 100)", "is constant (every voxel is 100)", True),
    ],
)
def test_reasons_that_differ_in_what_a_person_has_to_know_are_told_apart(
    entry: Entry, one: str, other: str, alike: bool
) -> None:
    groups = grouped([replace(entry, reason=each) for each in (one, other)], pattern=None)
    assert (len(groups) == 1) is alike
    kinds = {ReasonKind.of(each, entry.key) for each in (one, other)}
    assert (len(kinds) == 1) is alike
