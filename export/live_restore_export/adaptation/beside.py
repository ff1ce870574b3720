"""Learning beside a daemon: it stands still while that has anything to do."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from live_restore.errors import LiveRestoreError
from live_restore.journal.database import lock_is_held
from live_restore.journal.view import JournalView, is_busy

_LOOK_S = 0.3


def while_nothing_waits(root: Path, journal: Path) -> Callable[[], None]:
    """Return what to call between two steps: it returns as soon as a daemon has nothing to do.

    Parameters
    ----------
    root, journal
        The watched folder, and the file of its journal, which is only read.
    """
    looked_at = 0.0

    def wait() -> None:
        nonlocal looked_at
        while time.monotonic() - looked_at >= _LOOK_S:
            with suppress(LiveRestoreError), JournalView(journal, root) as view:
                # What waits in the journal of a daemon that has ended waits for nobody.
                if is_busy(view) and lock_is_held(journal):
                    time.sleep(_LOOK_S)
                    continue
            looked_at = time.monotonic()

    return wait
