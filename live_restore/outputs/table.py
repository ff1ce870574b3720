"""Every output by its name in the settings. Another one is a file, and a line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from live_restore.outputs.growing_tiff import contents_of
from live_restore.outputs.ome_tiff import OmeTiffOutput
from live_restore.outputs.ome_zarr import OmeZarrOutput
from live_restore.outputs.output import Output, ResultPath
from live_restore.settings.output import OutputSettings
from live_restore.stack import StackIndex

OUTPUTS: dict[str, Callable[[], Output]] = {
    "ome-tiff": OmeTiffOutput,
    "ome-zarr": OmeZarrOutput,
}
OF_FILES = "ome-tiff"
"""What the result of a file is written as: like for like."""


def make_output(name: str) -> Output:
    """Return the output of that name in the table; raises ``KeyError``."""
    return OUTPUTS[name]()


def output_of_acquisitions(settings: OutputSettings) -> Output:
    """Return what stacks of acquisition folders are written by."""
    return make_output(settings.acquisitions)


def output_of_files() -> Output:
    """Return what files are written by."""
    return make_output(OF_FILES)


def is_own_result(path: Path) -> bool:
    """Return whether the file or folder is an image that any output made; raises nothing."""
    return any(make().made(path) for make in OUTPUTS.values())


def grown_stacks(result_path: ResultPath) -> frozenset[StackIndex] | None:
    """Return which stacks a result of a file that grows holds, ``None`` if it is none."""
    contents = contents_of(result_path.image)
    return None if contents is None else frozenset(contents.stacks)
