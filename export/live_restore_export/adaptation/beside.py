"""Learning beside a daemon: it stands still while that has anything to do, and says so."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from live_restore.errors import LiveRestoreError
from live_restore.journal.database import lock_is_held
from live_restore.journal.view import JournalView, is_busy

_LOOK_S = 0.3
_SAY_S = 2.0
"""Between two lines on how far it is: somebody may look on, and nobody reads faster."""


class BesideDaemon:
    """Lets a daemon go first.

    Parameters
    ----------
    root, journal
        The watched folder, and the file of its journal, which is only read.
    minutes
        That may be learnt, as far as that says how far it is.
    say
        Gets lines for people: how far it is, and when it stands still.
    """

    def __init__(
        self, root: Path, journal: Path, minutes: float, say: Callable[[str], None]
    ) -> None:
        self._root, self._journal = root, journal
        self._minutes = minutes
        self._say = say
        self._looked_at = self._said_at = float("-inf")
        self._so_far = ""

    def wait(self) -> None:
        """Return as soon as the daemon has nothing to do; call it between two steps."""
        waited = False
        while time.monotonic() - self._looked_at >= _LOOK_S:
            with suppress(LiveRestoreError), JournalView(self._journal, self._root) as view:
                # What waits in the journal of a daemon that has ended waits for nobody.
                if is_busy(view) and lock_is_held(self._journal):
                    if not waited:
                        self._say(f"standing still while stacks are restored{self._so_far}")
                    waited = True
                    time.sleep(_LOOK_S)
                    continue
            self._looked_at = time.monotonic()
        if waited:
            self._tell()

    def progress(self, step: int, minutes: float) -> None:
        """Take notice of a step, and of how long was learnt (minutes)."""
        self._so_far = f", step {step}, {minutes:.1f} of {self._minutes:g} min"
        if time.monotonic() - self._said_at >= _SAY_S:
            self._tell()

    def _tell(self) -> None:
        self._said_at = time.monotonic()
        self._say(f"learning{self._so_far}")
