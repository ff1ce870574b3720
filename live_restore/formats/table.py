"""The formats there are, one line each; the first that claims a file has it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from live_restore.errors import LiveRestoreError
from live_restore.files.raw_data import names_in
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.formats.micromanager.image_stack_file import MmStackFormat
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.micromanager.separate_images import MmSeriesFormat
from live_restore.formats.tiff.layout import UndeclaredAxis
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat

FORMATS: dict[str, Callable[[UndeclaredAxis], FileFormat]] = {
    "tiff": lambda undeclared_axis: TiffFormat(undeclared_axis=undeclared_axis),
}

ACQUISITION_FORMATS: dict[str, Callable[[], AcquisitionFormat]] = {
    MmStackFormat.name: MmStackFormat,
    NdTiffFormat.name: NdTiffFormat,
    OmeZarrFormat.name: OmeZarrFormat,
    MmSeriesFormat.name: MmSeriesFormat,
}


def make_formats(*, undeclared_axis: UndeclaredAxis = "Z") -> tuple[FileFormat, ...]:
    """Return one of each format, most particular first."""
    return tuple(make(undeclared_axis) for make in FORMATS.values())


def format_for(path: Path, formats: Sequence[FileFormat]) -> FileFormat | None:
    """Return the format whose business a file of this name is, ``None`` if nobody's."""
    return next((each for each in formats if each.recognises(path)), None)


def make_acquisition_formats() -> tuple[AcquisitionFormat, ...]:
    """Return one of each format of acquisition folders, cheapest to recognise first."""
    return tuple(make() for make in ACQUISITION_FORMATS.values())


def acquisition_format_for(
    folder: Path, formats: Sequence[AcquisitionFormat]
) -> AcquisitionFormat | None:
    """Return the format that claims a folder, ``None`` if nobody does (yet).

    To be asked from the watched folder downwards: what lies inside an acquisition belongs to it.
    """
    try:
        files, folders = names_in(folder)
    except LiveRestoreError:
        return None  # gone, or not to be read just now; the next scan asks again
    return recognised_by(folder, {*files, *folders}, formats)


def recognised_by(
    folder: Path, names: Collection[str], formats: Sequence[AcquisitionFormat]
) -> AcquisitionFormat | None:
    """Return the format that claims a folder of these entries, ``None`` if nobody does (yet)."""
    return next((each for each in formats if each.recognises(folder, names)), None)
