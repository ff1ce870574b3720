"""What all tests share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of real stacks; tests that need it are skipped where it is absent."""
    default = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("LIVE_RESTORE_SHARED", default))
    if not folder.is_dir():
        pytest.skip(f"no real stacks in {folder} (LIVE_RESTORE_SHARED names the folder)")
    return folder
