"""The demo: the first thing that anybody runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from live_restore.journal.journal import Journal
from live_restore.journal.location import forget_journal, journal_path
from live_restore.journal.states import State
from live_restore.simulation.scene import LivingCell
from live_restore.stack import Fingerprint
from tests.support.keys import key_at
from tests.support.processes import run_command, status


@pytest.mark.parametrize("device", [pytest.param("auto", marks=pytest.mark.slow), "cpu"])
def test_demo_restores_and_shows_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, device: str
) -> None:
    """With "auto" as for anybody: each device is measured, which takes ten seconds of two cores."""
    monkeypatch.setenv("LIVE_RESTORE_INFERENCE__DEVICE", device)
    state = tmp_path / "state"
    done = run_command(state, "demo", "--times", "2", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["psnr_restored_db"] > numbers["psnr_best_gaussian_db"] + 1
    assert numbers["psnr_best_gaussian_db"] > numbers["psnr_raw_db"]
    picture = np.asarray(Image.open(numbers["picture"]))
    assert picture.std() > 10
    assert len(list((Path(numbers["folder"]) / "acquisition" / "restored").glob("*.ome.tif"))) == 2
    # Where a newcomer looks next: the folder of the stacks, and the one that the demo made.
    stacks = Path(numbers["folder"]) / "acquisition"
    found = status(state, stacks)
    assert found["counts"]["done"] == 2
    assert Path(found["log"]).exists()
    beside = run_command(state, "status", numbers["folder"], "--json")
    assert beside.stderr == f"live-restore: this is {stacks}, which was watched\n"
    assert json.loads(beside.stdout)["counts"] == found["counts"]
    inside = run_command(state, "status", stacks / "restored")
    assert inside.returncode == 2
    assert f'"{stacks}" has: name that folder' in inside.stderr


def test_an_earlier_demo_in_a_folder_of_this_name_is_forgotten(tmp_path: Path) -> None:
    root = tmp_path / "acquisition"
    file = journal_path(root, tmp_path / "state")
    with Journal(file, root) as journal:
        journal.record(key_at("a.tif"), Fingerprint(1, 1), State.WAITING)
    forget_journal(file)
    with Journal(file, root) as journal:
        assert journal.entries() == []


@pytest.mark.slow
def test_the_demo_with_micro_managers_camera(tmp_path: Path) -> None:
    pytest.importorskip("mm_test_adapters", reason="pip install 'live-restore[micromanager]'")
    state = tmp_path / "state"
    done = run_command(state, "demo", "--micromanager", "--times", "1", "--out", tmp_path)
    assert done.returncode == 0, done.stderr
    results = Path(done.stdout.splitlines()[-1].removeprefix("results: "))
    assert results == tmp_path / "live-restore-demo" / "run_1_restored"
    restored = sorted(results.glob("*.ome.tif"))
    assert len(restored) == 4
    assert tifffile.imread(restored[0]).shape == (9, 256, 256)
    # The children of a script keep their journal where `status` looks for it.
    assert status(state, results.parent / "run_1")["counts"]["done"] == 4


def test_the_scene_moves_and_is_reproducible() -> None:
    cell = LivingCell(shape_zyx=(4, 48, 48))
    assert np.array_equal(cell.exposed(3), LivingCell(shape_zyx=(4, 48, 48)).exposed(3))
    assert not np.array_equal(cell.truth_adu(0), cell.truth_adu(5))
