"""What the window's watch remembers of acquisitions: each bridge begins without a memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from live_restore.hooks.account import Account
from live_restore.hooks.child import Outcome


class SeenRuns:
    """The acquisitions that bridges have reported.

    Parameters
    ----------
    since
        When the daemon began (s since 1970).

    Attributes
    ----------
    unsaved_since
        When the last acquisition began that was not saved, and has been pulled to its end; before
        there is one, ``since``.
    """

    def __init__(self, since: float) -> None:
        self.unsaved_since = since
        self._started: dict[Path, object] = {}
        self._running: set[Path] = set()
        self._cut: set[Path] = set()

    def is_known(self, path: Path, started: object) -> bool:
        """Return whether it was reported before: under its path, and begun at the same time."""
        return path in self._started and self._started[path] == started

    def begin(self, path: Path, started: object) -> None:
        """It goes on."""
        self._started[path] = started
        self._running.add(path)

    def end(self, path: Path, unsaved: float | None) -> None:
        """It is over; ``unsaved``: it was pulled, and began then."""
        self._running.discard(path)
        if unsaved is not None:
            self.unsaved_since = max(self.unsaved_since, unsaved)

    def lose(self) -> None:
        """The bridge is gone; what was running may go on unseen."""
        self._cut |= self._running
        self._running.clear()

    def take_cut(self) -> set[Path]:
        """Return what may have gone on unseen, once."""
        cut, self._cut = self._cut, set()
        return cut


class RunReports:
    """Says once what became of each acquisition.

    Parameters
    ----------
    account
        Tells what became of one whose restoration has ended.
    say
        Shows the person one line.
    """

    def __init__(self, account: Callable[[Path], Account], say: Callable[[str], None]) -> None:
        self._account = account
        self._say = say
        self._reported: set[Path] = set()
        self._left_out: dict[Path, str] = {}

    def begin(self, path: Path) -> None:
        """It goes on, or is looked into anew: its end will be news."""
        self._reported.discard(path)
        self._left_out.pop(path, None)

    def leave_out(self, path: Path, what: str) -> None:
        """Of an acquisition that is not saved, this never became a file."""
        self._left_out[path] = what

    def report(self, outcome: Outcome) -> None:
        """Report an outcome, once it is one."""
        path = outcome.path
        if not outcome.done or path in self._reported:
            return
        self._reported.add(path)
        account = self._account(path)
        if path in self._left_out:
            account = replace(account, left_out=(self._left_out[path], *account.left_out))
        told = [account.line()] if account.left_out or not outcome.why else []
        self._say(f"{path}: {'; '.join([*told, *filter(None, [outcome.why])])}")
