"""The states of a journal entry, and what may follow what.

::

    arriving ──> waiting ──> running ──> done
       │  ^         │ ^         │ ├────> failed      tried, and it cannot be restored
       v  │         │ └─────────┘ └────> refused     nothing in it to restore
    incomplete      v      (given back: retried after a wait, or its process died)
                 refused

Whatever changes on disk later starts again at *arriving*.
"""

from __future__ import annotations

from enum import StrEnum


class State(StrEnum):
    """Where a file, or a stack of an acquisition, stands."""

    ARRIVING = "arriving"
    INCOMPLETE = "incomplete"
    WAITING = "waiting"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    REFUSED = "refused"
