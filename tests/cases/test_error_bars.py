"""Error bars of real files, as ``watch`` and ``restore`` write them."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tifffile

from live_restore.cli.main import main
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from tests.support.processes import run_command, status

CONFIG = """[camera]
gain_adu_per_e = 2
offset_adu = 100
read_noise_e = 1.6
[inference]
device = "cpu"
threads = 1
[output]
template = "{folder}/{name}_restored.ome.tif"
error_bars = true
"""


def test_they_lie_beside_results_and_are_never_watched(tmp_path: Path) -> None:
    """Results lie beside the raw file here, where a watch sees every one of them."""
    root, config = tmp_path / "data", tmp_path / "config.toml"
    root.mkdir()
    config.write_text(CONFIG)
    camera = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
    scene = LivingCell(shape_zyx=(10, 96, 96), peak_e=60, camera=camera)
    raw = root / "cell.ome.tif"
    tifffile.imwrite(
        raw, scene.exposed(0), photometric="minisblack", ome=True, metadata={"axes": "ZYX"}
    )
    for _ in range(2):
        done = run_command(tmp_path / "state", "watch", root, "--once", "--config", config)
        assert done.returncode == 0, done.stderr
        found = status(tmp_path / "state", root)
        assert [each["source"] for each in found["files"]] == ["cell.ome.tif"]
        assert sorted(path.name for path in root.iterdir()) == [
            "cell.ome.tif", "cell_restored.json", "cell_restored.ome.tif",
            "cell_restored.standard-error.ome.tif",
        ]  # fmt: skip
    bars = tifffile.imread(root / "cell_restored.standard-error.ome.tif")
    restored = tifffile.imread(root / "cell_restored.ome.tif")
    assert np.isfinite(bars).mean() > 0.99
    inside = np.abs(restored - scene.truth_adu(0)) <= 1.645 * bars
    assert 0.8 < inside.mean() < 0.98
    report = json.loads((root / "cell_restored.json").read_text(encoding="utf-8"))
    assert report["error_bars"] == "cell_restored.standard-error.ome.tif"
    assert any("held 91 % of the truth" in note for note in report["notes"])
    # They change no voxel of the result.
    plain = tmp_path / "plain.toml"
    plain.write_text(CONFIG.replace("error_bars = true", ""))
    assert main(["restore", str(raw), "--config", str(plain), "-o", str(tmp_path / "out")]) == 0
    assert np.array_equal(tifffile.imread(tmp_path / "out" / "cell.ome.tif"), restored)
    assert not (tmp_path / "out" / "cell.standard-error.ome.tif").exists()
