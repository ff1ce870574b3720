"""The sessions that are kept open: few, since each holds memory of its device."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from live_restore.inference.backends.backend import Variant
from live_restore.inference.backends.session import Device, Shape5

MOST = 4
"""Stacks of one acquisition have one shape; a few more for channels with models of their own sizes.
On a GPU each holds what its tiles need, and a recorded graph keeps it."""


@dataclass(frozen=True)
class Chosen:
    """What runs tiles of one shape, as float32 (a ``Session``) or as grey values."""

    variant: Variant
    session: Any
    device: Device


class KeptSessions:
    """Those that were used last, of both kinds together: of float32 tiles, and of grey values."""

    def __init__(self) -> None:
        self._kept: dict[tuple[Shape5, bool], Chosen] = {}

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, shape: Shape5, *, counts: bool = False) -> Chosen | None:
        """Return what is kept for tiles of a shape."""
        found = self._kept.pop((shape, counts), None)
        if found is not None:
            self._kept[shape, counts] = found  # the last one that was used
        return found

    def make_room(self) -> None:
        """Let go what was used longest ago, before another one is opened: both might not fit."""
        while len(self._kept) >= MOST:
            del self._kept[next(iter(self._kept))]

    def put(self, shape: Shape5, chosen: Chosen, *, counts: bool = False) -> None:
        """Keep one."""
        self._kept[shape, counts] = chosen

    def drop(self, shape: Shape5) -> None:
        """Let go those of a shape."""
        for counts in (False, True):
            self._kept.pop((shape, counts), None)

    def forget(self, variant: Variant) -> None:
        """Let go those of a variant."""
        self._kept = {key: each for key, each in self._kept.items() if each.variant != variant}

    def let_go(self) -> bool:
        """Let all go; return whether there were any."""
        any_kept = bool(self._kept)
        self._kept.clear()
        return any_kept
