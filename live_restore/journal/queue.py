"""What is leased next: of all that waits, the first that is not put off and has a place to go.

While the disk of results is full, a hundred thousand stacks may wait for it, and whoever records
what arrives waits while the next lease is looked for. So places are asked about once per folder,
never once per stack: 2 s became 0.3 ms (``benchmarks/scan.py``).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Iterator

from live_restore.journal.entry import key_of
from live_restore.stack import StackKey

# SQLite steps from one folder to the next in the index; DISTINCT would read all its rows.
_FOLDERS = """
WITH RECURSIVE each (folder) AS (
    SELECT MIN(folder) FROM entry WHERE recipe = :recipe AND state = 'waiting'
    UNION ALL
    SELECT (SELECT MIN(folder) FROM entry
            WHERE recipe = :recipe AND state = 'waiting' AND folder > each.folder)
    FROM each WHERE each.folder IS NOT NULL
)
SELECT folder FROM each WHERE folder IS NOT NULL
"""


def first(
    db: sqlite3.Connection,
    recipe: str,
    exclude: Container[StackKey],
    resting: Callable[[StackKey], bool] | None,
    *,
    newest_first: bool,
) -> sqlite3.Row | None:
    """Return the row to lease, ``None`` if there is none now.

    Parameters
    ----------
    recipe
        Whose.
    exclude
        What is put off.
    resting
        Whether the results of a row, and of others in its folder, have no place just now; ``None``:
        all have.
    newest_first
        Begin with what was complete last.
    """
    if resting is None:
        return next(
            (row for row in _waiting(db, recipe, newest_first) if key_of(row) not in exclude), None
        )
    best: sqlite3.Row | None = None
    for (folder,) in db.execute(_FOLDERS, {"recipe": recipe}).fetchall():
        rows = _waiting(db, recipe, newest_first, folder)
        for number, row in enumerate(rows):
            key = key_of(row)
            if number == 0 and resting(key):
                break
            if key not in exclude:
                if best is None or (row["turn"] > best["turn"]) == newest_first:
                    best = row
                break
    return best


def _waiting(
    db: sqlite3.Connection, recipe: str, newest_first: bool, folder: bytes | None = None
) -> Iterator[sqlite3.Row]:
    """Yield what waits (in a folder), in order, as far as it is asked for."""
    inside = "" if folder is None else "AND folder = ? "
    order = "DESC" if newest_first else "ASC"
    yield from db.execute(
        "SELECT * FROM entry WHERE recipe = ? AND state = 'waiting' "  # noqa: S608 - constants
        f"{inside}ORDER BY turn {order}",
        (recipe,) if folder is None else (recipe, folder),
    )
