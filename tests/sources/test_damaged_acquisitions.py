"""Acquisitions of which a part, or all, cannot be read: refused with the reason, and counted."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.journal.states import State
from tests.formats.test_ome_zarr import multiscales, v3_array, v3_group, write_chunks
from tests.support.ome_zarr_files import PLANE
from tests.support.small_runs import ndtiff_run
from tests.support.watched import Scene


def watch_once(scene: Scene) -> None:
    """Look as ``watch --once`` does: for as long as anything is undecided."""
    scene.poll()
    scene.poll(0.3)
    for _ in range(100):
        if not scene.source.undecided():
            return
        scene.now += 0.3
        scene.source.poll(hurry=True)
    raise AssertionError("never decided")


def damage(folder: Path, how: str) -> str:
    """Damage the index or lose a file of an NDTiff run; return what is to be said of it."""
    index = folder / "NDTiff.index"
    if how == "no index":
        index.unlink()
        return "is not there"
    if how == "damaged index":
        index.write_bytes(b"\xff" * 400)
        return "an index entry claims axes"
    (folder / "run_NDTiffStack.tif").rename(folder / "copy.tif")
    return "the TIFF files that belong to it are not there"


@pytest.mark.parametrize("how", ["no index", "damaged index", "renamed"])
def test_an_ndtiff_run_without_its_index_or_its_file_is_refused(scene: Scene, how: str) -> None:
    run = scene.root / "run_1"
    run.mkdir()
    ndtiff_run(run)
    said = damage(run, how)
    watch_once(scene)
    (entry,) = scene.journal.entries()
    assert (entry.key.path, entry.state) == (Path("run_1"), State.REFUSED)
    assert said in entry.reason
    assert scene.bad == [(Path("run_1"), State.REFUSED)]


def test_what_stands_before_the_damage_of_an_index_is_restored(scene: Scene) -> None:
    run = scene.root / "run_1"
    run.mkdir()
    ndtiff_run(run)
    index = run / "NDTiff.index"
    whole = index.read_bytes()
    half = whole.rindex(b"{", 0, whole.index(b'"time": 1')) - 4
    index.write_bytes(whole[:half] + b"\xff" * (len(whole) - half))
    watch_once(scene)
    states = sorted(entry.state.value for entry in scene.journal.entries())
    assert states == ["refused", "waiting"]


@pytest.mark.parametrize("what", ["image", "array"])
def test_a_position_of_an_ome_zarr_run_with_damaged_metadata_is_counted(
    scene: Scene, what: str
) -> None:
    run = scene.root / "run.ome.zarr"
    v3_group(run, **{"bioformats2raw.layout": 3})
    for position in "01":
        v3_group(run / position, multiscales=multiscales())
        v3_array(run / position / "0", PLANE)
        write_chunks(run / position / "0", PLANE)
    damaged = run / "0" / "zarr.json" if what == "image" else run / "0" / "0" / "zarr.json"
    whole = damaged.read_text()
    damaged.write_text("{")
    watch_once(scene)
    states = sorted(entry.state.value for entry in scene.journal.entries())
    assert states == ["refused", *["waiting"] * 4]
    assert scene.entry("run.ome.zarr/0").reason == "its zarr.json is damaged; check the acquisition"
    assert scene.bad == [(Path("run.ome.zarr/0"), State.REFUSED)]
    assert OmeZarrFormat().follow(run).poll().unusable == {"0": "its zarr.json is damaged"}
    # It may have been copied again.
    damaged.write_text(whole)
    scene.poll(1000, times=3)
    assert [entry.state for entry in scene.journal.entries()] == [State.WAITING] * 8
