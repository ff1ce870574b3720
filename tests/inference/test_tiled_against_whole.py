"""Tiles against the whole stack: real stacks, the bundled models, the smallest tiles of "auto"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.inference.device import tile_size
from live_restore.inference.load import bundled_models, find_model, load_model
from live_restore.inference.model.model import Model
from live_restore.inference.restored import Restored
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings

LEAST_PSNR_DB = 45.0


@pytest.fixture(scope="module")
def model(request: pytest.FixtureRequest) -> Model:
    # Without reduced precision: what tiles do is to be seen, not what rounding does.
    return load_model(find_model(request.param), reduced=False)


def restored(model: Model, stack: np.ndarray, voxels: float) -> Restored:
    settings = InferenceSettings(max_tile_mvoxel=voxels / 1e6)
    return Restorer(model, settings, "network").restore(stack)


@pytest.mark.parametrize(
    "model",
    [
        "fast",
        *(pytest.param(n, marks=pytest.mark.slow) for n in bundled_models() if n != "fast"),
    ],
    indirect=True,
)
@pytest.mark.parametrize(
    "name",
    [
        "chromosomes",
        pytest.param("golgi", marks=pytest.mark.slow),
        pytest.param("nuclear_envelope", marks=pytest.mark.slow),
    ],
)
def test_tiles_hardly_show(shared_data: Path, model: Model, name: str) -> None:
    stack = tifffile.imread(shared_data / "stacks" / f"{name}.tif")
    whole = restored(model, stack, stack.size * 2)
    # What "auto" takes where memory or rate allow least; everywhere else tiles are larger.
    tiled = restored(model, stack, tile_size.SMALLEST_VOXELS)
    assert whole.tile_count == 1
    assert tiled.tile_count > 1
    error = np.mean((tiled.volume.astype(np.float64) - whole.volume) ** 2)
    assert -10 * np.log10(error) >= LEAST_PSNR_DB  # 1 in network units is the peak
