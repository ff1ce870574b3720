"""A model of several channels restores them together, as the published code does."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import tifffile

import live_restore
from live_restore.inference.image.reference_tiling import apply_reference
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.support.processes import run_command, status
from tests.support.systems import needs_packages

if TYPE_CHECKING:
    import torch

needs_packages("torch", reason="needs PyTorch: the extra `export`")

CONFIG = """
[inference]
tiling = "reference"
precision = "fp32"
block_zyx = [4, 16, 16]
[output]
units = "network"
[[models]]
model = "two.onnx"
"""


@pytest.fixture
def network(tmp_path: Path) -> torch.nn.Module:
    """A network of two channels, its model file and a config.toml beside it."""
    import torch
    from live_restore_export.network import RCAN, RCANConfig
    from live_restore_export.onnx.export import export_network, make_card, write_atomically

    torch.manual_seed(3)
    config = RCANConfig(
        groups=2, blocks=1, channels=4, reduction=2, in_channels=2, out_channels=2,
        residual_scaling=0.5,
    )  # fmt: skip
    network = RCAN(config).eval()
    model = export_network(network, make_card(config, "two"))
    write_atomically(model.SerializeToString(), tmp_path / "two.onnx")
    (tmp_path / "config.toml").write_text(CONFIG)
    return network


def two_channels(path: Path, times: int) -> np.ndarray:
    cell = LivingCell(shape_zyx=(6, 24, 28))
    data = np.stack([[cell.exposed(t), cell.exposed(t + 9) // 2] for t in range(times)])
    tifffile.imwrite(path, data, ome=True, photometric="minisblack", metadata={"axes": "TCZYX"})
    return data


def test_the_daemon_gives_the_published_programs_numbers(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    data = two_channels(folder / "cells.ome.tif", times=2)
    config = tmp_path / "config.toml"
    done = run_command(tmp_path / "state", "watch", folder, "--once", "--config", config)
    assert done.returncode == 0, done.stderr
    restored = tifffile.imread(folder / "restored" / "cells.ome.tif")

    def run(tile: np.ndarray) -> np.ndarray:
        import torch

        with torch.inference_mode():
            return network(torch.from_numpy(np.ascontiguousarray(tile))).numpy()

    for time, raw in enumerate(data):
        expected = apply_reference(raw, run, (4, 16, 16))
        assert float(np.abs(restored[time] - expected).max()) < 1e-4


def test_a_file_with_another_number_of_channels_is_refused(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    stack = LivingCell(shape_zyx=(6, 24, 28)).exposed(0)
    tifffile.imwrite(folder / "one.tif", stack, photometric="minisblack")
    run_command(tmp_path / "state", "watch", folder, "--once", "--config", tmp_path / "config.toml")
    (entry,) = status(tmp_path / "state", folder)["files"]
    assert entry["state"] == "refused"
    assert "takes 2 together" in entry["reason"]


def test_an_array_of_both_channels_is_restored_as_a_file_of_both(
    tmp_path: Path, network: torch.nn.Module
) -> None:
    del network
    folder = tmp_path / "data"
    folder.mkdir()
    raw = two_channels(folder / "cells.ome.tif", times=1)[0]
    config = tmp_path / "config.toml"
    done = run_command(
        tmp_path, "restore", folder / "cells.ome.tif", "--config", config, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    expected = tifffile.imread(folder / "restored" / "cells.ome.tif")
    settings = load_settings(config)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", live_restore.DoubtfulWarning)
        restored = live_restore.restore(raw, device="cpu", settings=settings)
    assert restored.shape == raw.shape == (2, 6, 24, 28)
    assert np.array_equal(restored, expected.reshape(raw.shape))
    with pytest.raises(live_restore.UsageError, match=r"takes 2 together; give it \(C, Z, Y, X\)"):
        live_restore.restore(raw[0], device="cpu", settings=settings)
