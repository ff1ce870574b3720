"""The demo: the first thing that anybody runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from live_restore.simulation.scene import LivingCell
from tests.support.processes import run_command, status


def test_demo_restores_and_shows_it(tmp_path: Path) -> None:
    done = run_command(tmp_path / "state", "demo", "--times", "2", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["psnr_restored_db"] > numbers["psnr_best_gaussian_db"] + 1
    assert numbers["psnr_best_gaussian_db"] > numbers["psnr_raw_db"]
    picture = np.asarray(Image.open(numbers["picture"]))
    assert picture.std() > 10
    assert len(list((Path(numbers["folder"]) / "acquisition" / "restored").glob("*.ome.tif"))) == 2


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
