"""Stacks outside what a model was shown to do: restored, and marked wherever a person looks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from live_restore.simulation.camera import Camera
from live_restore.simulation.quality import psnr
from live_restore.simulation.scene import LivingCell
from tests.support.models import CARD, write_model
from tests.support.processes import run_command, status

ENVELOPE = {"snr": [20.0, 90.0], "limits": {}, "measured": "by a test"}
TRAINED = {"z": [0.2, 0.4], "xy": [0.08, 0.12]}


def model(folder: Path, **card: Any) -> Path:
    return write_model(folder / "tiny.onnx", card={**CARD, **card})


def recorded(
    path: Path, peak_e: float = 20.0, voxel_um: tuple[float, ...] = (0.3, 0.1), side: int = 64
) -> Path:
    """Write a stack of one light level; without a voxel size if there is none."""
    path.parent.mkdir(exist_ok=True)
    stack = LivingCell(shape_zyx=(8, side, side), peak_e=peak_e, background_e=2).exposed(0)
    metadata: dict[str, Any] = {"axes": "ZYX"}
    if voxel_um:
        metadata |= dict(zip(("PhysicalSizeZ", "PhysicalSizeX"), voxel_um, strict=True))
        metadata["PhysicalSizeY"] = voxel_um[1]
    tifffile.imwrite(path, stack, ome=True, photometric="minisblack", metadata=metadata)
    return path


def test_restore_says_and_reports_too_little_light(tmp_path: Path) -> None:
    dim = recorded(tmp_path / "data" / "dim.ome.tif")
    used = model(tmp_path, envelope=ENVELOPE)
    done = run_command(tmp_path, "restore", dim, "--model", used)
    assert done.returncode == 0, done.stderr
    assert "below the 20 down to which the model was shown to help" in done.stdout
    report = json.loads((dim.parent / "restored" / "dim.json").read_text(encoding="utf-8"))
    (line,) = report["stacks"]
    assert 2 < line["signal_to_noise"]["ratio"] < 6
    (doubt,) = line["doubts"]
    assert f"about {line['signal_to_noise']['ratio']:.1f}" in doubt
    assert any(doubt in warning for warning in report["warnings"])
    again = run_command(tmp_path, "restore", dim, "--model", used)
    assert "was already there" in again.stdout
    assert doubt in again.stdout, "a doubt does not wear off"


def test_structure_taken_for_noise_is_given_back_and_told(tmp_path: Path) -> None:
    """By the bundled model, of a stack with texture from voxel to voxel."""
    camera = Camera(offset_adu=100, gain_adu_per_e=2, read_noise_e=1.6)
    rng = np.random.default_rng(1)
    light = LivingCell(shape_zyx=(8, 96, 96), peak_e=300, background_e=100).expected_e(0)
    light = light * np.exp(0.2 * rng.standard_normal(light.shape))
    truth, raw = camera.noiseless_adu(light), camera.expose(light, rng)
    tifffile.imwrite(tmp_path / "fine.tif", raw, photometric="minisblack")
    config = tmp_path / "config.toml"
    config.write_text("[camera]\ngain_adu_per_e = 2\noffset_adu = 100\nread_noise_e = 1.6\n")
    plain, told = tmp_path / "plain", tmp_path / "told"
    run_command(tmp_path, "restore", tmp_path / "fine.tif", "-o", plain)
    done = run_command(tmp_path, "restore", tmp_path / "fine.tif", "-o", told, "--config", config)
    assert done.returncode == 0, done.stderr
    assert "took away more than the noise of [camera]" in done.stdout
    (line,) = json.loads((told / "fine.json").read_text(encoding="utf-8"))["stacks"]
    assert line["given_back"]["share"] > 0.2
    assert any("given back" in doubt for doubt in line["doubts"])
    gains = [psnr(tifffile.imread(f / "fine.ome.tif"), truth) for f in (plain, told)]
    assert gains[1] > gains[0] + 1, gains
    assert gains[1] > psnr(raw, truth)


def test_watch_marks_what_is_doubtful_and_status_lists_it(tmp_path: Path) -> None:
    state, data = tmp_path / "state", tmp_path / "data"
    recorded(data / "dim.ome.tif")
    recorded(data / "bright.ome.tif", peak_e=1500)
    recorded(data / "coarse.ome.tif", peak_e=1500, voxel_um=(1.0, 0.1))
    flags = ("--once", "--model", model(tmp_path, envelope=ENVELOPE, trained_voxel_um=TRAINED))
    done = run_command(state, "watch", data, *flags)
    assert done.returncode == 0, done.stderr
    assert "2 restored but doubtful" in done.stderr
    assert done.stderr.count("doubtful  ") == 2, "a line of the log each"
    said = status(state, data)
    assert (said["counts"]["done"], said["doubtful"]) == (3, 2)
    files = {f["source"]: f for f in said["files"]}
    assert "below the 20" in files["dim.ome.tif"]["reason"]
    assert "z 1 um (trained on 0.2 to 0.4 um)" in files["coarse.ome.tif"]["reason"]
    assert (files["bright.ome.tif"]["doubtful"], files["bright.ome.tif"]["reason"]) == (False, "")
    words = run_command(state, "status", data).stdout
    assert "3 stacks done; of the done, 2 doubtful" in words
    assert "coarse" in words
    assert "bright.ome.tif" not in words
    # A journal that is lost takes no doubt with it: the reports know.
    for file in state.iterdir():
        file.unlink()
    assert run_command(state, "watch", data, *flags).returncode == 0
    assert status(state, data)["doubtful"] == 2


def test_measuring_brightness_is_a_doubt_of_its_own(tmp_path: Path) -> None:
    """Where it is not known of a stack itself, as of these small ones, the envelope tells.

    Most dim stacks have it: that must not drown what is wrong with a picture.
    """
    state, data = tmp_path / "state", tmp_path / "data"
    for name in ("dim_1", "dim_2", "dim_3"):
        recorded(data / f"{name}.ome.tif", side=32)
    recorded(data / "coarse.ome.tif", voxel_um=(1.0, 0.1), side=32)
    keeps = {"snr": [0.01, 90.0], "brightness_snr": [20.0, 90.0], "brightness_measured": True}
    envelope = {**ENVELOPE, **keeps}
    used = model(tmp_path, envelope=envelope, trained_voxel_um=TRAINED)
    done = run_command(state, "watch", data, "--once", "--model", used)
    assert "1 restored but doubtful; 3 doubtful for measuring brightness only" in done.stderr
    lines = done.stderr.splitlines()
    assert sum("measure it in the raw stack," in line for line in lines) == 4, "of the log"
    assert sum("there are results that are doubtful for measuring" in line for line in lines) == 1
    said = status(state, data)
    assert (said["doubtful"], said["doubtful_brightness"]) == (1, 3)
    files = {f["source"]: f for f in said["files"]}
    assert files["coarse.ome.tif"]["doubtful"]
    assert "z 1 um" in files["coarse.ome.tif"]["reason"]
    assert "; doubtful for measuring brightness: at its" in files["coarse.ome.tif"]["reason"]
    assert not files["dim_1.ome.tif"]["doubtful"]
    words = run_command(state, "status", data).stdout
    assert "4 stacks done; of the done, 1 doubtful and 3 doubtful for measuring" in words
    assert words.index("1 doubtful: its voxels") < words.index(
        "3 doubtful for measuring brightness: at its signal-to-noise ratio"
    )
    page = tmp_path / "night.html"
    assert run_command(state, "status", data, "--html", page).returncode == 0
    html = page.read_text(encoding="utf-8")
    assert html.count('<figure class="said doubtful">') == 1, "only one picture is"
    assert html.count("doubtful for measuring brightness: at its signal") >= 4
    report = json.loads((data / "restored" / "dim_1.json").read_text(encoding="utf-8"))
    (doubt,) = report["stacks"][0]["doubts"]
    assert doubt.startswith("doubtful for measuring brightness: at its signal-to-noise ratio")


def test_an_unknown_voxel_size_is_said_once_and_is_no_doubt(tmp_path: Path) -> None:
    state, data = tmp_path / "state", tmp_path / "data"
    for name in ("a", "b"):
        recorded(data / f"{name}.ome.tif", voxel_um=())
    used = model(tmp_path, trained_voxel_um=TRAINED)
    done = run_command(state, "watch", data, "--once", "--model", used)
    assert done.stderr.count("voxel size unknown (z, y, x)") == 1, done.stderr
    assert status(state, data)["doubtful"] == 0
    report = json.loads((data / "restored" / "a.json").read_text(encoding="utf-8"))
    assert sum("voxel size unknown" in note for note in report["notes"]) == 1
    assert [w for w in report["warnings"] if "CPU" not in w] == []
    files = sorted(data.glob("*.tif"))
    out = tmp_path / "out"
    shown = run_command(state, "restore", *files, "-o", out, "--model", used).stdout
    assert shown.count("voxel size unknown") == 1


def test_models_tells_where_a_model_helps(tmp_path: Path) -> None:
    limit = {"quantity": "blur", "unit": "x", "tested": [1, 4], "helps": [1, 2]}
    used = model(tmp_path, envelope={**ENVELOPE, "limits": {"blur": limit}})
    config = tmp_path / "config.toml"
    config.write_text(f"[[models]]\nmodel = '{used}'\n")
    said = run_command(tmp_path, "models", "--config", config).stdout
    assert "shown to help at signal-to-noise ratios of 20 to 90" in said
    assert "blur: 1 to 2 x (tested 1 to 4)" in said


def test_estimating_changes_nothing(tmp_path: Path) -> None:
    """An identity network: the doubtful result is the raw stack, to the last voxel."""
    dim = recorded(tmp_path / "data" / "dim.ome.tif")
    run_command(tmp_path, "restore", dim, "--model", model(tmp_path, envelope=ENVELOPE))
    restored = tifffile.imread(dim.parent / "restored" / "dim.ome.tif")
    np.testing.assert_array_equal(restored, tifffile.imread(dim))
