"""Raw data that were renamed together with their results: one row, not one for each name."""

from __future__ import annotations

import sqlite3
from typing import Any

from live_restore.journal.entry import key_columns
from live_restore.stack import Fingerprint, StackKey

_FORMER = """
SELECT * FROM entry WHERE recipe = :recipe AND state = 'done' AND size = :size
    AND mtime_ns = :mtime_ns AND acquisition != :acquisition AND position = :position
    AND time = :time AND channel = :channel ORDER BY id
"""
_DATE = """
UPDATE entry SET mtime_ns = :mtime_ns WHERE recipe = :recipe AND acquisition = :acquisition
    AND position = :position AND time = :time AND channel = :channel AND size = :size
    AND state = 'done'
"""
_INHERIT = """
UPDATE entry SET (turn, seen_at, finished_at) = (
    SELECT turn, seen_at, finished_at FROM entry AS was
    WHERE was.recipe = :recipe AND was.acquisition = :former AND was.position = :position
        AND was.time = :time AND was.channel = :channel)
WHERE recipe = :recipe AND acquisition = :acquisition AND position = :position
    AND time = :time AND channel = :channel AND state = 'done'
"""
# Of a run, what is not done is found anew under its new name, and what is, one by one.
_FORGET = """
DELETE FROM entry WHERE recipe = :recipe AND acquisition = :former AND state != 'running' AND (
    state != 'done' OR (position = :position AND time = :time AND channel = :channel))
"""
_FORGET_RUN = """
DELETE FROM acquisition WHERE acquisition = :former
    AND NOT EXISTS (SELECT 1 FROM entry WHERE entry.acquisition = :former)
"""


def former(
    db: sqlite3.Connection, recipe: str, key: StackKey, fingerprint: Fingerprint
) -> list[sqlite3.Row]:
    """Return the rows of the same stack, of raw data like these, under other names."""
    values: dict[str, Any] = {
        "recipe": recipe,
        "size": fingerprint.size,
        "mtime_ns": fingerprint.mtime_ns,
        **key_columns(key),
    }
    return db.execute(_FORMER, values).fetchall()


def date(db: sqlite3.Connection, recipe: str, key: StackKey, made_of: Fingerprint) -> None:
    """Let the row of ``key``, which is done, have the date of what its report tells of."""
    values = {"recipe": recipe, "size": made_of.size, "mtime_ns": made_of.mtime_ns}
    db.execute(_DATE, {**values, **key_columns(key)})


def take_over(db: sqlite3.Connection, recipe: str, key: StackKey, was: StackKey) -> None:
    """Let the row of ``key``, which is done, stand for that of ``was``, too.

    It keeps when the stack was seen and done.
    """
    values = {
        "recipe": recipe,
        "former": key_columns(was)["acquisition"],
        **key_columns(key),
    }
    for statement in (_INHERIT, _FORGET, _FORGET_RUN):
        db.execute(statement, values)
