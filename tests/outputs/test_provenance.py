"""What a report tells of its result, whatever anybody has done to it since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from live_restore.outputs.output import ResultPath
from live_restore.outputs.provenance import (
    REPORT_FORMAT,
    published_doubt,
    report_name_is_ours,
    restored_pixels,
)


def reported(folder: Path, report: Any) -> ResultPath:
    path = folder / "a.json"
    path.write_text(json.dumps(report), encoding="utf-8")
    return ResultPath(folder / "a.ome.tif", path, "0" * 16, True)


@pytest.mark.parametrize(
    ("stacks", "told"),
    [
        ([{"doubts": ["dark\nand odd"]}], "dark\\nand odd"),
        ([{"doubts": ["dark"]}, {"restored": False}], "1 of 2 stacks: dark"),
        ([{}], ""),
        ([{"doubts": ["x" * 5000]}], "x" * 1000),
        ([{"doubts": [3]}], ""),
        ([{"doubts": 3}], ""),
        (["dark"], ""),
        (None, ""),
    ],
)
def test_doubts_are_read_back_in_one_line(tmp_path: Path, stacks: Any, told: str) -> None:
    assert published_doubt(reported(tmp_path, {"stacks": stacks})) == told


@pytest.mark.parametrize(
    ("stacks", "checksum"),
    [([{"raw_crc32": 7}], 7), ([{"raw_crc32": "7"}], None), ([{}], None), ([], None), (3, None)],
)
def test_the_checksum_of_the_raw_pixels(tmp_path: Path, stacks: Any, checksum: int | None) -> None:
    assert restored_pixels(reported(tmp_path, {"stacks": stacks}).report) == checksum


def test_a_report_is_known_by_its_beginning(tmp_path: Path) -> None:
    assert report_name_is_ours(reported(tmp_path, {"format": REPORT_FORMAT}).report)
    assert not report_name_is_ours(reported(tmp_path, {"frames": 10}).report)
    assert report_name_is_ours(tmp_path / "absent.json")
    assert not report_name_is_ours(tmp_path)
