"""The nouns: what a fingerprint says of a file, whatever its date."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_restore.journal.journal import State
from live_restore.stack import Fingerprint
from tests.support.watched import Scene, stack

FIRST, LAST = -(2**63), 2**63 - 1
"""What SQLite can store."""


@given(st.integers(FIRST, LAST))
def test_a_date_that_the_journal_can_store_stays(mtime_ns: int) -> None:
    assert Fingerprint.in_range(10, mtime_ns) == (10, mtime_ns)


@given(st.integers(-(10**20), 10**20))
def test_every_date_fits_the_journal_and_keeps_its_side(mtime_ns: int) -> None:
    found = Fingerprint.in_range(10, mtime_ns).mtime_ns
    assert FIRST <= found <= LAST
    assert (found < 0) is (mtime_ns < 0)
    assert Fingerprint.in_range(10, found).mtime_ns == found


@given(st.sampled_from([-1, 1]), st.integers(2**63 + 1, 2**63 + 10**18))
def test_beyond_the_range_files_that_differ_still_do(sign: int, mtime_ns: int) -> None:
    here, later = (Fingerprint.in_range(10, sign * ns) for ns in (mtime_ns, mtime_ns + 1))
    assert here != later


@given(st.integers(FIRST, LAST), st.sampled_from([1, 100, 10**3, 10**6, 10**9]))
def test_a_date_that_another_computer_cuts_off_agrees_and_another_date_does_not(
    mtime_ns: int, unit: int
) -> None:
    here, there = Fingerprint(10, mtime_ns), Fingerprint(10, mtime_ns // unit * unit)
    assert here.agrees(there)
    assert there.agrees(here)
    assert not here.agrees(Fingerprint(11, there.mtime_ns))
    assert not here.agrees(Fingerprint(10, there.mtime_ns - 10**10))


def test_it_is_made_of_what_the_system_says(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"12345")
    os.utime(path, ns=(7, 1_600_000_000_123_456_789))
    assert Fingerprint.of(path.stat()) == (5, 1_600_000_000_123_456_789)


@pytest.mark.parametrize("date_ns", [10**19, -(10**19), -1])
def test_a_file_of_any_date_is_found_and_stays_known(tmp_path: Path, date_ns: int) -> None:
    root = tmp_path / "watched"
    path = stack(root / "a.tif")
    os.utime(path, ns=(date_ns, date_ns))
    if date_ns > 0 and path.stat().st_mtime_ns <= LAST:
        pytest.skip("this file system has no such dates")
    scene = Scene(root, tmp_path / "state" / "j.sqlite")
    scene.settle()
    assert scene.states() == {"a.tif": State.WAITING}
    assert scene.entry("a.tif").fingerprint == Fingerprint.of(path.stat())
    scene.restart()
    scene.settle()
    assert scene.states() == {"a.tif": State.WAITING}
    scene.journal.close()
