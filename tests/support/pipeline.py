"""A folder, a journal and a pipeline for tests, and networks that wait."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from live_restore.engine.jobs import Jobs
from live_restore.engine.pipeline import Pipeline
from live_restore.engine.progress import Progress
from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.inference.model_set import ModelSet
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.stack import StackKey
from tests.support.fakes import Floats, fake_shelf, fingerprint_of, halve
from tests.support.keys import key_at
from tests.support.processes import wait_for

PATIENCE_S = 20.0


@dataclass
class Bench:
    """A folder, a journal and a pipeline that a test starts and stops."""

    root: Path
    journal: Journal
    model_set: ModelSet = field(default_factory=fake_shelf)
    progress: Progress = field(default_factory=Progress)
    reconsidered: list[StackKey] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)
    pipeline: Pipeline | None = None
    jobs: Jobs | None = None

    def stack(self, name: str, image: np.ndarray | None = None, axes: str = "ZYX") -> Path:
        """Write a stack and let it wait in the journal."""
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if image is None:
            image = np.random.default_rng(len(name)).integers(10, 200, (3, 8, 10))
        tifffile.imwrite(
            path, image.astype(np.uint16), photometric="minisblack", metadata={"axes": axes}
        )
        return self.wait_in_journal(path)

    def wait_in_journal(self, path: Path) -> Path:
        source = path.relative_to(self.root)
        self.journal.record(key_at(source), fingerprint_of(path), State.WAITING, stacks=1)
        return path

    def start(
        self, *, retry: bool = True, stop_asked: Callable[[], bool] = lambda: False
    ) -> Pipeline:
        settings = load_settings(
            None, {"journal": {"retry_s": 0.05, "lease_s": 0.3}, **self.settings}
        )
        self.jobs = jobs = Jobs(
            self.root, make_formats(), make_acquisition_formats(), self.model_set, settings
        )
        self.pipeline = Pipeline(
            self.journal,
            jobs,
            self.model_set,
            settings,
            self.progress,
            self.reconsidered.append,
            retry=retry,
            stop_asked=stop_asked,
        )
        self.pipeline.start()
        return self.pipeline

    def stop(self) -> None:
        if self.pipeline is not None:
            self.pipeline.stop()
            self.pipeline = None
        if self.jobs is not None:
            self.jobs.close()

    def run(self) -> None:
        """Restore all that waits."""
        pipeline = self.start(retry=False)
        wait_for(lambda: pipeline.idle() or pipeline.crash is not None, "the pipeline", PATIENCE_S)
        self.stop()
        assert pipeline.crash is None, pipeline.crash

    def entry(self, name: str) -> Entry:
        return next(e for e in self.journal.entries() if e.key.path == Path(name))

    def state(self, name: str) -> State:
        return self.entry(name).state

    def result(self, name: str) -> Path:
        return self.root / "restored" / name

    def report(self, name: str) -> dict[str, Any]:
        return dict(json.loads(self.result(name).read_text(encoding="utf-8")))


class Gate:
    """A network that waits until it is let go."""

    def __init__(self) -> None:
        self.entered, self.open = threading.Event(), threading.Event()

    def __call__(self, tile: Floats) -> Floats:
        self.entered.set()
        assert self.open.wait(PATIENCE_S)
        return halve(tile)


def shelves_on(*functions: Callable[[Floats], Floats]) -> ModelSet:
    """Return a shelf whose models are warm on as many devices."""
    first, *others = (fake_shelf(function) for function in functions)
    return replace(first, beside=tuple(others))
