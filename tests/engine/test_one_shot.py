"""Restoring the files that a person names, with the care of the daemon, without its journal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine import one_shot as one_shot_module
from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.file_job import FileJob
from live_restore.engine.one_shot import OneShot, absolute
from live_restore.engine.signals import ending_on_signals
from live_restore.errors import (
    StackChangedError,
    StackIncompleteError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.files.naming import TEMPORARY_SUFFIX
from live_restore.formats.table import make_formats
from live_restore.outputs.ome_tiff import OmeTiffOutput
from live_restore.settings.load import load_settings
from live_restore.settings.model import FilesSettings
from tests.support.fakes import fake_shelf, halve
from tests.support.processes import run_command


def image(planes: int = 4) -> np.ndarray[Any, Any]:
    return np.random.default_rng(planes).integers(10, 200, (planes, 8, 8)).astype(np.uint16)


def written(path: Path, pixels: np.ndarray[Any, Any], *, declared: bool = True) -> Path:
    metadata = {"axes": "ZYX"} if declared else None
    tifffile.imwrite(path, pixels, photometric="minisblack", metadata=metadata)
    return path


def one_shot(function: Callable[[Any], Any] = halve, **sections: Any) -> OneShot:
    return OneShot(fake_shelf(function), load_settings(None, sections))


def waiting(monkeypatch: pytest.MonkeyPatch, what: Callable[[], object]) -> list[float]:
    """Do ``what`` instead of every wait; return the waits (s)."""
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        what()

    monkeypatch.setattr(one_shot_module.time, "sleep", sleep)
    return waits


def test_planes_of_zeros_are_no_data(tmp_path: Path) -> None:
    pixels = image()
    pixels[2:] = 0
    path = written(tmp_path / "a.tif", pixels)
    with pytest.raises(StackIncompleteError, match="nothing but zeros"):
        one_shot().restore(path)
    assert list(tmp_path.iterdir()) == [path]
    done = one_shot(files={"blank_planes": "restore"}).restore(path)
    assert tifffile.imread(done.image).shape == pixels.shape


@pytest.mark.parametrize("kind", ["undeclared", "zero tail"])
def test_a_file_that_may_still_grow_is_looked_at_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    pixels = image()
    if kind == "zero tail":
        pixels[-1, -1] = 0
    path = written(tmp_path / "a.tif", pixels, declared=kind != "undeclared")

    def grow() -> None:
        with path.open("ab") as file:
            file.write(b"more")

    waits = waiting(monkeypatch, grow)
    with pytest.raises(StackChangedError, match="let it be written to its end"):
        one_shot(watch={"settle_s": 0.5}).restore(path)
    assert waits == [0.5]
    assert list(tmp_path.iterdir()) == [path]
    waiting(monkeypatch, lambda: None)
    assert one_shot().restore(path).image.exists()


def test_a_file_that_tells_its_planes_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    waits = waiting(monkeypatch, lambda: None)
    one_shot().restore(written(tmp_path / "a.tif", image()))
    assert waits == []


def test_a_file_that_changes_meanwhile_has_no_result(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", image())

    def touch(tile: Any) -> Any:
        os.utime(path, ns=(1, 1))
        return halve(tile)

    with pytest.raises(StackChangedError, match="changed while"):
        one_shot(touch).restore(path)
    assert list((tmp_path / "restored").iterdir()) == []


def test_a_file_that_is_gone_after_it_was_read_has_a_result(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", image())

    def move(tile: Any) -> Any:
        path.rename(tmp_path / "archive")
        return halve(tile)

    done = one_shot(move).restore(path)
    assert done.image.exists()
    assert any("moved or deleted" in warning for warning in done.warnings)
    assert "moved or deleted" in done.report.read_text(encoding="utf-8")


def test_the_same_again_does_nothing(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", image())
    first = one_shot().restore(path)
    before = first.image.stat()

    def never(_: Any) -> Any:
        raise AssertionError("restored again")

    second = one_shot(never).restore(path)
    assert (second.image, second.report, second.already_there) == (first.image, first.report, True)
    assert first.image.stat() == before


def test_a_name_that_was_free_may_be_taken_when_the_work_is_done(tmp_path: Path) -> None:
    """The daemon reads the next file while it still restores this one."""
    settings, model_set = load_settings(), fake_shelf()
    jobs = [
        FileJob.open(written(tmp_path / name, image(planes)), make_formats(), FilesSettings())
        for name, planes in (("a.tif", 3), ("a.ome.tif", 4))
    ]
    plans = [job.plan(model_set, settings) for job in jobs]
    assert plans[0].result_path.image == plans[1].result_path.image

    images = []
    for job, plan in zip(jobs, plans, strict=True):
        groups = ChannelGroups(job.file_stacks, model_set)
        with job.begin(plan, model_set, settings) as publication:
            for raw in job.read():
                for stack in groups.feed(raw):
                    publication.take(stack)
            images.append(publication.close().image)
    assert [len(tifffile.imread(path)) for path in images] == [3, 4]


def test_the_name_is_chosen_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It reads megabytes of what is there already."""
    choose, calls = OmeTiffOutput.choose, []

    def choosing(*arguments: Any) -> Any:
        calls.append(arguments)
        return choose(*arguments)

    monkeypatch.setattr(OmeTiffOutput, "choose", choosing)
    one_shot().restore(written(tmp_path / "a.tif", image()))
    assert len(calls) == 1


