"""Files of which not every stack is whole: each that is comes back, the others with a reason.

Rows of the list of cases from the field, with the right answers, through the real daemon.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine.daemon import Daemon
from live_restore.engine.one_shot import OneShot
from live_restore.errors import LiveRestoreError
from live_restore.journal.entry import Entry
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.overview.entries import ShownEntry, entry_id, read_facts
from live_restore.page.pixels import Pixels
from live_restore.settings.load import load_settings
from live_restore.stack import StackIndex
from tests.support.fakes import fake_shelf

CASES = Path(os.environ.get("LIVE_RESTORE_SHARED", "../shared/data")) / "cases"
DEPTH = 5


@dataclass
class Run:
    """A watched folder, and a daemon that looks at it once."""

    root: Path
    journal_file: Path
    card: dict[str, Any] = field(default_factory=dict)

    def case(self, name: str) -> Path:
        if not (CASES / name).exists():
            pytest.skip(f"needs {CASES / name}")
        path = self.root / name
        shutil.copyfile(CASES / name, path)
        return path

    def write(self, name: str, image: np.ndarray, **arguments: Any) -> Path:
        path = self.root / name
        arguments = {"photometric": "minisblack", **arguments}
        tifffile.imwrite(path, image, **arguments)
        return path

    def once(self, **settings: Any) -> Run:
        watch = {"quiet_s": 0.4, "settle_s": 0.05, **settings.pop("watch", {})}
        chosen = load_settings(None, {"watch": watch, **settings})
        with Journal(self.journal_file, self.root, recipe="r" * 64) as journal:
            daemon = Daemon(self.root, chosen, fake_shelf(lambda tile: tile, **self.card), journal)
            self.failed = daemon.run(once=True)
            self.summary = daemon.summary()
            self.warnings = daemon.progress.snapshot().warnings
            self.entries = {entry.key.path.as_posix(): entry for entry in journal.entries()}
        return self

    def states(self) -> dict[str, State]:
        return {name: entry.state for name, entry in self.entries.items()}

    def only(self, state: State) -> dict[str, Entry]:
        return {name: each for name, each in self.entries.items() if each.state is state}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    root = tmp_path / "watched"
    root.mkdir()
    return Run(root, tmp_path / "j.sqlite")


def result(path: Path) -> Path:
    name = path.name.removesuffix(".tif").removesuffix(".ome")
    return path.parent / "restored" / f"{name}.ome.tif"


def report(path: Path) -> dict[str, Any]:
    found = json.loads(result(path).with_name(result(path).name[:-8] + ".json").read_text("utf-8"))
    assert isinstance(found, dict)
    return found


def restored(path: Path) -> tuple[np.ndarray, str]:
    """Return what tifffile reads of a result, and its axes."""
    with tifffile.TiffFile(result(path)) as tif:
        return tif.series[0].asarray(), tif.series[0].axes


def movie(times: int, seed: int = 0, depth: int = DEPTH) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.integers(90, 4000, (times, depth, 24, 32)).astype(np.uint16)


def raw_of(path: Path, planes: int) -> np.ndarray:
    with tifffile.TiffFile(path) as tif:
        return np.stack([page.asarray() for page in tif.pages[:planes]])


STOPPED = ["stopped_6_of_10.ome.tif", "stopped_6_of_10_imagej.tif"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STOPPED)
def test_a_run_that_was_stopped_has_its_whole_stacks(run: Run, name: str) -> None:
    path = run.case(name)
    assert run.once().failed == 0
    image, axes = restored(path)
    assert (axes, image.shape[:2]) == ("TZYX", (6, DEPTH))
    assert np.array_equal(image.reshape(30, *image.shape[2:]), raw_of(path, 30))
    assert run.states() == {name: State.DONE, f"{name}/p000_t0006_c00": State.INCOMPLETE}
    left = run.entries[f"{name}/p000_t0006_c00"]
    assert left.reason.startswith("2 of 5 planes present")
    assert "1 incomplete" in run.summary
    assert any("p000_t0006_c00 is left out: 2 of 5 planes" in each for each in run.warnings)
    assert len(report(path)["stacks"]) == 6
    written = result(path).read_bytes()
    assert run.once().states()[name] is State.DONE
    assert result(path).read_bytes() == written, "nothing is done twice"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", STOPPED)
def test_partial_stacks_of_a_file_obey(run: Run, name: str) -> None:
    path = run.case(name)
    run.once(files={"partial_stacks": "restore"})
    assert run.states() == {name: State.DONE}
    with tifffile.TiffFile(result(path)) as tif:
        assert len(tif.pages) == 32, "planes that were never recorded are not there as zeros"
        assert tif.series[0].shape[:2] == (7, DEPTH)
    image, _ = restored(path)
    assert np.array_equal(image.reshape(-1, *image.shape[2:])[:32], raw_of(path, 32))


def test_one_dropped_frame_costs_one_stack(run: Run) -> None:
    path = run.case("one_blank_plane_of_40.tif")
    run.once()
    image, axes = restored(path)
    raw = raw_of(path, 40).reshape(8, DEPTH, *image.shape[2:])
    whole = [0, 1, 2, 4, 5, 6, 7]
    assert axes == "TZYX"
    assert np.array_equal(image[whole], raw[whole])
    assert not image[3].any(), "what is not restored is not shown as if it were"
    (left,) = run.only(State.INCOMPLETE).values()
    assert left.key.path.name == "p000_t0003_c00"
    assert "1 of 5 planes hold nothing but zeros (z 2)" in left.reason
    assert any("p000_t0003_c00" in each for each in run.warnings)
    assert [line["time"] for line in report(path)["left_out"]] == [3]


def test_blank_planes_of_a_file_are_restored_where_the_settings_say_so(run: Run) -> None:
    path = run.case("one_blank_plane_of_40.tif")
    run.once(files={"blank_planes": "restore"})
    assert run.states() == {path.name: State.DONE}
    assert len(report(path)["stacks"]) == 8


def test_planes_without_a_photon_are_data(run: Run) -> None:
    path = run.case("photon_counting_empty_plane.ome.tif")
    assert run.once().failed == 0
    assert run.states() == {path.name: State.DONE}
    image, _ = restored(path)
    assert np.array_equal(image, tifffile.imread(path))


def test_a_reserved_file_that_was_left_half_full_is_no_data(run: Run) -> None:
    """Also of a detector that counts photons: stacks that were never begun tell."""
    photons = np.random.default_rng(1).poisson(0.4, (10, DEPTH, 24, 32)).astype(np.uint16)
    for name, image in (("camera.ome.tif", movie(10)), ("photons.ome.tif", photons)):
        image[6, 2:] = 0
        image[7:] = 0
        run.write(name, image, metadata={"axes": "TZYX"})
    run.once()
    for name in ("camera.ome.tif", "photons.ome.tif"):
        assert restored(run.root / name)[0].shape[0] == 6
        left = run.entries[f"{name}/p000_t0006_c00"]
        assert left.state is State.INCOMPLETE
        assert left.reason.startswith("2 of 5 planes present")
        assert f"{name}/p000_t0007_c00" not in run.entries


def with_a_nan(path: Path) -> None:
    image = np.random.default_rng(2).normal(500, 90, (20, DEPTH, 24, 32)).astype(np.float32)
    image[13, 2, 4, 5] = np.nan
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "TZYX"})


def with_a_damaged_strip(path: Path) -> None:
    tifffile.imwrite(
        path, movie(20), photometric="minisblack", metadata={"axes": "TZYX"}, compression="zlib"
    )
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[13 * DEPTH + 1]
        at, count = page.dataoffsets[0], page.databytecounts[0]
    with path.open("rb+") as file:
        file.seek(at + count // 2)
        file.write(b"\xff" * 40)


def with_a_strip_beyond_the_end(path: Path) -> None:
    tifffile.imwrite(
        path, movie(20), photometric="minisblack", metadata={"axes": "TZYX"}, ome=True,
        rowsperstrip=24, contiguous=False,
    )  # fmt: skip
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[13 * DEPTH + 1].tags[273].overwrite(10**9)


@pytest.mark.parametrize(
    ("damage", "state", "reason"),
    [
        (with_a_nan, State.FAILED, "NaN or infinite values in 1 voxels"),
        (with_a_damaged_strip, State.FAILED, "is damaged"),
        (with_a_strip_beyond_the_end, State.INCOMPLETE, "4 of 5 planes present"),
    ],
)
def test_one_bad_stack_costs_the_others_nothing(
    run: Run, damage: Callable[[Path], None], state: State, reason: str
) -> None:
    path = run.root / "run.ome.tif"
    damage(path)
    run.once()
    assert run.failed == (1 if state is State.FAILED else 0)
    assert run.states() == {"run.ome.tif": State.DONE, "run.ome.tif/p000_t0013_c00": state}
    assert reason in run.entries["run.ome.tif/p000_t0013_c00"].reason
    image, axes = restored(path)
    assert (axes, image.shape[0]) == ("TZYX", 20)
    assert not image[13].any()
    assert all(image[t].any() for t in range(20) if t != 13)
    assert [line["time"] for line in report(path)["stacks"]] == [*range(13), *range(14, 20)]


@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint32", "float32"])
def test_what_is_left_out_of_every_camera_type(run: Run, dtype: str) -> None:
    image = (movie(6) % 150 + 1.0 - (400 if dtype == "int16" else 0)).astype(dtype)
    image[3, 1] = 0
    path = run.write("run.ome.tif", image, metadata={"axes": "TZYX"}, ome=True)
    assert run.once().failed == 0
    found, axes = restored(path)
    image[3] = 0
    assert (axes, found.dtype) == ("TZYX", image.dtype)
    np.testing.assert_allclose(found, image, rtol=1e-6 if dtype == "float32" else 0)
    assert run.only(State.INCOMPLETE).keys() == {"run.ome.tif/p000_t0003_c00"}


def test_what_is_left_out_of_positions_of_different_depth(run: Run) -> None:
    path = run.root / "run.ome.tif"
    images = [movie(1, seed, depth)[0] for seed, depth in enumerate((5, 7, 4))]
    images[1][2] = 0
    with tifffile.TiffWriter(path, ome=True) as writer:
        for image in images:
            writer.write(image, photometric="minisblack", metadata={"axes": "ZYX"})
    run.once()
    assert run.only(State.INCOMPLETE).keys() == {"run.ome.tif/p001_t0000_c00"}
    with tifffile.TiffFile(result(path)) as tif:  # names the second one, without pixels
        found = [series.asarray() for series in tif.series]
    kept = images[::2]
    assert all(np.array_equal(a, b) for a, b in zip(found, kept, strict=True))


def test_a_stack_that_failed_is_tried_again_and_the_others_stay(run: Run) -> None:
    path = run.root / "run.ome.tif"
    with_a_nan(path)
    run.once()
    with Journal(run.journal_file, run.root, recipe="r" * 64) as journal:
        assert journal.retry_failed() == 1
    run.once()
    assert run.failed == 1
    assert run.states()["run.ome.tif/p000_t0013_c00"] is State.FAILED
    tifffile.imwrite(
        path, movie(3).astype("f4"), photometric="minisblack", metadata={"axes": "TZYX"}
    )
    run.once()
    assert run.states() == {"run.ome.tif": State.DONE}, "what was left of another file is forgotten"
    assert restored(path)[0].shape[0] == 3


def test_a_whole_file_has_its_result_in_one_piece(run: Run) -> None:
    path = run.write("run.ome.tif", movie(3), metadata={"axes": "TZYX"})
    run.once()
    found = report(path)
    assert "finished" not in found
    assert "left_out" not in found
    with tifffile.TiffFile(result(path)) as tif:
        assert tif.series[0].dataoffset is not None


@pytest.mark.filterwarnings("ignore")
def test_restore_names_what_is_left_out(run: Run) -> None:
    path = run.case(STOPPED[0])
    shot = OneShot(fake_shelf(lambda tile: tile), load_settings(None, {}))
    done, left = shot.restore_all(path)
    assert not isinstance(done, LiveRestoreError)
    assert done.image == result(path)
    assert isinstance(left, LiveRestoreError)
    assert "p000_t0006_c00: 2 of 5 planes present" in str(left)


def test_the_page_shows_what_a_result_holds(run: Run) -> None:
    """Of a result that grows, and of one in one piece that lacks a stack."""
    reserved = movie(4)
    reserved[2, 1:] = 0
    reserved[3] = 0
    run.write("grows.ome.tif", reserved, metadata={"axes": "TZYX"})
    with_a_damaged_strip(run.root / "piece.ome.tif")
    run.once()
    pixels = Pixels(run.root)
    for name, present, absent in (("grows.ome.tif", 1, 2), ("piece.ome.tif", 14, 13)):
        entry = run.entries[name]
        facts = read_facts(entry)
        assert facts is not None
        shown = ShownEntry(entry_id(entry.key), 1, entry, "", facts)
        image, _ = restored(run.root / name)
        for z in range(DEPTH):
            at = StackIndex(0, present, 0)
            plane = pixels.plane(shown, at, "restored", "z", z)
            assert np.array_equal(plane, image[present, z])
            assert np.array_equal(pixels.plane(shown, at, "raw", "z", z), plane)
        assert [line.time for line in facts.stacks if line.time == absent] == []


@pytest.mark.parametrize("stopped", [False, True])
def test_channels_that_are_restored_together_are_left_out_together(run: Run, stopped: bool) -> None:
    run.card = {"input_channels": 2, "output_channels": 2}
    image = np.stack([movie(3, 1), movie(3, 2)], axis=1).astype(np.float32)  # T, C, Z, Y, X
    if stopped:
        image[2, 1, 3:] = 0  # a reserved file that was left in mid-stack
    else:
        image[2, 1, 3, 4, 5] = np.nan
    path = run.write("run.ome.tif", image, metadata={"axes": "TCZYX"})
    run.once()
    state = State.INCOMPLETE if stopped else State.FAILED
    assert run.states() == {
        "run.ome.tif": State.DONE,
        "run.ome.tif/p000_t0002_c00": state,
        "run.ome.tif/p000_t0002_c01": state,
    }
    assert "channel 1, with which it is" in run.entries["run.ome.tif/p000_t0002_c00"].reason
    assert np.allclose(restored(path)[0][:2], image[:2], rtol=1e-3), "the others are there"
