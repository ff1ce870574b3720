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


def small_stack(path: Path) -> Path:
    data = np.random.default_rng(1).integers(100, 300, (4, 32, 32), np.uint16)
    tifffile.imwrite(path, data, photometric="minisblack", ome=True, metadata={"axes": "ZYX"})
    return path


def test_lost_ones_are_made_again(tmp_path: Path) -> None:
    root, config = tmp_path / "data", tmp_path / "config.toml"
    root.mkdir()
    config.write_text(CONFIG.replace("{folder}", "{folder}/restored"))
    raw = small_stack(root / "cell.ome.tif")
    bars = root / "restored" / "cell_restored.standard-error.ome.tif"
    watch = ("watch", root, "--once", "--config", config)
    assert run_command(tmp_path / "state", *watch).returncode == 0
    whole = bars.stat().st_size
    assert status(tmp_path / "state", root)["without_error_bars"] == []
    bars.write_bytes(b"")
    assert status(tmp_path / "state", root)["without_error_bars"] == ["cell.ome.tif"]
    done = run_command(tmp_path / "state", *watch, "--redo-missing")
    assert (done.returncode, bars.stat().st_size) == (0, whole), done.stderr
    assert len(list(bars.parent.iterdir())) == 3, "under the names that they had"
    bars.unlink()
    assert status(tmp_path / "state", root)["without_error_bars"] == ["cell.ome.tif"]
    words = run_command(tmp_path / "state", "status", root).stdout
    assert "1 error bars missing or empty: cell.ome.tif" in words
    done = run_command(tmp_path / "state", *watch, "--redo-missing")
    assert (done.returncode, bars.exists()) == (0, True), done.stderr
    restore = ["restore", str(raw), "--config", str(config)]
    for lose in (bars.unlink, lambda: bars.write_bytes(b"")):
        lose()
        assert main(restore) == 0
        assert bars.stat().st_size == whole
    made = bars.stat().st_mtime_ns
    assert main(restore) == 0
    assert bars.stat().st_mtime_ns == made, "what is there is not made again"


def test_a_raw_file_may_have_the_name_of_error_bars(tmp_path: Path) -> None:
    root, config = tmp_path / "data", tmp_path / "config.toml"
    root.mkdir()
    config.write_text(CONFIG.replace("{folder}/{name}_restored", "{folder}/restored/{name}"))
    for name in ("x.ome.tif", "x.standard-error.ome.tif", "y.standard-error.ome.tif", "y.ome.tif"):
        small_stack(root / name)
    done = run_command(tmp_path / "state", "watch", root, "--once", "--config", config)
    assert done.returncode == 0, done.stderr
    found = status(tmp_path / "state", root)
    assert found["counts"]["done"] == 4, found
    assert len(list((root / "restored").glob("*.json"))) == 4
