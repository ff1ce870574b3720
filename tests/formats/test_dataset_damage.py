"""Damaged and hostile data sets: one line of complaint at most, in bounded time and memory."""

from __future__ import annotations

import json
import os
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live_restore.errors import LiveRestoreError
from live_restore.formats.dataset import DatasetFormat
from live_restore.formats.mm_series import MmSeriesFormat
from live_restore.formats.mm_stack import MmStackFormat
from live_restore.formats.ndtiff import NdTiffFormat
from live_restore.formats.ome_zarr import OmeZarrFormat
from tests.support.mm_files import NdTiff, StackFile

MAX_SECONDS = 5.0
MAX_MEMORY = 64 * 2**20
MUTABLE_BYTES = 60_000
"""Only the beginning of each file is changed: the rest is reserved space."""

SUMMARY: dict[str, Any] = {
    "Frames": 2,
    "ChNames": ["DAPI"],
    "StagePositions": [{"Label": "Pos0"}],
    "MdaSettings": json.dumps({"channels": [{"config": "DAPI"}], "slices": [0, 1, 2]}),
}


def stack_run(folder: Path) -> None:
    file = StackFile(folder / "run_1_MMStack_Pos0.ome.tif", 3, SUMMARY)
    for t in range(2):
        for z in range(3):
            file.plane(0, z, t, 0, value=1 + z)
    file.finish()


def ndtiff_run(folder: Path) -> None:
    data = NdTiff(folder, {**SUMMARY, "Slices": 3})
    for t in range(2):
        for z in range(3):
            data.plane(1 + z, z=z, time=t, channel=0)
    data.finish()


def python_run(folder: Path) -> None:
    data = NdTiff(folder, axes_in_metadata=True)
    for t in range(2):
        for z in range(3):
            data.image(1 + z, z=z, time=t, channel="DAPI")


def series_run(folder: Path) -> None:
    (folder / "Pos0").mkdir()
    for z in range(3):
        path = folder / "Pos0" / f"img_channel000_position000_time000000000_z{z:03}.tif"
        tifffile.imwrite(path, np.full((5, 6), z + 1, "u2"), photometric="minisblack")
    text = '{\n"Summary": ' + json.dumps({**SUMMARY, "Slices": 3}, indent=2)
    image = {"PixelSizeUm": 0.1, "ChannelIndex": 0, "SliceIndex": 0, "ZPositionUm": 1}
    (folder / "Pos0" / "metadata.txt").write_text(
        text + ',\n"Metadata-Pos0/img.tif": ' + json.dumps(image, indent=2) + "\n}\n"
    )


def zarr_run(folder: Path) -> None:
    axes = [{"name": name, "unit": "micrometer"} for name in "tczyx"]
    scale = [{"type": "scale", "scale": [1, 1, 0.5, 0.1, 0.1]}]
    level = {"path": "0", "coordinateTransformations": scale}
    ome = {"version": "0.5", "multiscales": [{"axes": axes, "datasets": [level]}]}
    group = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": ome}}
    (folder / "zarr.json").write_text(json.dumps(group))
    array = {
        "node_type": "array",
        "shape": [1, 1, 3, 4, 8],
        "data_type": "uint16",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [1, 1, 1, 4, 8]}},
        "chunk_key_encoding": {"name": "default"},
        "codecs": [{"name": "bytes"}],
    }
    (folder / "0").mkdir()
    (folder / "0" / "zarr.json").write_text(json.dumps(array))
    for z in range(3):
        path = folder / "0" / "c" / "0" / "0" / str(z) / "0" / "0"
        path.parent.mkdir(parents=True)
        path.write_bytes(np.full((4, 8), z + 1, "u2").tobytes())


