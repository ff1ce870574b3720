"""Files of every program: planes in files of their own, and files of microscopes' programs."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.cli.main import main
from live_restore.engine.account import grouped
from live_restore.engine.daemon import Daemon
from live_restore.errors import StackUnreadableError
from live_restore.formats.plane_files.plane_format import PlaneFilesFormat
from live_restore.formats.table import (
    acquisition_format_for,
    make_acquisition_formats,
    make_formats,
)
from live_restore.formats.vendor import table
from live_restore.installation import install_with
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.sources.passed_by import survey
from live_restore.stack import StackIndex
from tests.support import plane_files
from tests.support.fakes import fake_shelf
from tests.support.models import write_model
from tests.support.plane_files import NAMINGS, generic, write_plane, write_run
from tests.support.processes import run_command
from tests.support.watched import Scene, stack

SHARED = Path(os.environ.get("LIVE_RESTORE_SHARED", "../shared/data")) / "cases"


# One TIFF per plane ---------------------------------------------------------------------------


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared data are not there")
def test_the_case_of_one_tiff_per_plane(scene: Scene) -> None:
    shutil.copytree(SHARED / "one_tiff_per_plane", scene.root / "run")
    scene.settle()
    assert scene.states() == {"run/p000_t0000_c01": State.WAITING}
    found = acquisition_format_for(scene.root / "run", make_acquisition_formats())
    assert found is not None
    follower = found.follow(scene.root / "run")
    follower.poll(over=True)
    assert len(follower.read(StackIndex(0, 0, 1))) == 8


@pytest.mark.parametrize("program", NAMINGS)
def test_every_program_s_names_give_the_same_stacks(scene: Scene, program: str) -> None:
    folder = write_run(scene.root / "run", NAMINGS[program])
    scene.settle()
    assert scene.states() == {f"run/{index.label}": State.WAITING for index in plane_files.truth()}
    follower = PlaneFilesFormat().follow(folder)
    follower.poll(over=True)
    for index, volume in plane_files.truth().items():
        np.testing.assert_array_equal(follower.read(index), volume)


def test_each_stack_is_found_when_a_later_one_has_begun(scene: Scene) -> None:
    waiting: list[int] = []
    for _ in plane_files.grow(scene.root / "run", generic):
        scene.poll(0.3)
        waiting.append(list(scene.states().values()).count(State.WAITING))
    # Twelve planes, two channels: the seventh begins the second time point.
    assert waiting == [0] * 6 + [2] * 6
    scene.settle()
    assert set(scene.states().values()) == {State.WAITING}


def test_a_run_that_stopped_early_leaves_its_last_stack_incomplete(scene: Scene) -> None:
    folder = write_run(scene.root / "run")
    (folder / generic(0, 1, 1, 2)).unlink()
    (folder / generic(0, 0, 0, 1)).unlink()
    scene.settle()
    scene.poll(100, times=2)
    assert {label: state.value for label, state in scene.states().items()} == {
        "run/p000_t0000_c00": "incomplete",  # a gap in z
        "run/p000_t0000_c01": "waiting",
        "run/p000_t0001_c00": "waiting",
        "run/p000_t0001_c01": "incomplete",
    }
    assert "planes between are missing" in scene.entry("run/p000_t0000_c00").reason
    assert "2 planes, other stacks have 3" in scene.entry("run/p000_t0001_c01").reason


def test_planes_that_come_slowly_are_not_taken_for_a_stack_of_two(scene: Scene) -> None:
    """The dates of the files say how long it takes from plane to plane."""
    folder = scene.root / "run"
    volume = plane_files.truth()[StackIndex(0, 0, 0)]
    for z in range(3):
        path = folder / f"cell_z{z}.tif"
        write_plane(path, volume[z])
        os.utime(path, ns=(0, (1_700_000_000 + 10 * z) * 10**9))
        scene.poll(9)
        assert State.WAITING not in scene.states().values(), z
    scene.poll(5, times=8)
    assert scene.states() == {"run/p000_t0000_c00": State.WAITING}


def test_planes_that_came_slowly_before_anybody_looked_tell_how_long_to_wait(scene: Scene) -> None:
    folder = scene.root / "run"
    volume = plane_files.truth()[StackIndex(0, 0, 0)]
    for z in range(3):
        if z == 2:
            scene.poll(5, times=7)
            assert State.WAITING not in scene.states().values()
        path = folder / f"cell_z{z}.tif"
        write_plane(path, volume[z])
        os.utime(path, ns=(0, (1_700_000_000 + 30 * z) * 10**9))
    scene.poll(5, times=24)
    assert scene.states() == {"run/p000_t0000_c00": State.WAITING}


def test_a_copy_in_any_order_waits_for_quiet(scene: Scene) -> None:
    folder, source = scene.root / "run", write_run(scene.root.parent / "source")
    names = sorted(path.name for path in source.iterdir())
    names = names[6:] + names[:6]  # the second time point first
    folder.mkdir()
    for name in names:
        shutil.copy2(source / name, folder / name)
        scene.poll(0.2)
        for label, state in scene.states().items():
            if state is State.WAITING:
                raise AssertionError(f"{label} counts as whole after {name}")
    scene.settle()
    assert set(scene.states().values()) == {State.WAITING}


def test_numbers_at_the_end_of_run_names_are_positions(scene: Scene) -> None:
    volume = plane_files.truth()[StackIndex(0, 0, 0)]
    for cell in (1, 2):
        for z in range(3):
            write_plane(scene.root / "day" / f"cell{cell}_z{z}.tif", volume[z])
    scene.settle()
    assert set(scene.states()) == {"day/p001_t0000_c00", "day/p002_t0000_c00"}


@pytest.mark.parametrize("moved", ["both", "one"])
def test_a_folder_of_several_runs_is_refused_with_what_to_do_and_doing_it_helps(
    scene: Scene, moved: str
) -> None:
    day = write_run(scene.root / "day", generic)
    volume = plane_files.truth()[StackIndex(0, 0, 0)]
    for z in range(3):
        write_plane(day / f"other_z{z}.tif", volume[z])
    told = r"2 runs \(cell_t000_c0_z000.tif \.\.\., other_z0.tif \.\.\.\).*make 2 folders in it"
    with pytest.raises(StackUnreadableError, match=told):
        PlaneFilesFormat().follow(day).poll()
    scene.settle()
    assert scene.states() == {"day": State.REFUSED}
    for name in ("other", "cell") if moved == "both" else ("other",):
        (day / name).mkdir()
        for path in day.glob(f"{name}_*.tif"):
            path.rename(day / name / path.name)
    scene.poll(2.5, times=4)
    of_cell = "day/cell" if moved == "both" else "day"
    expected = {f"{of_cell}/{index.label}" for index in plane_files.truth()}
    if moved == "both":
        expected.add(f"day/other/{StackIndex().label}")
    assert scene.states() == dict.fromkeys(expected, State.WAITING)


def test_one_file_of_another_run_is_what_somebody_saved_beside_it(scene: Scene) -> None:
    folder = scene.root / "run"
    write_plane(folder / "MAX_cell_z0.tif", np.ones((12, 16), np.uint16))
    follower = PlaneFilesFormat().follow(folder)
    assert not follower.poll().stacks, "nobody knows yet which run it is"
    write_run(folder)
    state = follower.poll(over=True)
    assert set(state.stacks) == set(plane_files.truth())
    assert state.foreign == ("MAX_cell_z0.tif",)


def test_what_a_person_saved_beside_the_planes_is_named_once(scene: Scene) -> None:
    folder = write_run(scene.root / "run")
    stack(folder / "MAX_run.tif")
    scene.settle()
    scene.settle()
    assert len(scene.states()) == 4
    assert [line for line in scene.warnings if "MAX_run.tif" in line] == [
        "run: MAX_run.tif is not part of this acquisition and is passed by; "
        "move it out to have it restored"
    ]


def test_stacks_in_files_are_never_lost_to_names_that_look_like_planes(scene: Scene) -> None:
    for number in range(4):
        stack(scene.root / "whole" / f"cell_z{number}.tif")  # three planes each
        stack(scene.root / "mixed" / f"cell {number}.tif")
    for z in range(3):
        write_plane(scene.root / "mixed" / f"a_z{z}.tif", np.full((8, 8), z + 1, np.uint16))
    scene.settle()
    waiting = {name for name, state in scene.states().items() if state is State.WAITING}
    assert waiting == {
        *(f"whole/cell_z{n}.tif" for n in range(4)), *(f"mixed/cell {n}.tif" for n in range(4))
    }  # fmt: skip


def test_a_pattern_of_one_s_own(scene: Scene) -> None:
    for well in ("A01", "B03"):
        for z in range(3):
            write_plane(
                scene.root / "run" / f"x-{well}-plane{z}.tif", np.full((8, 8), z + 1, np.uint16)
            )
    scene.settle()
    assert {state.value for state in scene.states().values()} == {"refused"}
    pattern = r"(?P<run>\w+)-(?P<p>[A-H]\d\d)-plane(?P<z>\d+)\.tif"
    scene.restart(files={"plane_pattern": pattern})
    scene.settle()
    assert set(scene.states()) == {"run/p000_t0000_c00", "run/p050_t0000_c00"}


def test_colour_sizes_and_doubles_among_planes_cost_only_themselves(scene: Scene) -> None:
    folder = write_run(scene.root / "run")
    write_plane(folder / generic(0, 2, 0, 0), np.ones((5, 6), np.uint16))
    write_plane(folder / "cell_t0_c0_z0.tif", np.ones((12, 16), np.uint16))
    write_plane(folder / generic(0, 2, 0, 1), np.ones((12, 16, 3), np.uint8))
    (folder / generic(0, 2, 0, 2)).write_bytes(b"no TIFF at all")
    scene.settle()
    states = scene.states()
    assert states.pop("run/p000_t0002_c00") is State.REFUSED
    assert set(states.values()) == {State.WAITING}
    assert len(states) == 4
    said = "\n".join(scene.warnings)
    assert "its size or type is not that of the others" in said
    assert "is the same plane by its name" in said
    assert len(scene.warnings) == 4


def test_a_folder_of_planes_none_of_which_can_be_used_is_refused(scene: Scene) -> None:
    for z in range(3):
        write_plane(scene.root / "run" / f"cell_z{z}.tif", np.ones((12, 16)))
    scene.settle()
    assert scene.states() == {"run/p000_t0000_c00": State.REFUSED}
    assert "float64" in scene.entry("run/p000_t0000_c00").reason


# Nothing is silent ----------------------------------------------------------------------------


def watch_once(tmp_path: Path, root: Path, **settings: Any) -> Daemon:
    """Watch a folder until all that is complete in it is decided; nothing is restored."""
    journal = Journal(tmp_path / "state" / "j.sqlite", root, recipe="one")
    daemon = Daemon(root, load_settings(None, settings), fake_shelf(), journal)
    daemon.run(once=True)
    return daemon


@pytest.fixture
def quick() -> dict[str, Any]:
    return {"watch": {"settle_s": 0.02, "quiet_s": 0.05}}


VENDOR = ("nd2", "czi", "lif", "oir", "oib", "ims", "dv", "h5")


def test_files_that_nobody_reads_are_counted_by_kind_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, quick: dict[str, Any]
) -> None:
    monkeypatch.setattr(table, "_installed", lambda _: False)
    root = tmp_path / "watched"
    (root / "day").mkdir(parents=True)
    for ending in VENDOR:
        for number in range(2):
            (root / "day" / f"cell {number}.{ending}").write_bytes(b"x")
    (root / "day" / "notes.txt").write_bytes(b"x")
    (root / "day" / "link").symlink_to(root)
    daemon = watch_once(tmp_path, root, **quick)
    said = "\n".join(daemon.account(now=True))
    install = install_with("vendor")
    assert f"2 Nikon ND2 files were not looked at (day/cell 0.nd2 ...): {install}" in said
    assert f"2 BigDataViewer files were not looked at (day/cell 0.h5 ...): {install}" in said
    assert "2 DeltaVision files were not looked at (day/cell 0.dv ...): export them as" in said
    assert "1 symbolic link was not looked at (day/link): watch" in said
    assert said.splitlines()[-1] == "1 other file (.txt) was not looked at (day/notes.txt)"
    if sys.version_info < (3, 12):
        assert "Olympus OIR files were not looked at (day/cell 0.oir ...): use Python 3.12" in said
    # What a person reads at the end is what he reads later.
    found, whole = survey(root, make_formats(), make_acquisition_formats(), load_settings(None, {}))
    assert whole
    assert [str(each) for each in found] == list(daemon.account())


def test_a_survey_is_bounded_and_says_so(tmp_path: Path) -> None:
    times = iter(range(100))
    (tmp_path / "a").mkdir()
    (tmp_path / "b.nd2").write_bytes(b"x")
    _, whole = survey(tmp_path, (), (), load_settings(None, {}), clock=lambda: 1.5 * next(times))
    assert not whole


def test_single_planes_that_no_naming_groups_are_one_line_for_their_folder(
    tmp_path: Path, quick: dict[str, Any]
) -> None:
    root = tmp_path / "watched"
    for number in range(17):
        write_plane(root / "day" / f"x-{number}.tif", np.full((8, 8), 1 + number, np.uint16))
    daemon = watch_once(tmp_path, root, **quick)
    (line,) = daemon.account(now=True)
    assert line.startswith("17 refused (day/x-0.tif ...): single planes in day, whose names no ")
    assert "say in files.plane_pattern which number is z" in line
    (group,) = grouped(daemon._journal.entries(), pattern="set already")
    assert "whose names neither files.plane_pattern nor" in group.reason
    assert "say in" not in group.reason


def test_once_and_status_end_with_why_anything_was_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "watched"
    stack(root / "good.tif")
    for number in range(5):
        write_plane(root / f"x{number}.tif", np.full((8, 8), 1 + number, np.uint16))
    (root / "a.dv").write_bytes(b"x")
    model = write_model(tmp_path / "identity.onnx")
    done = run_command(tmp_path / "state", "watch", root, "--once", "--model", model)
    assert done.returncode == 0, done.stderr
    said = done.stderr.splitlines()
    assert "1 restored, 0 failed, 5 refused" in said[-3]
    assert said[-2].startswith("live-restore: 5 refused (x0.tif ...): single planes in the watched")
    assert said[-1].startswith("live-restore: 1 DeltaVision file was not looked at (a.dv): export")
    assert sum("refused" in line for line in said) == 3, "the log has one line, not five"

    monkeypatch.setenv("LIVE_RESTORE_JOURNAL__FOLDER", str(tmp_path / "state"))

    def told(*flags: str) -> str:
        assert main(["status", str(root), *flags]) == 0
        return capsys.readouterr().out

    short = told()
    assert "5 refused: single planes in the watched folder" in short
    assert "what to do: if they are planes of stacks, say in files.plane_pattern" in short
    assert len(re.findall(r"x\d\.tif", short)) == 3, "three are named, and none is listed"
    assert "1 DeltaVision file was not looked at" in short
    assert len(set(re.findall(r"x\d\.tif", told("--all")))) == 5
    everything = json.loads(told("--json"))
    assert len(everything["files"]) == 6
    assert everything["all_looked_through"] is True
    assert everything["not_looked_at"] == [
        {
            "kind": "DeltaVision files",
            "count": 1,
            "example": "a.dv",
            "remedy": "export them as OME-TIFF from the program that wrote them",
        }
    ]
