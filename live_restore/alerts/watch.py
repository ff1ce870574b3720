"""Looks at a run, and tells people; a process of its own, which touches nothing of the run.

::

    daemon ──writes──> journal, reports <──reads── alerts ──> mail, Teams, a command ...

It can hang in a mail server or be killed, and the daemon does not notice; and it is there to tell
when the daemon is not any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import structlog

from live_restore.alerts.problem import AlertProblem
from live_restore.alerts.rules import Cause, HoldOff, Situation, causes_in
from live_restore.alerts.senders import Sender, send_to
from live_restore.errors import LiveRestoreError, one_line
from live_restore.overview.run import Run
from live_restore.settings.alerts import AlertSettings

log = structlog.get_logger()

_LOOK_S = 2.0
_SOON_S = 0.3
_LAST_LOOKS = 10
_AGAIN_S = 60.0
"""A message that reached nobody is tried again after this time."""


@dataclass
class _Receiver:
    """Somebody who is told, and what they were told."""

    sender: Sender
    hold_off: HoldOff
    again_at: float = field(default=-1.0)
    problem: str = ""


class AlertWatch:
    """Tells people about one run.

    Parameters
    ----------
    run
        What is looked at.
    rules
        What they are told of.
    senders
        Who is told; one that fails keeps no other from it.
    problem
        Where it is kept that somebody cannot be told.
    """

    def __init__(
        self,
        run: Run,
        rules: AlertSettings,
        senders: Sequence[Sender],
        problem: AlertProblem | None = None,
    ) -> None:
        self._run = run
        self._problem = problem
        self._rules = rules
        self._receivers = [
            _Receiver(sender, HoldOff(60 * rules.hold_off_min)) for sender in senders
        ]

    def look(self, *, afresh: bool = False) -> bool:
        """Look once, and tell what is new; return whether the run is watched."""
        self._run.look(afresh=afresh)
        self._run.finish_reading()
        watched, last_run = self._run.last_watch
        disk = self._run.disk()
        free = disk[-1][1] if disk else None
        since = last_run.started_at or 0.0
        situation = Situation(self._run.shown(), watched, last_run, since, free)
        causes = causes_in(situation, self._rules, time.time())
        for receiver in self._receivers:
            self._tell(receiver, causes)
        return watched

    def run(self) -> None:
        """Look again and again, until somebody ends this process."""
        while True:
            self.look()
            time.sleep(_LOOK_S)

    def run_beside(self, daemon_gone: threading.Event, since: float) -> None:
        """Look while a daemon runs, and once more when it has gone, however it went.

        Parameters
        ----------
        daemon_gone
            Is set then.
        since
            It began after this time (s since 1970): how an earlier one ended is no news.
        """
        while not daemon_gone.is_set() and not self._has_begun(since):
            self._run.look(afresh=True)
            daemon_gone.wait(_SOON_S)
        while not daemon_gone.is_set():
            self.look()
            daemon_gone.wait(_LOOK_S)
        if not self._has_begun(since):
            return
        for _ in range(_LAST_LOOKS):  # its lock may go a moment later than its pipe
            if not self.look(afresh=True):
                return
            time.sleep(_SOON_S)

    def _has_begun(self, since: float) -> bool:
        return (self._run.last_watch[1].started_at or 0.0) >= since

    def _tell(self, receiver: _Receiver, causes: Sequence[Cause]) -> None:
        now = time.monotonic()
        if now < receiver.again_at:
            return
        for cause in receiver.hold_off.due(causes, now):
            try:
                send_to(receiver.sender, self._run.root, cause.title, cause.text)
            except LiveRestoreError as error:
                log.error("nobody was told", cause=cause.title, reason=error.reason)
                self._keep(receiver, f"nobody can be told: {error}")
                receiver.again_at = time.monotonic() + _AGAIN_S
                return
            receiver.hold_off.told(cause, now)
            log.info("told", cause=cause.title)
            self._keep(receiver, "")

    def _keep(self, receiver: _Receiver, problem: str) -> None:
        """Keep why somebody cannot be told, where people look who were not."""
        receiver.problem = problem
        if self._problem is None:
            return
        try:
            self._problem.write(next((r.problem for r in self._receivers if r.problem), ""))
        except (OSError, LiveRestoreError) as error:
            log.error("not shown", reason=one_line(error))
