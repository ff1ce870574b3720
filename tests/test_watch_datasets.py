"""Recorded acquisitions, replayed beside a real `live-restore watch`: what is true is restored."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.formats.dataset import Place
from tests.support.models import write_model
from tests.support.processes import (
    PATIENCE_S,
    run_command,
    status,
    stop,
    wait_for,
    watching,
)
from tests.support.traces import TRACES, Recording, recording

SINGLE_PLANES = {"multipage_noz", "ndtiff_noz"}
"""Runs with a channel that has no z-stack."""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A network that changes nothing: a result must be its raw stack, pixel by pixel."""
    return write_model(tmp_path / "identity.onnx")


@pytest.fixture
def config(tmp_path: Path, model: Path) -> Path:
    return write_config(tmp_path / "config.toml", model)


def write_config(path: Path, model: Path, **sections: str) -> Path:
    """Write a config.toml; ``sections`` are further lines by section."""
    text = "".join(f"[{name}]\n{lines}\n" for name, lines in sections.items())
    path.write_text(f'{text}[[models]]\nmodel = "{model.as_posix()}"\n')
    return path


def volumes(truth: Recording, state: str) -> set[Place]:
    """Return the stacks of a recording that end in a state, without those of a single plane."""
    return {p for p, s in truth.stacks.items() if s.state == state and len(s.expected) > 1}


def by_state(state: Path, root: Path, prefix: str) -> dict[str, set[str]]:
    """Return the labels of a data set's stacks in each state that `status` tells."""
    found: dict[str, set[str]] = {}
    for line in status(state, root)["files"]:
        folder, _, label = line["source"].rpartition("/")
        if folder == prefix:
            found.setdefault(line["state"], set()).add(label)
    return found


def labels(places: set[Place]) -> set[str]:
    return {place.label for place in places}


def results(root: Path, truth: Recording) -> Path:
    return root / f"{truth.folder_name}_restored"


def reports(root: Path, truth: Recording) -> set[str]:
    return {path.stem for path in results(root, truth).glob("p*.json")}


def assert_restored(state: Path, watched: Path, root: Path, truth: Recording) -> None:
    """Every complete stack has its pixels, each once; nothing else has a result."""
    whole, partial = volumes(truth, "complete"), volumes(truth, "partial")
    prefix = (root / truth.folder_name).relative_to(watched).as_posix()
    said = by_state(state, watched, "" if prefix == "." else prefix)
    flat = {p for p, s in truth.stacks.items() if s.state == "complete" and len(s.expected) == 1}
    expected = {"done": whole, "incomplete": partial, "refused": flat}
    assert said == {name: labels(places) for name, places in expected.items() if places}
    folder = results(root, truth)
    names = {f"{name}{end}" for name in labels(whole) for end in (".ome.tif", ".json")}
    assert {path.name for path in folder.iterdir()} == names
    for place in whole:
        assert_pixels(tifffile.imread(folder / f"{place.label}.ome.tif"), truth, place)
        report = json.loads((folder / f"{place.label}.json").read_text())
        channel = truth.acquisition["channels"][place.channel]
        assert report["stacks"][0]["channel_name"] == channel
        assert report["stacks"][0]["restored"] is True


def assert_pixels(restored: Any, truth: Recording, place: Place) -> None:
    raw = truth.stacks[place].pixels
    assert raw is not None
    assert (restored.shape, restored.dtype) == (raw.shape, raw.dtype)
    # Through float32 and back: a grey value may be rounded to its neighbour.
    assert np.abs(restored.astype(int) - raw.astype(int)).max() <= 1


def contents(folder: Path) -> dict[Path, bytes]:
    return {p.relative_to(folder): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def replaying(truth: Recording, root: Path, speed: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-B", str(truth.replayer_path), str(truth.trace_path), str(root),
         "--speed", speed],
        stdout=subprocess.DEVNULL,
    )  # fmt: skip


def all_told(state: Path, watched: Path, truths: dict[Path, Recording]) -> Callable[[], bool]:
    """Return whether every stack of the recordings has come to its end."""

    def told() -> bool:
        counts = status(state, watched)["counts"]
        ended = counts["done"] + counts["incomplete"] + counts["refused"] + counts["failed"]
        begun = sum(len(t.present_at(len(t))) for t in truths.values())
        return bool(ended >= begun)

    return told


def test_every_recorded_run_at_once_beside_loose_files(
    tmp_path: Path, shared_data: Path, config: Path
) -> None:
    state, watched = tmp_path / "state", tmp_path / "data"
    truths = {watched / name: recording(shared_data, name) for name in TRACES}
    loose = [watched / "cell.tif", watched / "multipage_full" / "cell.tif"]
    watched.mkdir()
    with watching(state, watched, "--config", str(config)) as daemon:
        for number, path in enumerate(loose):
            path.parent.mkdir(exist_ok=True)
            image = np.random.default_rng(number).integers(90, 200, (4, 16, 18)).astype(np.uint16)
            tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})
        writers = [replaying(truth, root, "inf") for root, truth in truths.items()]
        assert [writer.wait(PATIENCE_S) for writer in writers] == [0] * len(writers)
        wait_for(all_told(state, watched, truths), "every stack")
        code, log = stop(daemon)
    assert code == 0, log
    for root, truth in truths.items():
        assert_restored(state, watched, root, truth)
    for path in loose:
        assert (path.parent / "restored" / f"{path.stem}.ome.tif").exists()
    said = status(state, watched)
    assert {f["source"] for f in said["files"] if "/p" not in f["source"]} == {
        "cell.tif", "multipage_full/cell.tif",
    }  # fmt: skip
    assert not said["counts"]["failed"]
