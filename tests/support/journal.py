"""Keys and fingerprints for a journal, and how it comes to hold a claim."""

from __future__ import annotations

from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.stack import Fingerprint, StackKey
from tests.support.keys import key_at

A, B, C = key_at("a.tif"), key_at("sub/b.tif"), key_at("c.tif")
OLD, NEW = Fingerprint(10, 1), Fingerprint(20, 2)


def only(journal: Journal) -> Entry:
    """Return the one entry of a journal."""
    (entry,) = journal.entries()
    return entry


def claimed(journal: Journal, key: StackKey = A, fingerprint: Fingerprint = OLD) -> Entry:
    """Let a stack wait, and return it leased."""
    journal.record(key, fingerprint, State.WAITING, stacks=1)
    entry = journal.lease(30)
    assert entry is not None
    return entry
