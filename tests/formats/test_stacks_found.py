"""k whole stacks in a file are k whole stacks, whatever container, and whatever became of the rest.

Truth is kept beside each file: which planes were cut off, blanked or broken.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from live_restore.errors import LiveRestoreError
from live_restore.formats.file_format import Arriving, Complete, GrowingFileFormat
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.settings.model import FilesSettings
from live_restore.sources.completeness import judge_stacks
from live_restore.stack import StackIndex

TIFF = TiffFormat()
FILES = FilesSettings()
HEIGHT, WIDTH = 8, 12


@dataclass(frozen=True)
class Container:
    """A kind of file of (T, Z, Y, X), and the options by which tifffile writes it."""

    name: str
    declared_first: bool = True

    def write(self, path: Path, image: np.ndarray) -> None:
        planes = image.reshape(-1, HEIGHT, WIDTH)
        times, depth = image.shape[:2]
        with tifffile.TiffWriter(path, bigtiff=self.name == "ome_bigtiff") as writer:
            for number, plane in enumerate(planes):
                writer.write(
                    plane,
                    photometric="minisblack",
                    metadata=None,
                    contiguous=False,
                    compression="zlib" if self.name == "ome_deflate" else None,
                    description=self._text(times, depth) if number == 0 else None,
                )

    def _text(self, times: int, depth: int) -> bytes:
        if self.name == "imagej":
            images = times * depth
            text = f"ImageJ=1.54f\nimages={images}\nslices={depth}\nframes={times}\n"
            return f"{text}hyperstack=true\n".encode()
        if self.name == "shaped":
            return f'{{"shape": [{times}, {depth}, {HEIGHT}, {WIDTH}], "axes": "TZYX"}}'.encode()
        return (
            '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
            '<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="{WIDTH}" SizeY="{HEIGHT}" SizeZ="{depth}" SizeC="1" SizeT="{times}">'
            f'<TiffData IFD="0" PlaneCount="{times * depth}"/></Pixels></Image></OME>'
        ).encode()


CONTAINERS = [Container(name) for name in ("ome", "ome_bigtiff", "ome_deflate", "imagej", "shaped")]


def where(path: Path) -> list[tuple[int, int]]:
    with tifffile.TiffFile(path) as tif:
        return [(page.dataoffsets[0], page.databytecounts[0]) for page in tif.pages]


def whole_in(evidence: Arriving | Complete | None) -> set[StackIndex]:
    assert evidence is not None
    return set(judge_stacks(evidence, FILES, finished=True).ready)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    container=st.sampled_from(CONTAINERS),
    times=st.integers(2, 5),
    depth=st.integers(2, 4),
    blanked=st.sets(st.integers(0, 19), max_size=3),
    cut=st.none() | st.floats(0.3, 1.0),
    broken=st.none() | st.integers(0, 19),
)
def test_whole_stacks_are_found_and_no_others(
    tmp_path: Path,
    container: Container,
    times: int,
    depth: int,
    blanked: set[int],
    cut: float | None,
    broken: int | None,
) -> None:
    count = times * depth
    image = np.random.default_rng(count).integers(90, 4000, (times, depth, HEIGHT, WIDTH))
    image = image.astype(np.uint16)
    flat = image.reshape(count, HEIGHT, WIDTH)
    blanked = {plane for plane in blanked if plane < count}
    flat[list(blanked)] = 0
    path = tmp_path / "run.tif"
    container.write(path, image)
    parts = where(path)
    missing = set(blanked)
    if broken is not None and broken < count:  # its pixels are said to lie beyond the end
        with tifffile.TiffFile(path, mode="r+") as tif:
            tif.pages[broken].tags[273].overwrite(10**8)
        missing.add(broken)
    if cut is not None:
        size = int(path.stat().st_size * cut)
        with path.open("rb+") as file:
            file.truncate(size)
        # The directory of a plane lies before its pixels.
        missing |= {n for n, (at, length) in enumerate(parts) if at + length > size}
    expected = {
        StackIndex(0, t, 0)
        for t in range(times)
        if not missing & set(range(t * depth, (t + 1) * depth))
    }
    tiff = TiffFormat()  # which has seen nothing yet under this name
    for evidence in (tiff.inspect(path), tiff.inspect_growing(path)):
        found = whole_in(evidence)
        assert found == expected
    if expected:
        assert evidence is not None
        stacks = evidence.stacks.file_stacks if evidence.stacks else evidence.file_stacks
        with tiff.open_growing(stacks) as reader:
            for index in expected:
                assert np.array_equal(reader.read(index), image[index.time])


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda each: each.name)
def test_a_file_that_grows_gives_the_same_at_every_length(
    tmp_path: Path, container: Container
) -> None:
    """Looked at all the way, each look going on from the last, as a fresh look finds it."""
    image = np.random.default_rng(1).integers(90, 4000, (4, 3, HEIGHT, WIDTH)).astype(np.uint16)
    container.write(tmp_path / "whole.tif", image)
    content, path = (tmp_path / "whole.tif").read_bytes(), tmp_path / "run.tif"
    growing, seen = TiffFormat(), []
    assert isinstance(growing, GrowingFileFormat)
    with path.open("wb", buffering=0) as file:
        for at in range(0, len(content), 97):
            file.write(content[at : at + 97])
            found: list[set[StackIndex] | str] = []
            for look in (growing.inspect_growing, TIFF.inspect):
                try:
                    found.append(whole_in(look(path)))
                except LiveRestoreError as error:
                    found.append(str(error))
            assert found[0] == found[1]
            seen.append(found[0])
    assert seen[-1] == {StackIndex(0, time, 0) for time in range(4)}
    assert {StackIndex(0, 0, 0)} in seen


def test_a_look_at_a_file_that_grows_reads_what_is_new(tmp_path: Path) -> None:
    """A walk from the first directory at every look would be quadratic."""
    image = np.random.default_rng(1).integers(90, 4000, (40, 5, HEIGHT, WIDTH)).astype(np.uint16)
    CONTAINERS[0].write(tmp_path / "whole.tif", image)
    content, path = (tmp_path / "whole.tif").read_bytes(), tmp_path / "run.tif"
    growing = TiffFormat()
    directories = []
    with path.open("wb", buffering=0) as file:
        step = len(content) // 50 + 1
        for at in range(0, len(content), step):
            file.write(content[at : at + step])
            growing.inspect_growing(path)
            (look,) = growing._looks()._looks.values()
            directories.append(look.walker.found.directory_bytes)
    whole = TiffFormat()
    whole.inspect_growing(path)
    (look,) = whole._looks()._looks.values()
    assert directories[-1] == look.walker.found.directory_bytes, "each directory counts once"


def content_of_pixels(path: Path) -> bytes:
    """A stack of which pixels are nearly all, as those of cameras are.

    tifffile writes one directory, all planes, and then the other directories.
    """
    planes = np.random.default_rng(1).integers(90, 4000, (12, 64, 64)).astype(np.uint16)
    tifffile.imwrite(path, planes, photometric="minisblack", metadata={"axes": "ZYX"})
    return path.read_bytes()


def test_looks_count_the_pixels_of_a_file_once(tmp_path: Path) -> None:
    content, path = content_of_pixels(tmp_path / "whole.tif"), tmp_path / "run.tif"
    growing = TiffFormat()
    steps = [*range(0, 12 * 64 * 64 * 2, 5000), *range(12 * 64 * 64 * 2, len(content), 60)]
    with path.open("wb", buffering=0) as file:
        for begin, end in itertools.pairwise([*steps, len(content)]):
            file.write(content[begin:end])
            for _ in range(2):
                found = growing.inspect_growing(path)
                assert type(found) is type(TIFF.inspect(path))
    assert isinstance(found, Complete)
    assert not found.blank_planes


def test_looks_at_a_reserved_file_count_its_pixels_once(tmp_path: Path) -> None:
    content, path = content_of_pixels(tmp_path / "whole.tif"), tmp_path / "run.tif"
    growing, plane = TiffFormat(), 64 * 64 * 2
    with tifffile.TiffFile(tmp_path / "whole.tif") as tiff:
        first = tiff.pages[0].dataoffsets[0]
    end = first + 12 * plane
    path.write_bytes(content[:first] + bytes(end - first) + content[end:])
    with path.open("rb+", buffering=0) as file:
        for begin in range(first, end, plane):
            file.seek(begin)
            file.write(content[begin : begin + plane])
            for _ in range(2):
                found = growing.inspect_growing(path)
                assert isinstance(found, Complete)
                assert len(found.blank_planes) == (end - begin) // plane - 1


def test_a_file_that_is_another_is_looked_at_anew(tmp_path: Path) -> None:
    first = np.full((3, 2, HEIGHT, WIDTH), 100, np.uint16)
    path = tmp_path / "run.tif"
    CONTAINERS[0].write(path, first)
    growing = TiffFormat()
    assert isinstance(growing.inspect_growing(path), Complete)
    CONTAINERS[3].write(path, np.full((4, 2, HEIGHT, WIDTH), 100, np.uint16))
    found = growing.inspect_growing(path)
    assert isinstance(found, Complete)
    assert found.file_stacks.times == 4
