"""Fakes behind the project's seams: what is built on a session that needs no model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.inference.backends.session import Floats
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import Restorer
from live_restore.settings.camera import CameraSettings
from live_restore.settings.load import load_settings
from live_restore.settings.model import ModelRule, Settings
from live_restore.stack import FileStacks, Fingerprint, Units
from live_restore.testing.fakes import FakeSession, fake_model, halve

__all__ = ["FakeSession", "Floats", "a_dataset", "fake_model", "fake_restorer", "fake_shelf",
           "fingerprint_of", "halve"]  # fmt: skip


def fake_restorer(
    function: Callable[[Floats], Floats] = halve,
    inference: dict[str, Any] | None = None,
    units: Units = "camera",
    camera: CameraSettings | None = None,
    **card: Any,
) -> Restorer:
    """Return a restorer on a fake model."""
    settings = load_settings(None, {"inference": inference or {}})
    return Restorer(fake_model(function, **card), settings.inference, units, camera)


def fake_shelf(
    function: Callable[[Floats], Floats] = halve,
    *,
    skip: tuple[str, ...] = (),
    recipe: str = "r" * 64,
    settings: Settings | None = None,
    **card: Any,
) -> ModelSet:
    """Return a shelf with one fake model for every channel that is not skipped."""
    inference = (settings or load_settings()).inference
    restorer = Restorer(fake_model(function, **card), inference)
    rules: list[tuple[ModelRule, Restorer | None]] = []
    if skip:
        rules.append((ModelRule(channels=skip, skip=True), None))
    rules.append((ModelRule(), restorer))
    return ModelSet(tuple(rules), recipe)


def a_dataset(path: Path = Path("raw.tif"), **changes: Any) -> FileStacks:
    """Return a dataset of one small stack; ``changes`` replace its fields."""
    fields: dict[str, Any] = {
        "path": path,
        "fingerprint": Fingerprint(1000, 10**18),
        "positions": 1,
        "times": 1,
        "channels": 1,
        "shape_zyx": (3, 5, 6),
        "dtype": np.dtype(np.uint16),
        **changes,
    }
    return FileStacks(**fields)


def fingerprint_of(path: Path) -> Fingerprint:
    """Return a file's fingerprint."""
    return Fingerprint.of(path.stat())
