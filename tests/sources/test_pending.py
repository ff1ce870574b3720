"""What sources find reaches the journal in batches, and one bad row costs the others nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_restore.errors import JournalError
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.sources.pending import Finding, PendingFindings
from live_restore.sources.source import Callbacks
from live_restore.stack import Fingerprint, StackKey
from tests.support.keys import key_at

# The year 2286 and later in nanoseconds is more than a journal's integer holds.
IN_2286 = Fingerprint(10, 10**19)
SOUND = Fingerprint(10, 1)


def test_one_row_that_no_journal_can_hold_costs_the_others_nothing(tmp_path: Path) -> None:
    bad: list[tuple[StackKey, State]] = []
    warnings: list[str] = []
    callbacks = Callbacks(lambda key, state: bad.append((key, state)), warnings.append)
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="one") as journal:
        pending = PendingFindings(journal, callbacks, lambda: 0.0)
        pending._recorded_at = 0.0
        for name, fingerprint in (("a.tif", SOUND), ("b.tif", IN_2286), ("c.tif", SOUND)):
            pending.add(key_at(name), Finding(fingerprint, State.WAITING, "", 1))
        pending.record()
        assert [e.key for e in journal.entries()] == [key_at("a.tif"), key_at("c.tif")]
    assert bad == [(key_at("b.tif"), State.FAILED)]
    assert len(warnings) == 1
    assert warnings[0].startswith("b.tif: has a size or a date that the journal cannot keep")


def test_what_the_disk_refuses_is_kept_for_the_next_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="one") as journal:
        pending = PendingFindings(journal, Callbacks(), lambda: 0.0)
        with monkeypatch.context() as patch:

            def refuse(*_: object) -> None:
                raise JournalError("the disk is full")

            patch.setattr(journal, "record", refuse)
            pending.add(key_at("a.tif"), Finding(SOUND, State.WAITING))
            with pytest.raises(JournalError):
                pending.record()
        assert journal.entries() == []
        assert pending.settled(key_at("a.tif")) == SOUND
        pending.record()
        assert [e.key for e in journal.entries()] == [key_at("a.tif")]
