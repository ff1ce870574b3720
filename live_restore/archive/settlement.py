"""What an answer of a worker means: an outcome, another attempt, or the end for that worker."""

from __future__ import annotations

from collections.abc import Callable

from live_restore.archive.desk import seen_at
from live_restore.archive.task import TaskAnswer
from live_restore.cluster.connection import Connection
from live_restore.engine.job import Remainder, ResultPlan
from live_restore.engine.outcome import OutcomeRecorder
from live_restore.engine.retry import Deferrals
from live_restore.errors import RuntimeFailureError, StackError
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.outputs.output import ResultPath
from live_restore.stack import Fingerprint

_LONGEST_TAKEN_S = 30.0


class Settlement:
    """Ends the leases of stacks that workers had in hand.

    Parameters
    ----------
    outcomes, deferrals, journal
        Where it is recorded.
    connection
        Told which worker gets no more.
    max_attempts
        So many workers may die over a stack.
    report
        Takes what a person must know.
    """

    def __init__(
        self,
        outcomes: OutcomeRecorder,
        deferrals: Deferrals,
        journal: Journal,
        connection: Connection,
        max_attempts: int,
        report: Callable[[str], None],
    ) -> None:
        self._outcomes = outcomes
        self._deferrals = deferrals
        self._journal = journal
        self._connection = connection
        self._max_attempts = max_attempts
        self._report = report

    def give_back(self, entry: Entry, reason: str) -> None:
        """Somebody else does it."""
        self._outcomes.give_back(entry, reason)

    def set_aside(self, worker: str, entry: Entry, reason: str) -> None:
        """A worker gets no more stacks, and somebody else does this one."""
        reason = f"worker {worker}: {reason}"
        self._connection.set_aside(worker, reason)
        self._report(f"{reason}; it gets no more stacks")
        self.give_back(entry, "its worker is set aside")

    def died_with(self, entry: Entry) -> None:
        """The worker died that had this in hand; so often, and it is to blame."""
        if entry.attempts < self._max_attempts:
            reason = f"attempt {entry.attempts}: the worker that had it died"
            self._outcomes.give_back(entry, reason, counts=True)
            self._report(f"{entry.key}: {reason}; it goes to another")
            return
        error = RuntimeFailureError(
            f"{entry.attempts} workers of {self._connection.address} died while they had it; set "
            "aside",
            None,
            "look at what they reported; live-restore watch --retry-failed tries it again",
        )
        self._outcomes.bad(entry, error)

    def settle(self, worker: str, entry: Entry, answer: TaskAnswer, remainder: Remainder) -> None:
        """Record what became of a stack, or that its worker is set aside."""
        if answer.outcome == "unsuited":
            self.set_aside(worker, entry, f"it {answer.what}")
        elif answer.outcome == "sick":
            self.set_aside(worker, entry, answer.what)
        elif answer.outcome == "taken":
            self._deferrals.add(entry.key, _LONGEST_TAKEN_S, retry=True)
            self._outcomes.give_back(entry, answer.what)
        elif answer.result is None:
            self._failed(worker, entry, answer)
        elif answer.outcome == "there":
            there = answer.result.here(self._journal.root)
            path = ResultPath(there.image, there.report, "", taken=True)
            renamed = answer.result.renamed
            plan = ResultPlan("", path, True, there.doubt, answer.note, renamed)
            self._outcomes.already_restored(entry, plan, remainder)
        else:
            published = answer.result.here(self._journal.root)
            self._outcomes.good(entry, published, remainder, answer.note)

    def _failed(self, worker: str, entry: Entry, answer: TaskAnswer) -> None:
        """Record why a stack is not restored, unless its worker sees another one under its name."""
        error = answer.as_error()
        if isinstance(error, StackError):
            path = self._journal.root / entry.key.acquisition
            here = seen_at(path)
            if here in ((0, 0), tuple(entry.fingerprint)) and not _alike(answer.seen, here):
                what = "nothing" if answer.seen is None else "another file"
                self.set_aside(
                    worker,
                    entry,
                    f"it sees {what} where {path} is; set cluster.paths there to what shared "
                    "storage is called, and look at its mounts",
                )
                return
        self._outcomes.bad(entry, error)


def _alike(seen: tuple[int, int] | None, here: tuple[int, int] | None) -> bool:
    """Return whether two computers see the same file, or both a folder."""
    if seen is None or here is None:
        return seen == here
    return Fingerprint(*seen).agrees(Fingerprint(*here))
