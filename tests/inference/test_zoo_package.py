"""A BioImage Model Zoo package is a model like any other."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.inference.load import bundled_models
from live_restore.simulation.scene import LivingCell
from tests.support.processes import run_command


def test_watch_takes_a_zoo_package(tmp_path: Path) -> None:
    pytest.importorskip("bioimageio.spec")
    pytest.importorskip("torch")
    from live_restore_export.cli.main import main as export

    package = tmp_path / "fast.zip"
    fast = str(bundled_models()["fast"])
    assert export(["bioimageio", fast, "-o", str(package), "--author", "A. Person"]) == 0
    images = []
    for name, model in (("packed", str(package)), ("bare", "fast")):
        folder = tmp_path / name
        folder.mkdir()
        stack = LivingCell(shape_zyx=(6, 40, 48)).exposed(0)
        tifffile.imwrite(folder / "a.tif", stack, photometric="minisblack")
        done = run_command(tmp_path / "state", "watch", folder, "--once", "--model", model)
        assert done.returncode == 0, done.stderr
        images.append(tifffile.imread(folder / "restored" / "a.ome.tif"))
    assert np.array_equal(*images)
    cards = json.loads(run_command(tmp_path, "models", "--json").stdout)
    assert cards[0]["card"]["name"] == "fast"
