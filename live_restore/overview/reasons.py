"""Why stacks failed, were refused, are incomplete or doubtful, grouped by what is alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any

from live_restore.journal.states import State
from live_restore.overview.entries import ShownEntry, reason_kind, split_remedy
from live_restore.stack import StackKey

_GROUPS = 50
_NAMES_IN_GROUP = 500
_ORDER = ("failed", "doubtful", "incomplete", "refused")


@dataclass
class ReasonGroup:
    """Entries of one state, and of reasons that differ in numbers only.

    ``state`` is that of the journal, or "doubtful"; ``kind`` what the reasons have in common;
    ``reason`` and ``remedy`` are the first entry's; ``entries`` holds opaque names and ``keys`` the
    stacks, at most 500 of each.
    """

    state: str
    kind: str
    reason: str
    remedy: str
    count: int = 0
    entries: list[str] = field(default_factory=list)
    keys: list[StackKey] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """Return it for the API: no path is in it."""
        return {name: value for name, value in asdict(self).items() if name not in ("keys", "kind")}


def grouped(shown: Iterable[ShownEntry]) -> list[ReasonGroup]:
    """Return the groups: what failed first, then what is doubtful; of each the most first."""
    groups: dict[tuple[str, str], ReasonGroup] = {}
    for each in shown:
        state = each.entry.state
        if not each.reason or state is State.ARRIVING:  # what is being written is nothing wrong
            continue
        what, remedy = split_remedy(each.reason, state)
        kind = reason_kind(what)
        label = "doubtful" if each.entry.doubtful else state.value
        group = groups.setdefault((label, kind), ReasonGroup(label, kind, what, remedy))
        group.count += 1
        if len(group.entries) < _NAMES_IN_GROUP:
            group.entries.append(each.id)
            group.keys.append(each.entry.key)
    order = {label: number for number, label in enumerate(_ORDER)}
    return sorted(
        groups.values(), key=lambda group: (order.get(group.state, len(_ORDER)), -group.count)
    )[:_GROUPS]


def counted(reasons: Iterable[tuple[State, str, int]]) -> list[ReasonGroup]:
    """Return the groups of (state, reason, how many), as :func:`grouped` does of entries.

    >>> [(g.count, g.reason) for g in counted([(State.FAILED, "plane 3 is damaged; redo it", 2),
    ...                                        (State.FAILED, "plane 4 is damaged; redo it", 1)])]
    [(3, 'plane 3 is damaged')]
    """
    groups: dict[tuple[State, str], ReasonGroup] = {}
    for state, reason, count in reasons:
        what, remedy = split_remedy(reason, state)
        kind = reason_kind(what)
        group = groups.setdefault((state, kind), ReasonGroup(state.value, kind, what, remedy))
        group.count += count
    order = {label: number for number, label in enumerate(_ORDER)}
    return sorted(groups.values(), key=lambda group: (order[group.state], -group.count))
