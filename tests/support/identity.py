"""A file restored by a network that changes nothing: what comes back is what was read."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import tifffile

from live_restore.engine.one_shot import OneResult, OneShot
from live_restore.errors import LiveRestoreError
from live_restore.settings.load import load_settings
from tests.support.fakes import fake_shelf


@dataclass(frozen=True)
class Result:
    """A result as others read it: images by position, OME-XML, and the report."""

    one: OneResult
    images: tuple[np.ndarray[Any, Any], ...]
    axes: str
    ome: ome_types.OME
    report: dict[str, Any]


def restore(path: Path, **files: Any) -> Result:
    """Restore one file, all of whose stacks must succeed; ``files`` are settings."""
    settings = load_settings(None, {"files": files})
    (attempt,) = OneShot(fake_shelf(lambda tile: tile), settings).restore_all(path)
    if isinstance(attempt, LiveRestoreError):
        raise attempt
    with tifffile.TiffFile(attempt.image) as tif:
        images = tuple(series.asarray() for series in tif.series)
        axes = tif.series[0].axes
        assert tif.ome_metadata is not None
        ome = ome_types.from_xml(tif.ome_metadata)
    return Result(attempt, images, axes, ome, json.loads(attempt.report.read_text()))


def truth_of(path: Path) -> tuple[np.ndarray[Any, Any], ...]:
    """Return what tifffile reads of a file, by series."""
    with tifffile.TiffFile(path) as tif:
        return tuple(series.asarray() for series in tif.series)