@pytest.mark.skipif(os.name != "posix", reason="a process cannot send itself SIGTERM there")
def test_sigterm_leaves_nothing_half_written(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", image())
    handler = signal.getsignal(signal.SIGTERM)

    def terminate(tile: Any) -> Any:
        assert [p for p in (tmp_path / "restored").iterdir() if p.name.endswith(TEMPORARY_SUFFIX)]
        os.kill(os.getpid(), signal.SIGTERM)
        return halve(tile)

    with pytest.raises(SystemExit) as ended, ending_on_signals():
        one_shot(terminate).restore(path)
    assert ended.value.code == 143
    assert list((tmp_path / "restored").iterdir()) == []
    assert signal.getsignal(signal.SIGTERM) == handler


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    path = written(tmp_path / "a.tif", image())
    (tmp_path / "restored").mkdir()
    code = (
        "import os, sys; from pathlib import Path\n"
        "from live_restore.files.publish import publishing\n"
        "with publishing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.touch(); os._exit(9)\n"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "restored" / "x.ome.tif"], check=False)
    assert len(list((tmp_path / "restored").iterdir())) == 1
    one_shot().restore(path)
    assert sorted(p.name for p in (tmp_path / "restored").iterdir()) == ["a.json", "a.ome.tif"]


def test_names_that_are_no_stacks(tmp_path: Path) -> None:
    with pytest.raises(StackUnreadableError, match="does not exist") as caught:
        one_shot().restore(tmp_path / "no.tif")
    assert "again" not in str(caught.value)
    with pytest.raises(StackRefusedError, match=r"is a folder.*watch FOLDER --once"):
        one_shot().restore(tmp_path)
    with pytest.raises(StackUnreadableError, match="check the name"):
        one_shot().restore(tmp_path / ("x" * 300 + ".tif"))
    (tmp_path / "l.tif").symlink_to(tmp_path / "l.tif")
    with pytest.raises(StackUnreadableError):
        one_shot().restore(absolute(tmp_path / "l.tif"))


def test_the_others_go_on(tmp_path: Path) -> None:
    bad = tmp_path / "l.tif"
    bad.symlink_to(bad)
    good = written(tmp_path / "good.tif", image(8))
    done = run_command(tmp_path, "restore", bad, tmp_path, good, "--json")
    assert done.returncode == 1
    assert "internal error" not in done.stderr
    first, second, third = json.loads(done.stdout)
    assert "l.tif" in first["error"]
    assert "is a folder" in second["error"]
    assert Path(third["result"]).exists()


def test_no_name_at_all(tmp_path: Path) -> None:
    done = run_command(tmp_path, "restore", "")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
