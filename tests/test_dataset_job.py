"""Finished (and aborted) dataset folders of Micro-Manager and its kin, restored in one go."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.dataset_job import DatasetJob
from live_restore.errors import StackIncompleteError, StackRefusedError
from live_restore.formats.table import make_dataset_formats
from live_restore.inference.shelf import Shelf
from live_restore.settings import load_settings
from tests.support.processes import run_command

# Recording, its data set's folder, stacks that can be restored, and why the others cannot.
RECORDINGS = {
    "multipage_full": ("multipage_full_1", 12, None),
    "singleplane_full": ("singleplane_full_1", 12, None),
    "ndtiff_full": ("ndtiff_full_1", 12, None),
    "pycromanager_ndtiff": ("pycromanager_ndtiff_1", 8, None),
    "pymmcore_zarr": ("pymmcore_zarr.ome.zarr", 8, None),
    "multipage_noz": ("multipage_noz_1", 4, StackRefusedError),
    "singleplane_abort": ("singleplane_abort_1", 4, StackIncompleteError),
}


@pytest.fixture(scope="module")
def shelf() -> Shelf:
    return Shelf.load(load_settings())


@pytest.mark.parametrize("name", RECORDINGS)
def test_every_whole_stack_of_a_recorded_run_is_restored(
    tmp_path: Path, shared_data: Path, shelf: Shelf, name: str
) -> None:
    traces = shared_data / "micromanager" / "traces"
    replay = [sys.executable, traces / "replay.py", traces / f"{name}.jsonl.gz", tmp_path]
    subprocess.run([*map(str, replay), "--speed", "inf"], check=True, capture_output=True)
    folder, restorable, why_not = RECORDINGS[name]
    truth = np.load(traces / f"{name}.truth.npz")
    before = {p: p.read_bytes() for p in (tmp_path / folder).rglob("*") if p.is_file()}
    job = DatasetJob.open(tmp_path / folder, make_dataset_formats())
    done, refused = 0, set()
    for key in job.stacks():
        try:
            published = job.restore(key, shelf, load_settings())
        except (StackRefusedError, StackIncompleteError) as error:
            refused.add(type(error))
            continue
        done += 1
        raw = truth[f"t{key.time}_p{key.position}_c{key.channel}"]
        restored = tifffile.imread(published.image)
        assert (restored.shape, restored.dtype) == (raw.shape, raw.dtype)
        assert float(restored.mean()) == pytest.approx(float(raw.mean()), rel=0.05)
        report = json.loads(published.report.read_text())
        assert report["stacks"][0]["before"]["mean"] == pytest.approx(float(raw.mean()))
        assert f"time {key.time}," in report["source"]["notes"][0]
    assert done == restorable
    assert refused == ({why_not} if why_not else set())
    assert {p: p.read_bytes() for p in before} == before
    assert len(list((tmp_path / f"{folder}_restored").glob("*.ome.tif"))) == restorable


def test_a_folder_that_is_no_dataset(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(StackRefusedError, match="watch FOLDER"):
        DatasetJob.open(tmp_path, make_dataset_formats())


def test_the_command_takes_a_dataset_folder(tmp_path: Path, shared_data: Path) -> None:
    traces = shared_data / "micromanager" / "traces"
    replay = [sys.executable, traces / "replay.py", traces / "multipage_noz.jsonl.gz", tmp_path]
    subprocess.run([*map(str, replay), "--speed", "inf"], check=True, capture_output=True)
    done = run_command(
        tmp_path / "state", "restore", tmp_path / "multipage_noz_1", "-o", tmp_path / "out",
        "--json",
    )  # fmt: skip
    said = json.loads(done.stdout)
    assert done.returncode == 1  # the channel without a z-stack is told, line by line
    assert [("result" in line) for line in said].count(True) == 4
    assert all("no z-stack" in line["error"] for line in said if "error" in line)
    assert len(list((tmp_path / "out" / "multipage_noz_1_restored").glob("*.ome.tif"))) == 4
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("channel", [0, 1])
def test_a_constant_stack_is_refused_in_every_channel(
    tmp_path: Path, shared_data: Path, shelf: Shelf, channel: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    traces = shared_data / "micromanager" / "traces"
    replay = [sys.executable, traces / "replay.py", traces / "multipage_full.jsonl.gz", tmp_path]
    subprocess.run([*map(str, replay), "--speed", "inf"], check=True, capture_output=True)
    job = DatasetJob.open(tmp_path / "multipage_full_1", make_dataset_formats())
    key = next(k for k in job.stacks() if k.channel == channel)
    flat = np.full_like(job.follower.read(key), 7)
    monkeypatch.setattr(job.follower, "read", lambda _: flat)
    with pytest.raises(StackRefusedError, match="constant"):
        job.restore(key, shelf, load_settings())
    assert not list((tmp_path / "multipage_full_1_restored").glob("*"))
