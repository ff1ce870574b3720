"""Low-light twins: noise of a camera, the same field, and nothing of the clean file touched."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.degrade import write_twins
from live_restore_export.training.stacks import file_stacks_in
from training_files import SHAPE, clean_stack, write_stack

from live_restore.errors import LiveRestoreError

DIM = SimulationConfig.model_validate({"peak_e": (20, 20), "background_fraction": (0.05, 0.05)})


def write(clean: Path, output: Path, seed: int = 1) -> list[Path]:
    return [twin.image for twin in write_twins(clean, output, DIM, seed=seed)]


def test_the_command(tmp_path: Path, command: Callable[..., Any]) -> None:
    for index in range(2):
        write_stack(tmp_path / "clean" / f"cell {index}.tif", clean_stack(index))
    before = {p: p.read_bytes() for p in (tmp_path / "clean").iterdir()}
    flags = ("--peak-e", "10:100", "--seed", 1, "--gain", "0.5", "--offset", "100")
    done = command("degrade", tmp_path / "clean", "-o", tmp_path / "low", *flags)
    assert done.code == 0, done.err
    assert done.out.count("e- at the peak") == 2
    for index in range(2):
        report = json.loads((tmp_path / "low" / f"cell {index}.json").read_text())
        assert 10 <= report["peak_e"] <= 100
        assert report["camera"]["gain_adu_per_e"] == pytest.approx(0.5)
        assert report["camera"]["offset_adu"] == 100
        assert report["clean_file"] == f"cell {index}.tif"
        assert report["seed"] == 1
        low = tifffile.imread(tmp_path / "low" / f"cell {index}.ome.tif")
        assert low.dtype == np.uint16
        correlation = np.corrcoef(low.ravel(), clean_stack(index).ravel())[0, 1]
        assert 0.5 < correlation < 0.999
    assert {p: p.read_bytes() for p in (tmp_path / "clean").iterdir()} == before


def test_noise_is_that_of_the_light_level(tmp_path: Path) -> None:
    stack = np.zeros((8, 64, 64), np.float32)
    stack[4:] = np.linspace(0.5, 1, 64, dtype=np.float32)
    (image,) = write(write_stack(tmp_path / "flat.tif", stack), tmp_path / "low")
    report = json.loads((tmp_path / "low" / "flat.json").read_text())
    camera = report["camera"]
    electrons = (tifffile.imread(image) - camera["offset_adu"]) / camera["gain_adu_per_e"]
    dark, bright = electrons[:4], electrons[4:, :, -1]
    assert dark.mean() == pytest.approx(1.0, abs=0.1)  # 0.05 of 20 e-
    assert bright.mean() == pytest.approx(21, rel=0.06)
    assert dark.var() == pytest.approx(1 + camera["read_noise_e"] ** 2, rel=0.3)


def test_a_twin_depends_on_its_own_name_and_the_seed_only(tmp_path: Path) -> None:
    write_stack(tmp_path / "clean" / "b.tif", clean_stack(1))
    (alone,) = write(tmp_path / "clean", tmp_path / "alone")
    (other,) = write(tmp_path / "clean", tmp_path / "other", seed=2)
    write_stack(tmp_path / "clean" / "a.tif", clean_stack(2))
    _, beside = write(tmp_path / "clean", tmp_path / "beside")
    assert np.array_equal(tifffile.imread(alone), tifffile.imread(beside))
    assert not np.array_equal(tifffile.imread(alone), tifffile.imread(other))


def test_axes_voxel_size_and_channels_are_kept(tmp_path: Path) -> None:
    image = np.stack([[clean_stack(t + 2 * c) for c in range(2)] for t in range(3)])
    (tmp_path / "clean").mkdir()
    tifffile.imwrite(
        tmp_path / "clean" / "run.ome.tif", image, ome=True, photometric="minisblack",
        metadata={"axes": "TCZYX", "PhysicalSizeZ": 0.3, "PhysicalSizeX": 0.1,
                  "PhysicalSizeY": 0.1, "Channel": {"Name": ["actin", "DNA"]}},
    )  # fmt: skip
    write(tmp_path / "clean", tmp_path / "low")
    (file_stacks,) = file_stacks_in(tmp_path / "low")
    assert (file_stacks.times, file_stacks.channels, file_stacks.shape_zyx) == (3, 2, SHAPE)
    assert (file_stacks.voxel.z_um, file_stacks.voxel.x_um) == (0.3, 0.1)
    assert file_stacks.channel_names == ("actin", "DNA")
    low = tifffile.imread(tmp_path / "low" / "run.ome.tif")
    for t in range(3):
        for c in range(2):
            assert np.corrcoef(low[t, c].ravel(), image[t, c].ravel())[0, 1] > 0.6


@pytest.mark.parametrize(
    ("output", "message"),
    [("clean", "is where the clean stacks are"), ("low", "is taken")],
)
def test_nothing_is_written_over(output: str, message: str, tmp_path: Path) -> None:
    write_stack(tmp_path / "clean" / "a.tif", clean_stack(1))
    write(tmp_path / "clean", tmp_path / "low")
    before = (tmp_path / "low" / "a.ome.tif").read_bytes()
    with pytest.raises(LiveRestoreError, match=message):
        write(tmp_path / "clean", tmp_path / output, seed=7)
    assert (tmp_path / "low" / "a.ome.tif").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["absent.tif"], "absent.tif"),
        (["."], "holds no TIFF stacks"),
        (["a.tif", "--peak-e", "100:10"], "must run upwards"),
        (["a.tif", "--peak-e", "much"], "invalid range"),
        (["a.tif", "--seed", "-1"], "must not be below 0"),
    ],
)
def test_wrong_use_is_one_line(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: Callable[..., Any],
) -> None:
    monkeypatch.chdir(tmp_path)
    done = command("degrade", *arguments, "-o", "low")
    assert done.code in (1, 2)
    assert message in done.err
    assert done.err.count("\n") == 1
    assert not Path("low").exists()
