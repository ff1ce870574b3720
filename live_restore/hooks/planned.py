"""Which stacks a script is going to record, noted as it submits events, kept beside its files."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from live_restore.errors import one_line

if TYPE_CHECKING:
    from live_restore.formats.script_plan import PlannedAxes
    from live_restore.stack import StackIndex

Events = TypeVar("Events")

# At every look of the worker: 400 stacks. Measured: 3 ms in which the acquisition's threads may
# have to wait for the interpreter.
LINES_AT_ONCE = 2


class PlannedStacks:
    """The plan of the acquisition that a script makes.

    ``expect`` and ``settle`` are called by the script: they note something and return. ``begin``
    and ``write`` touch the disk, and are called by another thread.

    Parameters
    ----------
    say
        Shows the person one line.
    """

    def __init__(self, say: Callable[[str], None]) -> None:
        self._say = say
        self._axes: PlannedAxes | None = None
        self._folder: Path | None = None
        self._unwritten: dict[StackIndex, tuple[int, ...]] = {}
        self._singles: set[StackIndex] = set()

    def start(self) -> None:
        """Note from now on."""
        from live_restore.formats.script_plan import PlannedAxes

        self._axes = PlannedAxes()

    def expect(self, events: Events) -> Events:
        """Note what events will bring, and pass them on unchanged.

        A list, or an exhausted generator, holds its stacks whole; events that come one by one make
        a whole stack at :meth:`settle` only.
        """
        if isinstance(events, dict):
            index = self._note(events, loose=True)
            if index is not None:
                self._singles.add(index)
        elif isinstance(events, list):
            for event in events:
                self._note(event, loose=False)
        else:
            return self._passing(events)  # type: ignore[return-value]
        return events

    def settle(self) -> None:
        """Nothing more is submitted: what came event by event is whole."""
        if self._axes is not None:
            self._axes.settle(self._singles)

    def begin(self, folder: Path) -> None:
        """The acquisition is saved in ``folder`` from now on.

        After a second one nobody knows which events were whose: nothing is noted any more.
        """
        from live_restore.formats.script_plan import remove_plan

        if self._folder is not None:
            self._axes = None
            remove_plan(self._folder)
        self._folder = folder
        remove_plan(folder)  # of an acquisition that had this name before

    def write(self, most_lines: int | None = None) -> None:
        """Append what is new to the plan beside the acquisition's files."""
        from live_restore.formats.script_plan import extend_plan

        while self._axes is not None and self._folder is not None and most_lines != 0:
            # Kept until it is written: the disk may refuse, and be asked again.
            self._unwritten = self._unwritten or self._axes.take()
            if not self._unwritten:
                return
            extend_plan(self._folder, self._unwritten)
            self._unwritten = {}
            most_lines = None if most_lines is None else most_lines - 1

    def _passing(self, events: Any) -> Iterator[Any]:
        noted: set[StackIndex | None] = set()
        for event in events:
            for each in event if isinstance(event, list) else (event,):
                noted.add(self._note(each, loose=True))
            yield event
        # Not where the acquisition was stopped: its last stack was named in part.
        if self._axes is not None:
            self._axes.settle(index for index in noted if index is not None)

    def _note(self, event: Any, *, loose: bool) -> StackIndex | None:
        """Note the axes of one event; an event that cannot be understood ends the noting."""
        try:
            if self._axes is not None:
                return self._axes.add(event["axes"], loose=loose)
        except Exception as error:  # noqa: BLE001 - whatever a script submits is its own affair
            self._axes = None
            self._say(f"the planned planes are not known ({one_line(error)}); going by the files")
        return None
