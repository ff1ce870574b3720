"""Files that grow: each stack is restored as soon as it is whole, by a daemon that watches."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.engine.daemon import Daemon
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.outputs.growing_tiff import contents_of
from live_restore.settings.load import load_settings
from live_restore.settings.model import FilesSettings
from live_restore.sources.completeness import judge_stacks
from live_restore.stack import StackIndex
from tests.support.fakes import fake_shelf
from tests.support.processes import wait_for

TIMES, DEPTH, HEIGHT, WIDTH = 4, 3, 16, 24
RECIPE = "r" * 64


def movie() -> np.ndarray:
    shape = (TIMES, DEPTH, HEIGHT, WIDTH)
    return np.random.default_rng(3).integers(90, 4000, shape).astype(np.uint16)


OME = (
    '<?xml version="1.0" encoding="UTF-8"?>'
    '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
    f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{WIDTH}" '
    f'SizeY="{HEIGHT}" SizeZ="{DEPTH}" SizeC="1" SizeT="{TIMES}"><TiffData IFD="0" '
    f'PlaneCount="{TIMES * DEPTH}"/></Pixels></Image></OME>'
)
IMAGEJ = f"ImageJ=1.54f\nimages={TIMES * DEPTH}\nslices={DEPTH}\nframes={TIMES}\nhyperstack=true\n"

Step = tuple[int, int]
"""Time point and plane that have just been written."""


def chain(path: Path, description: str) -> Iterator[Step]:
    """Append a directory per plane; what is to come is declared by the first."""
    with tifffile.TiffWriter(path, bigtiff=False) as writer:
        for n, plane in enumerate(movie().reshape(-1, HEIGHT, WIDTH)):
            writer.write(
                plane, photometric="minisblack", metadata=None, contiguous=False,
                description=description.encode() if n == 0 else None,
            )  # fmt: skip
            writer._fh.flush()
            yield divmod(n, DEPTH)


def ome_chain(path: Path) -> Iterator[Step]:
    return chain(path, OME)


def imagej_chain(path: Path) -> Iterator[Step]:
    return chain(path, IMAGEJ)


def imagej_in_one_piece(path: Path) -> Iterator[Step]:
    """ImageJ's way above 4 GB: one directory, and all planes behind it."""
    whole = path.with_name("whole.hidden")
    with tifffile.TiffWriter(whole) as writer:
        writer.write(
            movie()[0, 0], photometric="minisblack", metadata=None, description=IMAGEJ.encode()
        )
    with tifffile.TiffFile(whole) as tif:
        head = whole.read_bytes()[: tif.pages[0].dataoffsets[0]]
    whole.unlink()
    with path.open("wb") as file:
        file.write(head)
        for n, plane in enumerate(movie().reshape(-1, HEIGHT, WIDTH)):
            file.write(plane.tobytes())
            file.flush()
            yield divmod(n, DEPTH)


def memory_mapped(path: Path) -> Iterator[Step]:
    """Reserve the whole file, and fill it plane by plane."""
    mapped = tifffile.memmap(
        path, shape=movie().shape, dtype=np.uint16, ome=True, metadata={"axes": "TZYX"}
    )
    for n, plane in enumerate(movie().reshape(-1, HEIGHT, WIDTH)):
        time_point, z = divmod(n, DEPTH)
        mapped[time_point, z] = plane
        mapped.flush()
        yield time_point, z


WRITERS = [ome_chain, imagej_chain, imagej_in_one_piece, memory_mapped]


@contextmanager
def watching(root: Path, journal_file: Path, **watch: float) -> Iterator[Journal]:
    """Watch a folder in a thread."""
    options = {"quiet_s": 0.5, "settle_s": 0.02, "stall_s": 1.5, "scan_interval_s": 0.1, **watch}
    # Writers here never pause, and "auto" would let them finish first.
    process = {"while_acquiring": "full"}
    settings = load_settings(None, {"watch": options, "process": process})
    with Journal(journal_file, root, recipe=RECIPE) as journal:
        daemon = Daemon(root, settings, fake_shelf(lambda tile: tile), journal)
        thread = threading.Thread(target=daemon.run, name="daemon")
        thread.start()
        try:
            yield journal
        finally:
            daemon.stop()
            thread.join()


