"""Which folder is a data set of which format, by the names in it."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_restore.formats.table import (
    ACQUISITION_FORMATS,
    acquisition_format_for,
    make_acquisition_formats,
)


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["r_MMStack_Pos0.ome.tif", "r_MMStack_Pos1.ome.tif", "comments.txt"], "mm-stack"),
        (["r_MMStack.ome.tif"], "mm-stack"),
        (["a_MMStack_Pos0.ome.tif", "b_MMStack_Pos0.ome.tif"], None),
        (["r_MMStack_Pos0.ome.tif", "loose.tif"], None),
        (["NDTiff.index"], "ndtiff"),
        (["r_NDTiffStack.tif", "r_NDTiffStack_1.tif", "NDTiff.index"], "ndtiff"),
        (["r_NDTiffStack.tif", "loose.tif"], None),
        (["zarr.json"], "ome-zarr"),
        ([".zgroup", ".zattrs"], "ome-zarr"),
        (["metadata.txt"], None),
        (["img_channel000_position000_time000000000_z000.tif"], None),
        (["a.tif", "b.txt"], None),
        ([], None),
    ],
)
def test_names_tell_the_format(tmp_path: Path, names: list[str], expected: str | None) -> None:
    for name in names:
        reserved = bytes(64) if name.endswith(".tif") else b""
        (tmp_path / name).write_bytes(reserved)
    found = acquisition_format_for(tmp_path, make_acquisition_formats())
    assert (found.name if found else None) == expected


def test_the_table_names_its_formats() -> None:
    assert [each.name for each in make_acquisition_formats()] == list(ACQUISITION_FORMATS)


def test_a_folder_that_is_gone_is_nobodys(tmp_path: Path) -> None:
    assert acquisition_format_for(tmp_path / "gone", make_acquisition_formats()) is None
