"""Rows of single stacks of a file: those that are not in its result.

The row of work is the file's; these say beside it what was left out, and are never worked on.
"""

from __future__ import annotations

import sqlite3

from live_restore.journal.entry import key_columns
from live_restore.stack import StackKey

# Those of an acquisition folder are work of their own, whatever is recorded of all of it.
_FORGET = """
DELETE FROM entry WHERE recipe = :recipe AND acquisition = :acquisition AND position != -1
    AND NOT EXISTS (SELECT 1 FROM acquisition AS a WHERE a.acquisition = :acquisition)
"""
_FAILED = """
SELECT stack.id AS id, file.id AS file_id FROM entry AS stack JOIN entry AS file
    ON file.recipe = stack.recipe AND file.acquisition = stack.acquisition AND file.position = -1
WHERE stack.recipe = :recipe AND stack.state = 'failed' AND stack.position != -1
"""


def forget_stacks(db: sqlite3.Connection, recipe: str, key: StackKey) -> None:
    """Forget the rows of a file's stacks."""
    db.execute(_FORGET, {"recipe": recipe, **key_columns(key)})


def retry_in_files(db: sqlite3.Connection, recipe: str) -> int:
    """Let files wait again of which stacks have failed; return how many.

    Their other stacks are in the results already.
    """
    rows = db.execute(_FAILED, {"recipe": recipe}).fetchall()
    for row in rows:
        db.execute("DELETE FROM entry WHERE id = ?", (row["id"],))
        db.execute(
            "UPDATE entry SET state = 'waiting', attempts = 0, reason = '' "
            "WHERE id = ? AND state = 'done'",
            (row["file_id"],),
        )
    return len({row["file_id"] for row in rows})