def held(path: Path) -> int:
    """Return how many stacks a growing result holds, having read what it shows."""
    contents = contents_of(path)
    if contents is None:
        return 0
    shown = tifffile.imread(path).reshape(-1, DEPTH, HEIGHT, WIDTH)
    known = len(shown)
    assert known >= len(contents.stacks)
    assert np.array_equal(shown, movie()[:known])
    return known


def state_of(journal: Journal, name: str) -> State | None:
    return next((e.state for e in journal.entries() if e.key.path == Path(name)), None)


@pytest.mark.parametrize("writer", WRITERS)
def test_each_stack_is_restored_as_soon_as_it_is_whole(
    tmp_path: Path, writer: Callable[[Path], Iterator[Step]]
) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    image = root / "restored" / "run.ome.tif"
    # A reserved file shows that a plane was written whole by the next one.
    late = 1 if writer is memory_mapped else 0
    with watching(root, tmp_path / "j.sqlite") as journal:
        for time_point, z in writer(root / "run.ome.tif"):
            whole = time_point + (z == DEPTH - 1) - (late and z == DEPTH - 1)
            if 0 < whole < TIMES:
                wait_for(lambda whole=whole: held(image) >= whole, f"{whole} stacks")
            time.sleep(0.03)
        wait_for(lambda: held(image) == TIMES, "stacks")
        wait_for(lambda: state_of(journal, "run.ome.tif") is State.DONE, "the end")
        report = json.loads((root / "restored" / "run.json").read_text("utf-8"))
    assert [line["time"] for line in report["stacks"]] == list(range(TIMES))
    assert report["finished"]
    assert np.array_equal(tifffile.imread(image), movie())


def test_a_run_that_is_stopped_while_watched_ends_with_a_reason(tmp_path: Path) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    with watching(root, tmp_path / "j.sqlite") as journal:
        steps = ome_chain(root / "run.ome.tif")
        for time_point, z in steps:
            if (time_point, z) == (2, 0):
                break
            time.sleep(0.03)
        wait_for(lambda: held(root / "restored" / "run.ome.tif") == 2, "stacks")
        assert state_of(journal, "run.ome.tif") in (State.ARRIVING, State.WAITING, State.RUNNING)
        wait_for(lambda: state_of(journal, "run.ome.tif") is State.DONE, "the end")
        (left,) = journal.stacks_in(Path("run.ome.tif")).items()
        assert left[0] == StackIndex(0, 2, 0)
        assert left[1].state is State.INCOMPLETE
        assert left[1].reason.startswith("1 of 3 planes present")
        for _ in steps:
            time.sleep(0.03)
        wait_for(lambda: held(root / "restored" / "run.ome.tif") == TIMES, "stacks")
        wait_for(lambda: state_of(journal, "run.ome.tif") is State.DONE, "the end")
        assert not journal.stacks_in(Path("run.ome.tif")), "it came after all"


def test_what_is_overwritten_later_is_restored_again_in_the_end(tmp_path: Path) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    image = root / "restored" / "run.ome.tif"
    with watching(root, tmp_path / "j.sqlite") as journal:
        path = root / "run.ome.tif"
        for time_point, z in ome_chain(path):
            if (time_point, z) == (2, 0):
                wait_for(lambda: held(image) == 2, "stacks")
                with tifffile.TiffFile(path) as tif:
                    at = tif.pages[DEPTH + 1].dataoffsets[0]
                with path.open("rb+") as file:
                    file.seek(at)
                    file.write(b"\x11\x11" * WIDTH)
            time.sleep(0.03)
        wait_for(lambda: state_of(journal, "run.ome.tif") is State.DONE, "the end")
    expected = movie()
    expected[1, 1, 0] = 0x1111
    assert np.array_equal(tifffile.imread(image), expected)
    assert len(json.loads((root / "restored" / "run.json").read_text("utf-8"))["stacks"]) == TIMES


def test_another_file_of_its_name_is_not_added_to_the_first(tmp_path: Path) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    path, image = root / "run.ome.tif", root / "restored" / "run.ome.tif"
    with watching(root, tmp_path / "j.sqlite") as journal:
        for time_point, z in ome_chain(path):
            if (time_point, z) == (1, 0):  # a file first seen whole would have no growing result
                wait_for(lambda: held(image) == 1, "a stack")
            time.sleep(0.02)
        wait_for(lambda: state_of(journal, "run.ome.tif") is State.DONE, "the end")
        assert held(image) == TIMES
        other = movie()[::-1].copy()
        tifffile.imwrite(path, other, photometric="minisblack", metadata={"axes": "TZYX"}, ome=True)
        wait_for(lambda: np.array_equal(tifffile.imread(image), other), "the other")


