"""Pipes, devices, sockets and links where files belong: passed by, never waited for.

Seen to fail with ``open_regular`` replaced by ``Path.open``: each of these tests then hangs until
its time limit.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import stat
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest

from live_restore.errors import (
    LiveRestoreError,
    ModelError,
    OutputError,
    StackError,
    StackUnreadableError,
)
from live_restore.files.reading import open_regular, read_regular
from live_restore.formats.script_plan import PlanReader, extend_plan, plan_path
from live_restore.formats.table import make_formats
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.load import load_model
from live_restore.inference.model.zoo_package import read_package
from live_restore.outputs.ome_tiff import OmeTiffOutput, read_token
from live_restore.outputs.output import ResultRequest
from live_restore.outputs.provenance import report_name_is_ours, restored_pixels
from live_restore.outputs.table import is_own_result
from live_restore.settings.model import Settings
from live_restore.sources.source import Callbacks
from live_restore.sources.tree import Tree as WatchedTree
from live_restore.stack import StackIndex
from tests.fuzz.mutators import ODD
from tests.fuzz.seeds import RDF
from tests.fuzz.tree import Tree
from tests.support.fakes import a_dataset
from tests.support.small_runs import RUNS

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system"),
    pytest.mark.timeout(30),
]


@pytest.mark.parametrize("name", RUNS)
def test_in_the_place_of_any_part_of_a_data_set(tmp_path: Path, name: str) -> None:
    kind, make = RUNS[name]
    good = tmp_path / "good"
    good.mkdir()
    make(good)
    whole = Tree.read(good)
    folders = {str(Path(each).parent) for each in whole.files if "/" in each}
    parts = sorted({*whole.files, *folders} - {"."})
    for number, (odd, part) in enumerate(itertools.product(ODD, parts)):
        hurt = whole.copy()
        hurt.odd[part] = odd
        run = tmp_path / f"run_{number}"
        hurt.write(run)
        kind.recognises(run, [path.name for path in run.iterdir()])
        follower = kind.follow(run)
        with contextlib.suppress(LiveRestoreError):
            for key in follower.poll(over=True).stacks:
                assert follower.read(key).any()


def test_they_are_not_listed_in_a_watched_folder(tmp_path: Path) -> None:
    (tmp_path / "good.tif").write_bytes(b"II*\0")
    tree = Tree(odd={f"{what}/{what}.tif": what for what in ODD})
    for name, what in tree.odd.items():
        Tree(odd={Path(name).name: what}).write(tmp_path / Path(name).parent)
    (tmp_path / "linked.tif").symlink_to("good.tif")
    (tmp_path / "round").symlink_to(".")

    def is_acquisition(folder: Path, names: Collection[str]) -> bool:
        return False

    said: list[str] = []
    walk = WatchedTree(
        tmp_path, make_formats(), Settings(), Callbacks(warn=said.append), is_acquisition
    )
    assert [seen.path.name for seen in walk.files(tmp_path)] == ["good.tif"]


@pytest.mark.parametrize("odd", ["fifo", "device", "socket", "folder", "loop"])
def test_in_the_place_of_what_this_program_reads_back(tmp_path: Path, odd: str) -> None:
    names = (
        "restored/cell.ome.tif", "restored/cell.json", "p000.ome.zarr/zarr.json",
        "run_restored/.live-restore-plan.jsonl", "backends.json", "known_answers/a.f32",
    )  # fmt: skip
    Tree(odd=dict.fromkeys(names, odd)).write(tmp_path)
    image, report = (tmp_path / name for name in names[:2])
    assert read_token(image) is None
    assert restored_pixels(report) is None
    assert not report_name_is_ours(report)
    assert not is_own_result(tmp_path / "p000.ome.zarr")
    assert DeviceCache(tmp_path / "backends.json").entries() == {}
    assert DeviceCache(tmp_path / "backends.json").array("a", (2,)) is None
    template = "{folder}/restored/{name}.ome.tif"
    request = ResultRequest(a_dataset(tmp_path / "cell.tif"), template, "m", "r" * 64, "s")
    place = OmeTiffOutput().choose(request)
    assert place.image.name.startswith("cell.m-"), "the plain name is taken, by whatever it is"
    assert plan_path(tmp_path / "run").name == Path(names[3]).name
    with pytest.raises(StackUnreadableError):
        PlanReader(tmp_path / "run").read()


@pytest.mark.parametrize("odd", ["fifo", "device", "socket", "loop"])
def test_in_the_place_of_a_model(tmp_path: Path, odd: str) -> None:
    Tree({"rdf.yaml": RDF.encode()}, odd={"tiny.onnx": odd}).write(tmp_path / "package")
    with pytest.raises(ModelError):
        read_package(tmp_path / "package")
    with pytest.raises(ModelError):
        load_model(tmp_path / "package" / "tiny.onnx", "cpu")


def test_what_is_replaced_between_the_look_and_the_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file when it was looked at, a pipe when it is opened."""
    os.mkfifo(tmp_path / "a")
    looked = os.stat

    def lie(path: Any, **options: Any) -> Any:
        found = looked(path, **options)
        return os.stat_result((stat.S_IFREG | 0o600, *found[1:]))

    monkeypatch.setattr(os, "stat", lie)
    with pytest.raises(OSError, match="not a regular file"):
        open_regular(tmp_path / "a")


def test_a_file_that_is_larger_than_it_says(tmp_path: Path) -> None:
    """``/proc`` says 0 bytes of everything; so does a file that somebody is appending to."""
    with pytest.raises(OSError, match="larger than"):
        read_regular(Path("/proc/self/maps"), 100)
    (tmp_path / "a").write_bytes(bytes(101))
    with pytest.raises(OSError, match="larger than"):
        read_regular(tmp_path / "a", 100)
    assert read_regular(tmp_path / "a", 101) == bytes(101)


def test_links_out_of_a_zarr_are_not_followed(tmp_path: Path) -> None:
    kind, make = RUNS["ome-zarr"]
    other, run = tmp_path / "other", tmp_path / "run_1"
    other.mkdir()
    run.mkdir()
    make(other)
    (run / "zarr.json").write_bytes((other / "zarr.json").read_bytes())
    (run / "0").symlink_to(other / "0")
    state = kind.follow(run).poll(over=True)
    assert not state.stacks
    assert "a link, which is not followed" in state.problems[0]


def test_a_socket_is_no_file(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(tmp_path / "s.tif"))
    with pytest.raises(StackError, match="not a regular file"):
        make_formats()[0].inspect(tmp_path / "s.tif")


@pytest.mark.parametrize("odd", ["link", "fifo"])
def test_a_plan_that_is_no_file_grows_nobodys_file(tmp_path: Path, odd: str) -> None:
    """A script adds lines to it while it records."""
    precious = tmp_path / "precious"
    precious.write_text("as it was")
    path = plan_path(tmp_path / "run_1")
    path.parent.mkdir()
    if odd == "link":
        path.symlink_to(precious)
    else:
        os.mkfifo(path)
    with pytest.raises(OutputError):
        extend_plan(tmp_path / "run_1", {StackIndex(0, 0, 0): (0, 1)})
    assert precious.read_text() == "as it was"
