"""Any order of events that hypothesis can think of: journal, sources and results stay in step.

Files are created, grow, are renamed, replaced and deleted; events get lost; the program stops,
dies, and starts again; its claims are left open; the model changes. At rest every complete stack
has exactly one result of the model in use, and nothing else is there.

Broken build seen to fail: ``recover`` that leaves the claims of a dead process open.
"""

from __future__ import annotations

import io
import json
import shutil
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, rule

from live_restore.engine.file_job import FileJob
from live_restore.engine.jobs import Jobs
from live_restore.engine.pipeline import Pipeline
from live_restore.engine.progress import Progress
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.sources.folder import FolderSource
from live_restore.stack import StackKey
from tests.support.fakes import fake_shelf

_NAMES = [f"{letter}.tif" for letter in "abcd"]
_SETTINGS = load_settings(
    None, {"watch": {"stall_s": 60}, "journal": {"retry_s": 0.05, "max_attempts": 1000}}
)


def _content(seed: int) -> bytes:
    image = np.random.default_rng(seed).integers(1, 200, (3, 6, 8)).astype(np.uint16)
    stream = io.BytesIO()
    tifffile.imwrite(stream, image, photometric="minisblack", metadata={"axes": "ZYX"})
    return stream.getvalue()


class Acquisition(RuleBasedStateMachine):
    """The truth is what lies in the folder; the journal has to find out."""

    files = Bundle("files")

    @initialize()
    def begin(self) -> None:
        self.base = Path(tempfile.mkdtemp())
        self.root = self.base / "data"
        self.root.mkdir()
        self.now, self.seed, self.recipe = 1000.0, 0, "1"
        self.raw: dict[str, bytes] = {}
        self.whole: dict[str, bytes] = {}
        self.journal: Journal | None = None
        self.start()

    def start(self) -> None:
        """Start the program, after whatever end."""
        if self.journal is not None:
            self.journal.close()
        self.journal = Journal(self.base / "state" / "j.sqlite", self.root, recipe=self.recipe * 64)
        self.journal.recover(_SETTINGS.journal.max_attempts)
        self.source = FolderSource(
            self.root, make_formats(), make_acquisition_formats(), self.journal, _SETTINGS,
            clock=lambda: self.now,
        )  # fmt: skip

    # What happens to files --------------------------------------------------------------------

    def write(self, name: str, data: bytes) -> None:
        (self.root / name).write_bytes(data)
        self.raw[name] = data

    @rule(target=files, name=st.sampled_from(_NAMES), part=st.sampled_from([0.3, 0.9, 1.0]))
    def create(self, name: str, part: float) -> str:
        """A file appears, perhaps in the place of another."""
        self.seed += 1
        whole = _content(self.seed)
        self.write(name, whole[: int(part * len(whole))])
        self.whole[name] = whole
        return name

    @rule(name=files)
    def append(self, name: str) -> None:
        """It grows to its end."""
        if name in self.raw:
            self.write(name, self.whole[name])

    @rule(target=files, old=consumes(files), new=st.sampled_from(_NAMES))
    def rename(self, old: str, new: str) -> str:
        """It gets another name, perhaps that of another."""
        if old in self.raw and old != new:
            (self.root / old).rename(self.root / new)
            self.raw[new], self.whole[new] = self.raw.pop(old), self.whole.pop(old)
        return new

    @rule(name=consumes(files))
    def delete(self, name: str) -> None:
        """It goes."""
        if self.raw.pop(name, None) is not None:
            (self.root / name).unlink()

    # What happens to the program --------------------------------------------------------------

    @rule(name=st.sampled_from([*_NAMES, "ghost.tif"]))
    def event(self, name: str) -> None:
        """The file system reports something, true or not; mostly it says nothing."""
        self.source.hint(self.root / name)

    @rule(seconds=st.sampled_from([0.1, 0.3, 2.5]))
    def look(self, seconds: float) -> None:
        """Time passes, and the source looks."""
        self.now += seconds
        self.source.poll()

    @rule()
    def work(self) -> None:
        """What waits is restored."""
        assert self.journal is not None
        reconsidered: list[StackKey] = []
        model_set = fake_shelf(recipe=self.recipe * 64)
        jobs = Jobs(self.root, make_formats(), make_acquisition_formats(), model_set, _SETTINGS)
        pipeline = Pipeline(
            self.journal, jobs, model_set, _SETTINGS, Progress(), reconsidered.append, retry=False
        )
        pipeline.start()
        deadline = time.monotonic() + 20
        while not pipeline.idle() and pipeline.crash is None:
            assert time.monotonic() < deadline
            time.sleep(0.002)
        pipeline.stop()
        assert pipeline.crash is None, pipeline.crash
        for key in reconsidered:
            self.source.reconsider(key)

    @rule()
    def die_with_a_claim(self) -> None:
        """What has settled is found, one of it is claimed, and the program dies."""
        assert self.journal is not None
        self.look(2.5)
        self.look(2.5)
        self.journal.lease(_SETTINGS.journal.lease_s)
        self.start()

    @rule()
    def restart(self) -> None:
        self.start()

    @rule(recipe=st.sampled_from("12"))
    def change_model(self, recipe: str) -> None:
        """The program is started with another model, or with the one before."""
        self.recipe = recipe
        self.start()

    # At rest ----------------------------------------------------------------------------------

    def teardown(self) -> None:
        """Let it come to rest, and look at what there is."""
        try:
            if getattr(self, "journal", None) is not None:
                for _ in range(3):
                    self.look(2.5)
                    self.look(2.5)
                    self.work()
                self.check()
        finally:
            if getattr(self, "journal", None) is not None:
                assert self.journal is not None
                self.journal.close()
                shutil.rmtree(self.base)

    def check(self) -> None:
        assert self.journal is not None
        complete = {n for n, data in self.raw.items() if data == self.whole[n]}
        there = {p.name: p.read_bytes() for p in self.root.iterdir() if p.is_file()}
        assert there == self.raw, "raw data changed"
        entries = {e.key.path.as_posix(): e for e in self.journal.entries()}
        done = {n for n in complete if n in entries and entries[n].state is State.DONE}
        assert done == complete, {n: e.state for n, e in entries.items()}
        assert not [n for n in self.raw.keys() - complete if entries[n].state is State.DONE]
        results: list[dict[str, Any]] = []
        for path in (self.root / "restored").glob("*") if complete else ():
            assert not path.name.endswith(TEMPORARY_SUFFIX)
            if path.suffix == ".json":
                report = json.loads(path.read_text())
                results.append({**report["source"], "recipe": report["recipe"]})
        for name in complete:
            status = (self.root / name).stat()
            now = [
                r for r in results
                if (r["name"], r["size"], r["mtime_ns"], r["recipe"])
                == (name, status.st_size, status.st_mtime_ns, self.recipe * 64)
            ]  # fmt: skip
            assert len(now) == 1, (name, results)
            image = Path(entries[name].result)
            job = FileJob.open(self.root / name, make_formats(), _SETTINGS.files)
            (raw,) = job.read()
            restored = tifffile.imread(image)
            assert restored.shape == raw.volume.shape
            assert not np.array_equal(restored, raw.volume)


_QUICK = settings(
    max_examples=8,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)


class TestAcquisition(Acquisition.TestCase):  # type: ignore[name-defined, misc]
    """A few of them in every run."""

    settings = _QUICK


@pytest.mark.slow
class TestManyAcquisitions(Acquisition.TestCase):  # type: ignore[name-defined, misc]
    """Many more."""

    settings = settings(_QUICK, max_examples=300, stateful_step_count=50)
