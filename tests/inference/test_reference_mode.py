"""``tiling = "reference"``: the numbers that a lab had before, through the daemon's own engine."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from tests.support.processes import run_command
from tests.support.systems import needs_packages

needs_packages("torch", "h5py", reason="needs PyTorch and h5py: the extra `export`")

CONFIG = """
[inference]
tiling = "reference"
[output]
units = "network"
"""


@pytest.mark.parametrize("name", ["tiny_g2b2c8", "g1b3c16"])
def test_the_published_programs_numbers_are_reproduced(
    tmp_path: Path, shared_data: Path, name: str
) -> None:
    from live_restore_export.cli.main import main as export

    folder = shared_data / "keras_rcan" / name
    checkpoint = next(folder.glob("*.hdf5"))
    model = tmp_path / "model.onnx"
    # What torch makes of it is compared elsewhere; here with what was published.
    assert export(["onnx", str(checkpoint), "-o", str(model), "--no-verify"]) == 0
    with np.load(folder / "io.npz") as record:
        raw, applied = record["raw"], record["applied"]
    tifffile.imwrite(tmp_path / "raw.tif", raw, photometric="minisblack")
    config = tmp_path / "config.toml"
    config.write_text(CONFIG)

    done = run_command(
        tmp_path, "restore", tmp_path / "raw.tif", "--model", model, "--config", config, "--json"
    )

    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)
    restored = tifffile.imread(line["result"])
    assert restored.dtype == np.float32
    assert float(np.abs(restored - applied.reshape(restored.shape)).max()) < 1e-4
    assert json.loads(Path(line["report"]).read_text())["units"] == "network"
