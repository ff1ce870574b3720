"""How many stacks there are in each state, and how many files as a whole. Pure.

What is done is counted in stacks, as in a paper. Of a file that was not restored it may not even be
known how many it holds: that is counted as a file.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from live_restore.journal.states import State
from live_restore.overview.entries import NEVER_COMPLETE, ShownEntry
from live_restore.stack import FOR_BRIGHTNESS

_ORDER = (
    State.RUNNING, State.WAITING, State.ARRIVING, State.FAILED, NEVER_COMPLETE, State.INCOMPLETE,
    State.REFUSED,
)  # fmt: skip


@dataclass(frozen=True)
class Counted:
    """A run in numbers.

    Parameters
    ----------
    done, doubtful, doubtful_brightness
        Stacks that are restored; how many of them are doubtful; and in how many others measuring
        brightness is.
    stacks, files
        What is not restored, by the state in which it is shown.
    """

    done: int
    doubtful: int
    doubtful_brightness: int
    stacks: Mapping[str, int]
    files: Mapping[str, int]

    @classmethod
    def of(cls, shown: Iterable[ShownEntry]) -> Counted:
        """Count the entries of a journal."""
        done = doubtful = brightness = 0
        stacks: Counter[str] = Counter()
        files: Counter[str] = Counter()
        for each in shown:
            if each.entry.state is not State.DONE:
                (files if each.entry.key.index is None else stacks)[each.state] += 1
                continue
            done += 1 if each.entry.key.index is not None else max(1, each.entry.stacks)
            known = each.facts.stacks if each.facts is not None else ()
            doubtful += sum(bool(stack.doubts) for stack in known) or each.entry.doubtful
            brightness += (
                sum(bool(stack.brightness_doubt) and not stack.doubts for stack in known)
                or each.entry.doubtful_brightness
            )
        return cls(done, doubtful, brightness, stacks, files)

    @property
    def words(self) -> str:
        """The same for people.

        >>> Counted(26, 1, 0, {"incomplete": 3}, {"failed": 1, "incomplete": 2}).words
        '26 stacks done, 1 file failed, 3 stacks and 2 files incomplete; of the done, 1 doubtful'
        >>> Counted(0, 0, 0, {}, {}).words
        'nothing yet'
        """
        numbers = [_number(self.done, "stack", State.DONE)] if self.done else []
        numbers += self._others()
        doubts = [f"{self.doubtful} doubtful"] if self.doubtful else []
        if self.doubtful_brightness:
            doubts.append(f"{self.doubtful_brightness} {FOR_BRIGHTNESS} only")
        said = ", ".join(numbers) or "nothing yet"
        return f"{said}; of the done, {' and '.join(doubts)}" if doubts else said

    def _others(self) -> Iterator[str]:
        for state in _ORDER:
            stacks, files = self.stacks.get(state, 0), self.files.get(state, 0)
            counted = [_number(stacks, "stack")] if stacks else []
            counted += [_number(files, "file")] if files else []
            if counted:
                yield f"{' and '.join(counted)} {state}"

    def to_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            "done": self.done,
            "doubtful": self.doubtful,
            "doubtful_brightness": self.doubtful_brightness,
        }


def _number(count: int, noun: str, state: str = "") -> str:
    return " ".join(filter(None, (str(count), noun if count == 1 else f"{noun}s", state)))
