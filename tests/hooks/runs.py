"""What followers say of a run that is over."""

from __future__ import annotations

from pathlib import Path

from live_restore.formats.acquisition_format import AcquisitionState
from live_restore.formats.following import Following
from live_restore.formats.table import acquisition_format_for, make_acquisition_formats


def finished_state(folder: Path) -> AcquisitionState:
    """Return what is in a data set whose run is over."""
    acquisition_format = acquisition_format_for(folder, make_acquisition_formats())
    assert acquisition_format is not None
    return Following(folder, acquisition_format).poll(over=True)
