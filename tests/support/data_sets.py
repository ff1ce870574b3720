"""Data sets under a watched folder: how they are recorded, and what the journal says of them."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from live_restore.journal.states import State
from live_restore.stack import StackIndex
from tests.support.traces import Recording
from tests.support.watched import Scene

RUN = "run_1"


def states(scene: Scene, folder: str) -> dict[StackIndex, State]:
    """Return the state of every stack of a data set in the journal."""
    return {p: e.state for p, e in scene.journal.stacks_in(Path(folder)).items()}


def counts(scene: Scene, folder: str) -> Counter[str]:
    return Counter(state.value for state in states(scene, folder).values())


def replay(truth: Recording, root: Path, until: int | None = None) -> None:
    truth.trace.replay(root, until=until)