RUNS: dict[str, tuple[DatasetFormat, Callable[[Path], None]]] = {
    "mm-stack": (MmStackFormat(), stack_run),
    "ndtiff": (NdTiffFormat(), ndtiff_run),
    "ndtiff-python": (NdTiffFormat(), python_run),
    "mm-series": (MmSeriesFormat(), series_run),
    "ome-zarr": (OmeZarrFormat(), zarr_run),
}


def check_line(error: LiveRestoreError) -> None:
    """Check that a message is one line."""
    assert "\n" not in str(error)


def use(kind: DatasetFormat, folder: Path) -> None:
    """Do all that a daemon does; only our own errors, of one line each, may come out."""
    try:
        names = {path.name for path in folder.iterdir()}
        kind.claims(folder, names)
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


CHANGES = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 2**32), st.integers(0, 255)),
    st.tuples(st.just("number"), st.integers(0, 2**32), st.sampled_from([0, 1, 2**31, 2**32 - 1])),
    st.tuples(st.just("text"), st.integers(0, 2**32), st.sampled_from(
        ["null", "[[[", '"../../x"', "1e999", "-1", "9" * 30, "NaN", "{}", "\0", "\ud7ff"])),
    st.tuples(st.just("cut"), st.integers(0, 2**32), st.just(0)),
    st.tuples(st.just("remove"), st.integers(0, 2**32), st.integers(1, 400)),
)  # fmt: skip


def apply(files: list[Path], which: int, change: tuple[str, int, Any]) -> None:
    path = files[which % len(files)]
    size = path.stat().st_size
    if not size:
        return
    what, place, value = change
    at = place % min(size, MUTABLE_BYTES)
    with path.open("r+b") as stream:
        head = bytearray(stream.read(MUTABLE_BYTES))
        if what == "flip":
            head[at] = value
        elif what == "number":
            at -= at % 4
            head[at : at + 4] = value.to_bytes(4, "little")[: len(head) - at]
        elif what == "text":
            data = value.encode()
            head[at : at + len(data)] = data
            head = head[:MUTABLE_BYTES]
        elif what == "cut":
            stream.truncate(at)
            return
        elif size <= MUTABLE_BYTES:
            del head[at : at + value]
            stream.truncate(len(head))
        stream.seek(0)
        stream.write(head)


@pytest.mark.parametrize("name", RUNS)
def test_the_undamaged_runs_are_whole(tmp_path: Path, name: str) -> None:
    kind, make = RUNS[name]
    make(tmp_path)
    verdicts = kind.follow(tmp_path).poll(over=True).stacks
    assert verdicts
    assert all(evidence.complete for evidence in verdicts.values()), verdicts


def hurt_and_use(name: str, folder: Path, changes: list[tuple[int, tuple[str, int, Any]]]) -> None:
    kind, make = RUNS[name]
    folder.mkdir()
    make(folder)
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    for which, change in changes:
        apply(files, which, change)
    tracemalloc.start()
    began = time.monotonic()
    try:
        use(kind, folder)
        took, memory = time.monotonic() - began, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        for path in files:
            path.unlink()
    assert took < MAX_SECONDS
    assert memory < MAX_MEMORY


DAMAGE = st.lists(st.tuples(st.integers(0, 20), CHANGES), min_size=1, max_size=4)


@pytest.mark.parametrize("name", RUNS)
def test_damage_is_told_in_one_line(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    @settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
    )
    @given(DAMAGE)
    def hurt(changes: list[tuple[int, tuple[str, int, Any]]]) -> None:
        hurt_and_use(name, tmp_path_factory.mktemp("hurt") / "run_1", changes)

    hurt()


@pytest.mark.slow
@pytest.mark.parametrize("name", RUNS)
def test_much_damage(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    @settings(
        max_examples=2000, deadline=None, suppress_health_check=list(HealthCheck), database=None
    )
    @given(DAMAGE)
    def hurt(changes: list[tuple[int, tuple[str, int, Any]]]) -> None:
        hurt_and_use(name, tmp_path_factory.mktemp("hurt") / "run_1", changes)

    hurt()


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
