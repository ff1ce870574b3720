"""zarr-python as a reader in tests: its threads are started once, and stay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaozarrs
import zarr


def warmed_up(folder: Path) -> Any:
    """Return zarr after it has started the threads that it keeps for good.

    Of itself it waits for its thread without an end, which a test under Wine once did: then reading
    or writing an array fails, and its test alone.
    """
    zarr.config.set({"threading.max_workers": 1, "async.timeout": 60.0})
    zarr.create_array(folder / "any", data=np.ones(3))[:]
    return zarr


def validate(image: Path) -> None:
    """Check an image against the schema of OME-Zarr."""
    yaozarrs.validate_zarr_store(str(image))
