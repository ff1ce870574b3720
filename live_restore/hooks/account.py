"""What became of an acquisition, by the journal of the process that restored it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import LiveRestoreError, one_line
from live_restore.files.naming import results_of_acquisition
from live_restore.journal.entry import Entry
from live_restore.journal.location import journal_path
from live_restore.journal.states import State
from live_restore.journal.view import JournalView
from live_restore.outputs.provenance import begun_by_another
from live_restore.sources.completeness import SINGLE_PLANE

# What one line has room for; the rest is counted.
_REASONS_NAMED = 3


@dataclass(frozen=True)
class Account:
    """What became of the stacks of one acquisition.

    Parameters
    ----------
    restored
        How many are.
    left_out
        Which are not, and why, a reason each; channels without z-stack once each.
    begun_with
        The model of its first results, where these are of another one; else "".
    """

    restored: int = 0
    left_out: tuple[str, ...] = ()
    begun_with: str = ""

    def line(self) -> str:
        """Return it in one line; "restored" stands alone only where nothing was left out."""
        named = self.named()
        line = f"{self.restored} stack(s) done, not restored: {named}" if named else "restored"
        if self.begun_with:
            line += f'; begun with the model "{self.begun_with}", so these have names of their own'
        return line

    def named(self) -> str:
        """Return what was left out, and why, "" where nothing was."""
        named = "; ".join(self.left_out[:_REASONS_NAMED])
        more = len(self.left_out) - _REASONS_NAMED
        return f"{named}; {more} more reason(s): live-restore status" if more > 0 else named


def account_of(entries: Iterable[Entry], begun_with: str = "") -> Account:
    """Return what the entries of one acquisition tell."""
    restored = 0
    flat: dict[int, int] = {}
    stacks: dict[str, list[str]] = {}
    for entry in entries:
        index = entry.key.index
        if entry.state is State.DONE:
            restored += 1
        elif entry.state is State.REFUSED and entry.reason == SINGLE_PLANE and index is not None:
            flat[index.channel] = flat.get(index.channel, 0) + 1
        else:
            label = str(entry.key) if index is None else index.label
            stacks.setdefault(f"{entry.state.value}: {one_line(entry.reason)}", []).append(label)
    left_out = [f"channel {channel} has no z-stack" for channel in sorted(flat)]
    for why, labels in stacks.items():
        others = f" and {len(labels) - 1} more" if len(labels) > 1 else ""
        left_out.append(f"{labels[0]}{others} ({why.removesuffix(': ')})")
    return Account(restored, tuple(left_out), begun_with)


def read_account(path: Path, journals: Path | None) -> Account:
    """Return what became of the acquisition at ``path``, once nobody works on it any more.

    Parameters
    ----------
    path
        Its folder; a single file has no journal, and what failed in it is told by its process.
    journals
        The setting ``journal.folder``.
    """
    try:
        file = journal_path(path, journals)
        if not file.is_file():
            return Account()
        with JournalView(file, path) as journal:
            begun_with = begun_by_another(results_of_acquisition(path), journal.recipe)
            return account_of(journal.entries(), begun_with)
    except (LiveRestoreError, OSError, RuntimeError) as error:
        return Account(0, (f"what its journal would tell ({one_line(error)})",))
