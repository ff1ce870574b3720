"""Keys of the journal by the names that people see."""

from __future__ import annotations

from pathlib import Path

from live_restore.stack import StackIndex, StackKey


def key_at(path: Path | str) -> StackKey:
    """Return the key of a file, or of a stack by its acquisition and label.

    >>> key_at("run_1/p000_t0004_c01").index
    StackIndex(position=0, time=4, channel=1)
    """
    path = Path(path)
    index = StackIndex.from_label(path.name)
    return StackKey(path) if index is None else StackKey(path.parent, index)
