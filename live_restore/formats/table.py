"""The formats there are: this program's own, one line each, and those of plug-ins.

A new one is a file in this package, and a line here.

The first that recognises a file or folder has it: first this program's, then plug-ins by their
names. The groups of entry points are those that ``file_format.py`` and ``acquisition_format.py``
name.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from live_restore.errors import LiveRestoreError
from live_restore.files.raw_data import names_in
from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.formats.micromanager.image_stack_file import MmStackFormat
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.micromanager.separate_images import MmSeriesFormat
from live_restore.formats.plane_files.plane_format import PlaneFilesFormat
from live_restore.formats.plug_ins import acquisition_plug_ins, file_plug_ins
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.formats.vendor.vendor_format import VendorFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.settings.model import FilesSettings

FILE_FORMATS: dict[str, Callable[[FilesSettings], FileFormat]] = {
    TiffFormat.name: lambda files: TiffFormat(
        undeclared_axis=files.undeclared_axis, interleaved_channels=files.interleaved_channels
    ),
    VendorFormat.name: lambda _: VendorFormat(),
}

ACQUISITION_FORMATS: dict[str, Callable[[str | None], AcquisitionFormat]] = {
    MmStackFormat.name: lambda _: MmStackFormat(),
    NdTiffFormat.name: lambda _: NdTiffFormat(),
    OmeZarrFormat.name: lambda _: OmeZarrFormat(),
    MmSeriesFormat.name: lambda _: MmSeriesFormat(),
    PlaneFilesFormat.name: PlaneFilesFormat,
}


def warn_of_plug_in(problem: str) -> None:
    """Warn as Python does: for programs that have no line of their own for it."""
    warnings.warn(problem, RuntimeWarning, stacklevel=2)


def make_formats(
    *, files: FilesSettings | None = None, warn: Callable[[str], None] = warn_of_plug_in
) -> tuple[FileFormat, ...]:
    """Return one of each format of single files, most particular first.

    Parameters
    ----------
    files
        What is taken for granted where a file does not declare it; ``None``: the defaults.
    warn
        Takes a line about each plug-in that is left out, now or, if it fails at recognising, later.
    """
    own = tuple(make(files or FilesSettings()) for make in FILE_FORMATS.values())
    return own + file_plug_ins(FILE_FORMATS, warn)


def format_for(path: Path, formats: Sequence[FileFormat]) -> FileFormat | None:
    """Return the format whose business a file of this name is, ``None`` if nobody's."""
    return next((each for each in formats if each.recognises(path)), None)


def make_acquisition_formats(
    *, plane_pattern: str | None = None, warn: Callable[[str], None] = warn_of_plug_in
) -> tuple[AcquisitionFormat, ...]:
    """Return one of each format of acquisition folders, most particular first.

    Parameters
    ----------
    plane_pattern
        How files of one plane each are named, besides the namings that are known.
    warn
        That of :func:`make_formats`.
    """
    own = tuple(make(plane_pattern) for make in ACQUISITION_FORMATS.values())
    return own + acquisition_plug_ins(ACQUISITION_FORMATS, warn)


def problems() -> tuple[str, ...]:
    """Return a line about each plug-in that is left out: what is wrong with it."""
    found: list[str] = []
    make_formats(warn=found.append)
    make_acquisition_formats(warn=found.append)
    return tuple(found)


def acquisition_format_for(
    folder: Path, formats: Sequence[AcquisitionFormat], known: str = ""
) -> AcquisitionFormat | None:
    """Return the format that recognises a folder, ``None`` if none does (yet).

    To be asked from the watched folder downwards: what lies inside an acquisition belongs to it.
    ``known`` is that of :func:`recognised_by`.
    """
    try:
        files, folders = names_in(folder)
    except LiveRestoreError:
        return None  # gone, or not to be read just now; the next scan asks again
    return recognised_by(folder, {*files, *folders}, formats, known)


def recognised_by(
    folder: Path,
    names: Collection[str],
    formats: Sequence[AcquisitionFormat],
    known: str = "",
) -> AcquisitionFormat | None:
    """Return the format that recognises a folder of these entries, ``None`` if none does (yet).

    ``known`` names the format that the folder has been found to have before: it keeps it while own
    files are left in it, although by now too much else may lie there to recognise it anew.
    """
    for each in formats:
        if each.name == known and each.goes_on(folder, names):
            return each
    return next((each for each in formats if each.recognises(folder, names)), None)
