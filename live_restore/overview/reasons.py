"""Why stacks failed, were refused, are incomplete or doubtful, grouped by what is alike. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from live_restore.formats.plane_files.advice import FEWEST_PLANES, single_planes
from live_restore.formats.tiff.layout import SINGLE_PLANE
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


def grouped(shown: Iterable[ShownEntry], *, pattern: str | None = None) -> list[ReasonGroup]:
    """Return the groups: what failed first, then what is doubtful; of each the most first.

    ``pattern`` is ``files.plane_pattern``: nobody is told to set it who has.
    """
    groups: dict[tuple[str, str, Path | None], ReasonGroup] = {}
    for each in shown:
        state = each.entry.state
        if not each.reason or state is State.ARRIVING:  # what is being written is nothing wrong
            continue
        what, remedy = split_remedy(each.reason, state)
        kind = reason_kind(what)
        label = "doubtful" if each.entry.doubtful else state.value
        folder = each.entry.key.acquisition.parent if what.startswith(SINGLE_PLANE) else None
        new = ReasonGroup(label, kind, what, remedy)
        group = groups.setdefault((label, kind, folder), new)
        group.count += 1
        if len(group.entries) < _NAMES_IN_GROUP:
            group.entries.append(each.id)
            group.keys.append(each.entry.key)
    for (_, _, folder), group in groups.items():
        if folder is not None and group.count >= FEWEST_PLANES:
            group.reason, group.remedy = single_planes(folder, pattern).split("; ", 1)
    order = {label: number for number, label in enumerate(_ORDER)}
    return sorted(
        groups.values(), key=lambda group: (order.get(group.state, len(_ORDER)), -group.count)
    )[:_GROUPS]
