"""What people ask of a running daemon: a folder beside the journal, an empty file per wish.

Whoever asks writes there, and only the daemon writes to the journal: so nobody who asks can hold
up, or break, what remembers the experiment. A wish is the name of a file, so that there is no
content to believe.
"""

from __future__ import annotations

import itertools
import os
import re
import secrets
import time
from enum import StrEnum
from pathlib import Path

from live_restore.errors import OutputError

_NAME = re.compile(r"(?P<at>[0-9]{20})-[0-9a-f]{8}\.(?P<wish>[a-z-]{1,20})", re.ASCII)
_MOST_LOOKED_AT = 200


class Wish(StrEnum):
    """What can be asked for."""

    PAUSE = "pause"
    RESUME = "resume"
    NEWEST_FIRST = "newest-first"
    IN_TURN = "in-turn"


_WISHES = frozenset(each.value for each in Wish)


def wishes_folder(journal: Path) -> Path:
    """Return the folder of wishes of the journal in that file."""
    return journal.with_suffix(".wishes")


def send_wish(folder: Path, wish: Wish) -> None:
    """Leave a wish for the daemon; raises ``OutputError`` where the disk refuses."""
    name = f"{time.time_ns():020d}-{secrets.token_hex(4)}.{wish.value}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        os.close(os.open(folder / name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except OSError as error:
        raise OutputError(
            f"nothing can be asked of the daemon ({error.strerror or error})", folder,
            "make that folder writable",
        ) from error  # fmt: skip


def take_wishes(folder: Path, since_ns: int = 0) -> list[Wish]:
    """Return what is asked for, in order, and remove it; raises ``OSError``.

    What was asked for before ``since_ns`` (ns since 1970) was asked of somebody else: it goes, too.

    An absent folder means that nobody asks. Names that are no wishes are left alone.
    """
    try:
        with os.scandir(folder) as listing:
            names = [each.name for each in itertools.islice(listing, _MOST_LOOKED_AT)]
    except FileNotFoundError:
        return []
    taken = []
    for name in sorted(names):
        match = _NAME.fullmatch(name)
        if match is not None and match["wish"] in _WISHES:
            (folder / name).unlink(missing_ok=True)
            if int(match["at"]) >= since_ns:
                taken.append(Wish(match["wish"]))
    return taken
