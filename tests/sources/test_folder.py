"""The folder source on real folders, with a clock that only the test moves."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import numpy as np
import tifffile

from live_restore.journal.states import State
from tests.support.keys import key_at
from tests.support.systems import posix
from tests.support.watched import Scene, stack

W, F, R = State.WAITING, State.FAILED, State.REFUSED


def test_complete_stacks_are_named_in_order_of_their_last_write(scene: Scene) -> None:
    for age, name in enumerate(["b.tif", "a.tif", "sub/deep/c.tif"]):
        path = stack(scene.root / name)
        os.utime(path, (1e9 + age, 1e9 + age))
    scene.settle()
    assert [e.key.path.as_posix() for e in scene.journal.entries()] == [
        "b.tif", "a.tif", "sub/deep/c.tif",
    ]  # fmt: skip
    assert set(scene.states().values()) == {W}
    assert scene.unsettled() == 0


def test_what_is_being_written_is_told_and_what_was_there_is_not(scene: Scene) -> None:
    old = stack(scene.root / "old.tif")
    os.utime(old, (1e9, 1e9))
    scene.poll()
    assert scene.arrivals == [], "a copy of last year's is no microscope at work"
    new = stack(scene.root / "new.tif")
    scene.poll(3.0)
    scene.poll(0.1)
    assert scene.arrivals == [1003.0]
    with new.open("ab") as file:
        file.write(b"more")
    scene.poll(0.1)
    assert len(scene.arrivals) == 2
    scene.settle()
    assert len(scene.arrivals) == 2


def test_sub_folders_can_be_left_out(scene: Scene) -> None:
    scene.restart(watch={"recursive": False})
    stack(scene.root / "a.tif")
    stack(scene.root / "sub" / "b.tif")
    scene.settle()
    scene.source.hint(scene.root / "sub")
    scene.settle()
    assert scene.states() == {"a.tif": W}


def test_what_is_no_input_is_not_looked_at(scene: Scene) -> None:
    for name in (".hidden.tif", "notes.txt", ".git/a.tif", "restored/a.ome.tif",
                 "sub/restored/b.tif", ".a.tif.1-2.live-restore-part"):  # fmt: skip
        stack(scene.root / name)
        scene.source.hint(scene.root / name)
    scene.source.hint(scene.root.parent / "outside.tif")
    scene.source.hint(scene.root / "restored")
    scene.source.hint(scene.root / ".git")
    scene.settle()
    assert scene.states() == {}


def test_reports_beside_results_are_not_told_as_files_that_nobody_looks_at(scene: Scene) -> None:
    scene.restart(output={"template": "{folder}/{name}_restored.ome.tif"})
    for name in ("a.tif", "a_restored.ome.tif"):
        stack(scene.root / name)
    for name in ("a_restored.json", "b_restored.json", "a.json"):
        (scene.root / name).write_text("{}")
    scene.settle()
    of_a_run = scene.root / "run_1_restored"  # which has been renamed
    stack(of_a_run / "p000_t0000_c00.ome.tif")
    (of_a_run / "p001.reports").mkdir()
    for report in ("p000_t0000_c00.json", "p001.reports/p001_t0000_c00.json"):
        (of_a_run / report).write_text("{}")
    scene.settle()
    (others,) = scene.source.passed_by()
    assert (others.count, others.example) == (2, Path("a.json"))


@posix
def test_links_pipes_and_folders_are_left_alone(scene: Scene) -> None:
    outside = stack(scene.root.parent / "outside.tif")
    (scene.root / "link.tif").symlink_to(outside)
    (scene.root / "loop").symlink_to(scene.root)
    (scene.root / "dangling.tif").symlink_to(scene.root / "absent")
    os.mkfifo(scene.root / "pipe.tif")
    (scene.root / "folder.tif").mkdir()
    stack(scene.root / "folder.tif" / "a.tif")
    for path in scene.root.iterdir():
        scene.source.hint(path)
    scene.source.hint(scene.root / "loop" / "folder.tif" / "a.tif")
    scene.poll()
    scene.poll(0.3)
    scene.settle()
    assert scene.states() == {"folder.tif/a.tif": W}
    assert scene.unsettled() == 0


def test_own_results_are_never_inputs(scene: Scene) -> None:
    image = np.ones((3, 8, 8), np.uint16)
    software = "live-restore 1.0 (result 0123456789abcdef)"
    tifffile.imwrite(scene.root / "copied.tif", image, photometric="minisblack", software=software)
    scene.settle()
    assert scene.states() == {}
    assert scene.unsettled() == 0


def test_bad_files_are_named_and_told(scene: Scene) -> None:
    (scene.root / "text.tif").write_text("this is no image at all")
    tifffile.imwrite(scene.root / "flat.tif", np.ones((8, 8), np.uint16))
    stack(scene.root / "good.tif")
    scene.settle()
    assert scene.states() == {"text.tif": F, "flat.tif": R, "good.tif": W}
    assert sorted(scene.bad) == [(Path("flat.tif"), R), (Path("text.tif"), F)]
    assert scene.entry("flat.tif").reason
    scene.restart()
    scene.settle()
    assert len(scene.bad) == 2


def test_without_any_event_the_scan_finds_it(scene: Scene) -> None:
    scene.poll()
    stack(scene.root / "a.tif")
    scene.poll(1.9)
    assert scene.unsettled() == 0
    scene.poll(0.2)
    scene.poll(0.3)
    assert scene.states() == {"a.tif": W}


def test_an_event_is_faster_than_the_scan(scene: Scene) -> None:
    scene.poll()
    path = stack(scene.root / "a.tif")
    scene.source.hint(path)
    assert scene.source.poll() <= 0.1
    scene.poll(0.3)
    assert scene.states() == {"a.tif": W}


def test_reconsidered_it_is_named_again(scene: Scene) -> None:
    stack(scene.root / "a.tif")
    scene.settle()
    entry = scene.journal.lease(30)
    assert entry is not None
    scene.journal.finish(entry, F, reason="changed")
    scene.settle()
    assert scene.states() == {"a.tif": F}
    scene.source.reconsider(key_at("a.tif"))
    scene.settle()
    assert scene.states() == {"a.tif": W}


@posix
def test_names_of_every_kind(scene: Scene) -> None:
    names = [b"a b.tif", b"\xc3\xa4.tif", b"line\nline.tif", b"\xff.tif", b"[x].tif", b"{x}.TIF"]
    for name in names:
        stack(scene.root / "a.tif").rename(scene.root / os.fsdecode(name))
    scene.settle()
    assert {os.fsencode(e.key.path) for e in scene.journal.entries()} == set(names)


def test_raw_files_where_results_go_are_pointed_out_once(scene: Scene) -> None:
    image = np.ones((3, 8, 8), np.uint16)
    ours = "live-restore 1.0 (result 0123456789abcdef)"
    for folder in ("restored", "sub/restored"):
        (scene.root / folder).mkdir(parents=True)
        tifffile.imwrite(
            scene.root / folder / "a.ome.tif", image, photometric="minisblack", software=ours
        )
    scene.settle()
    assert scene.warnings == []
    scene.restart()
    stack(scene.root / "other" / "restored" / "raw.tif")
    scene.settle()
    scene.settle()
    (warning,) = scene.warnings
    assert warning.startswith(f"{Path('other/restored')} is where results go")
    assert "raw.tif" in warning
    assert "output.template" in warning
    assert scene.states() == {}


def test_a_hint_from_another_thread_ends_the_wait(scene: Scene) -> None:
    timer = threading.Timer(0.05, scene.source.hint, [scene.root / "a.tif"])
    timer.start()
    began = time.monotonic()
    scene.source.wait(30)
    timer.join()
    assert time.monotonic() - began < 20, "it slept through the hint"
