"""Why stacks failed, were refused, are incomplete or doubtful, grouped by what is alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from typing import Any

from live_restore.journal.reasons import ReasonKind
from live_restore.journal.states import State
from live_restore.overview.entries import NEVER_COMPLETE, ShownEntry, split_remedy
from live_restore.stack import FOR_BRIGHTNESS, StackKey

_GROUPS = 50
_NAMES_IN_GROUP = 500
_ORDER = ("failed", "doubtful", NEVER_COMPLETE, "incomplete", "refused", FOR_BRIGHTNESS)


@dataclass
class ReasonGroup:
    """Entries of one state, and of reasons that differ in numbers only.

    ``state`` is that in which they are shown; ``kind`` what the reasons have in common;
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


def grouped(shown: Iterable[ShownEntry], *, pattern: str | None = None) -> list[ReasonGroup]:
    """Return the groups: what failed first, then what is doubtful; of each the most first.

    Last is what is doubtful for measuring brightness only.

    ``pattern`` is ``files.plane_pattern``: nobody is told to set it who has.
    """
    groups: dict[tuple[str, ReasonKind], ReasonGroup] = {}
    for each in shown:
        state = each.entry.state
        label = each.state
        if not each.reason or label == State.ARRIVING:  # what is being written is nothing wrong
            continue
        what, remedy = split_remedy(each.reason, state)
        if label == FOR_BRIGHTNESS:
            what = what.removeprefix(f"{FOR_BRIGHTNESS}: ")
        what = what.partition(f"; {FOR_BRIGHTNESS}")[0]  # beside a doubt about the picture
        kind = ReasonKind.of(what, each.entry.key)
        if what in _doubts(each):  # alone, and so it can be told from its advice
            what, _, remedy = what.partition("; ")
        group = groups.setdefault((label, kind), ReasonGroup(label, kind.words, what, remedy))
        group.count += 1
        if len(group.entries) < _NAMES_IN_GROUP:
            group.entries.append(each.id)
            group.keys.append(each.entry.key)
    for (_, kind), group in groups.items():
        if together := kind.of_all(group.count, pattern):
            group.reason, group.remedy = together.split("; ", 1)
    order = {label: number for number, label in enumerate(_ORDER)}
    return sorted(
        groups.values(), key=lambda group: (order.get(group.state, len(_ORDER)), -group.count)
    )[:_GROUPS]


def _doubts(each: ShownEntry) -> Iterator[str]:
    for stack in each.facts.stacks if each.facts is not None else ():
        yield from stack.doubts
        yield stack.brightness_doubt
