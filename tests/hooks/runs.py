"""What followers say of a run that is over."""

from __future__ import annotations

from pathlib import Path

from live_restore.formats.following import Following
from live_restore.formats.acquisition_format import DatasetState
from live_restore.formats.table import dataset_format_for, make_dataset_formats


def finished_state(folder: Path) -> DatasetState:
    """Return what is in a data set whose run is over."""
    dataset_format = dataset_format_for(folder, make_dataset_formats())
    assert dataset_format is not None
    return Following(folder, dataset_format).poll(over=True)
