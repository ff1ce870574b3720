"""Damaged data sets: one line of complaint at most. Many more kinds of damage: ``tests/fuzz``."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from live_restore.errors import LiveRestoreError
from live_restore.formats.acquisition_format import AcquisitionFormat
from tests.support.small_runs import RUNS


def check_line(error: LiveRestoreError) -> None:
    """Check that a message is one line."""
    assert "\n" not in str(error)


def use(kind: AcquisitionFormat, folder: Path) -> None:
    """Do all that a daemon does; only our own errors, of one line each, may come out."""
    try:
        names = {path.name for path in folder.iterdir()}
        kind.recognises(folder, names)
        follower = kind.follow(folder)
        for over in (False, False, True):
            state = follower.poll(over=over)
            assert all("\n" not in line and len(line) < 1000 for line in state.problems)
            for name in (*state.info.channel_names, *state.info.position_names):
                assert len(name) <= 1000
            for key in list(state.stacks)[:20]:
                state.info.channel_name(key.channel)
                state.info.position_name(key.position)
                try:
                    volume = follower.read(key)
                except LiveRestoreError as error:
                    check_line(error)
                else:
                    assert volume.ndim == 3
                    assert volume.any()
    except LiveRestoreError as error:
        check_line(error)


@pytest.mark.parametrize("name", RUNS)
def test_the_undamaged_runs_are_whole(tmp_path: Path, name: str) -> None:
    kind, make = RUNS[name]
    make(tmp_path)
    stacks = kind.follow(tmp_path).poll(over=True).stacks
    assert stacks
    assert all(evidence.complete for evidence in stacks.values()), stacks


DEEP = "[" * 200_000


@pytest.mark.parametrize("name", RUNS)
def test_json_that_nests_without_end(tmp_path: Path, name: str) -> None:
    kind, make = RUNS[name]
    run = tmp_path / "run_1"
    run.mkdir()
    make(run)
    for path in run.rglob("*"):
        if path.name in ("metadata.txt", "zarr.json"):
            path.write_text('{"Summary": ' + DEEP)
        elif path.name == "NDTiff.index":
            path.write_bytes((60_000).to_bytes(4, "little") + DEEP[:60_000].encode() + bytes(200))
    use(kind, run)


def test_a_pipe_in_the_folder_does_not_block(tmp_path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("no named pipes on this system")
    for name in ("x_MMStack_Pos0.ome.tif", "NDTiff.index", "x_NDTiffStack.tif", "metadata.txt",
                 "zarr.json", "img_channel000_position000_time000000000_z000.tif"):  # fmt: skip
        os.mkfifo(tmp_path / name)
    for kind, _ in RUNS.values():
        use(kind, tmp_path)
