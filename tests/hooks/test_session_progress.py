"""What a person is told at the end of a session."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from live_restore.hooks.account import Account
from live_restore.hooks.child import Restorations
from live_restore.hooks.progress import finish_with_progress, results


@pytest.mark.parametrize(
    ("run", "made", "count"),
    [
        ("run_1/NDTiff.index", ["run_1_restored/p000_t0000_c00.ome.tif"], 1),
        (
            "run_1/NDTiff.index",
            [
                "run_1_restored/p000.ome.zarr/zarr.json",
                "run_1_restored/p000.reports/p000_t0000_c00.json",
                "run_1_restored/p001.reports/p001_t0000_c00.json",
            ],
            2,
        ),
        ("run_1/p000_t0000_c00.ome.tif", ["run_1/restored/p000_t0000_c00.ome.tif"], 1),
        ("run.ome.tiff", ["restored/run.ome.tif", "restored/another.ome.tif"], 1),
    ],
)
def test_results_are_counted_where_they_lie(
    tmp_path: Path, run: str, made: list[str], count: int
) -> None:
    for name in (run, *made):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    path = tmp_path / Path(run).parts[0]
    assert results(path) == count
    said: list[str] = []
    nothing = Restorations([], tmp_path / "log", lambda *_, **__: [sys.executable, "-c", ""])
    nothing.begin(path)
    finish_with_progress(nothing, None, said.append, lambda _: Account())
    assert said == [f"{path}: {count} stacks restored"]