WRITER = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from tests.cases.test_growing_files import memory_mapped
for _ in memory_mapped(Path(sys.argv[1])):
    time.sleep(0.1)
"""


def test_a_writer_in_a_process_of_its_own(tmp_path: Path) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    image = root / "restored" / "run.ome.tif"
    with watching(root, tmp_path / "j.sqlite") as journal:
        here = Path(__file__).parents[2]
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(root / "run.ome.tif"), str(here)]
        ) as process:
            wait_for(lambda: held(image) >= 1, "stacks")
            assert process.poll() is None, "restored while it is still being written"
        wait_for(lambda: state_of(journal, "run.ome.tif") is State.DONE, "the end")
    assert np.array_equal(tifffile.imread(image), movie())


def test_the_last_plane_of_a_reserved_file_is_waited_for(tmp_path: Path) -> None:
    """Whoever fills it may have got as far as half of that plane; a later one shows it is whole."""
    path = tmp_path / "run.ome.tif"
    steps = memory_mapped(path)
    found = []
    for time_point, z in steps:
        evidence = TiffFormat().inspect(path)
        assert evidence is not None
        whole = judge_stacks(evidence, FilesSettings(), finished=False).ready
        found.append((time_point, z, len(whole)))
    assert found[DEPTH - 1] == (0, DEPTH - 1, 0)
    assert found[DEPTH] == (1, 0, 1)
    assert found[-1] == (TIMES - 1, DEPTH - 1, TIMES)


def with_thumbnails(path: Path) -> Iterator[Step]:
    """Append a reduced copy behind the first plane of each time point, as some programs do."""
    with tifffile.TiffWriter(path, bigtiff=False) as writer:
        for n, plane in enumerate(movie().reshape(-1, HEIGHT, WIDTH)):
            time_point, z = divmod(n, DEPTH)
            options = {"photometric": "minisblack", "metadata": None, "contiguous": False}
            text = OME_WITH_THUMBNAILS.encode() if n == 0 else None
            writer.write(plane, description=text, **options)
            if z == 0:
                writer.write(plane[::4, ::4], subfiletype=1, **options)
            writer._fh.flush()
            yield time_point, z


OME_WITH_THUMBNAILS = OME.replace(
    f'<TiffData IFD="0" PlaneCount="{TIMES * DEPTH}"/>',
    "".join(
        f'<TiffData FirstZ="{n % DEPTH}" FirstT="{n // DEPTH}" PlaneCount="1" '
        f'IFD="{n + n // DEPTH + (n % DEPTH > 0)}"/>'
        for n in range(TIMES * DEPTH)
    ),
)
"""Directories are counted with the reduced copies between them."""


def test_reduced_copies_between_planes_that_are_to_come(tmp_path: Path) -> None:
    path = tmp_path / "run.ome.tif"
    for time_point, z in with_thumbnails(path):
        evidence = TiffFormat().inspect(path)
        assert evidence is not None
        ready = judge_stacks(evidence, FilesSettings(), finished=False).ready
        whole = time_point + (z == DEPTH - 1)
        assert len(ready) == whole, (time_point, z)
        if evidence.stacks is None:
            continue
        with TiffFormat().open_growing(evidence.stacks.file_stacks) as reader:
            for index in ready:
                assert np.array_equal(reader.read(index), movie()[index.time])


def test_series_after_series_is_position_after_position(tmp_path: Path) -> None:
    """As scripts append with tifffile; nothing says how many there will be."""
    root = tmp_path / "watched"
    root.mkdir()
    image = root / "restored" / "run.ome.tif"

    def shown() -> int:
        if not image.exists():
            return 0
        with tifffile.TiffFile(image) as tif:
            found = [series.asarray() for series in tif.series]
        assert all(np.array_equal(a, b) for a, b in zip(found, movie(), strict=False))
        return len(found)

    with watching(root, tmp_path / "j.sqlite") as journal:
        with tifffile.TiffWriter(root / "run.tif") as writer:
            for number, stack in enumerate(movie()):
                writer.write(stack, photometric="minisblack", metadata={"axes": "ZYX"})
                writer._fh.flush()
                wait_for(lambda most=number: shown() >= most, "the one before")
        wait_for(lambda: shown() == TIMES, "all")
        wait_for(lambda: state_of(journal, "run.tif") is State.DONE, "the end")
