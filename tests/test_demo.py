"""The demo: the first thing that anybody runs."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from live_restore.demo.scene import LivingCell
from tests.support.processes import run_command


def test_demo_restores_and_shows_it(tmp_path: Path) -> None:
    done = run_command(tmp_path / "state", "demo", "--times", "2", "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    numbers = json.loads(done.stdout)
    assert numbers["psnr_restored_db"] > numbers["psnr_best_gaussian_db"] + 1
    assert numbers["psnr_best_gaussian_db"] > numbers["psnr_raw_db"]
    picture = np.asarray(Image.open(numbers["picture"]))
    assert picture.std() > 10
    assert len(list((Path(numbers["folder"]) / "acquisition" / "restored").glob("*.ome.tif"))) == 2


def test_the_scene_moves_and_is_reproducible() -> None:
    cell = LivingCell(shape_zyx=(4, 48, 48))
    assert np.array_equal(cell.exposed(3), LivingCell(shape_zyx=(4, 48, 48)).exposed(3))
    assert not np.array_equal(cell.truth_adu(0), cell.truth_adu(5))
