"""Images over several OME-TIFFs: whole when all files are there, and no name leads elsewhere."""

from __future__ import annotations

import itertools
import os
import random
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import (
    LiveRestoreError,
    StackChangedError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.file_format import Arriving, Complete, PartOf
from live_restore.formats.table import make_acquisition_formats
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.sources.passed_by import survey
from tests.support.identity import restore
from tests.support.tiffs import TIFF, complete, pixels, read_all
from tests.support.watched import Scene

HEAD = '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'
NAMES = ("a_0.ome.tif", "a_1.ome.tif", "a_2.ome.tif")


def xml_of(names: tuple[str, ...] = NAMES, planes: int = 1, more: str = "") -> str:
    """Return the XML of one stack, ``planes`` of it in each file."""
    blocks = "".join(
        f'<TiffData FirstZ="{planes * n}" IFD="0" PlaneCount="{planes}">'
        f'<UUID FileName="{name}">urn:uuid:{n}</UUID></TiffData>'
        for n, name in enumerate(names)
    )
    return (
        f'{HEAD}<Image ID="Image:0" Name="s"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" '
        f'Type="uint16" SizeX="24" SizeY="20" SizeZ="{planes * len(names)}" SizeC="1" SizeT="1">'
        f"{blocks}{more}</Pixels></Image></OME>"
    )


def put(path: Path, image: np.ndarray[Any, Any], xml: str, **options: Any) -> Path:
    """Write one file of a set."""
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None,
                     description=xml.encode(), **options)  # fmt: skip
    return path


def put_all(folder: Path, planes: int = 1, **options: Any) -> np.ndarray[Any, Any]:
    """Write a set, and return its stack."""
    image = pixels("Z", (planes * len(NAMES),))
    for number, name in enumerate(NAMES):
        part = image[planes * number : planes * (number + 1)]
        put(folder / name, part, xml_of(planes=planes), **options)
    return image


@pytest.mark.parametrize("planes", [1, 3])
@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"byteorder": ">"}])
def test_all_files_are_one_image(tmp_path: Path, planes: int, options: dict[str, Any]) -> None:
    image = put_all(tmp_path, planes, **options)
    np.testing.assert_array_equal(read_all(tmp_path / NAMES[0])[0, 0, 0], image)
    for name in NAMES[1:]:
        assert TIFF.inspect(tmp_path / name) == PartOf(tmp_path / NAMES[0])


def test_files_that_differ_in_byte_order(tmp_path: Path) -> None:
    image = put_all(tmp_path)
    put(tmp_path / NAMES[1], image[1:2], xml_of(), byteorder=">")
    np.testing.assert_array_equal(read_all(tmp_path / NAMES[0])[0, 0, 0], image)


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_it_is_complete_with_its_last_file(tmp_path: Path, order: tuple[int, ...]) -> None:
    image = pixels("Z", (3,))
    for count, number in enumerate(order, 1):
        put(tmp_path / NAMES[number], image[number : number + 1], xml_of())
        first = tmp_path / NAMES[0]
        if not first.exists():
            found = TIFF.inspect(tmp_path / NAMES[number])
            assert isinstance(found, Arriving)
            assert "begins in a_0.ome.tif" in found.reason
        elif count < 3:
            found = TIFF.inspect(first)
            assert isinstance(found, Arriving)
            assert f"{count} of the 3 files" in found.reason
        else:
            assert isinstance(TIFF.inspect(first), Complete)


def test_a_file_that_is_cut_keeps_the_whole_waiting(tmp_path: Path) -> None:
    put_all(tmp_path)
    part = tmp_path / NAMES[2]
    whole = part.read_bytes()
    for size in range(0, len(whole) - 16, 97):
        part.write_bytes(whole[:size])
        found = TIFF.inspect(tmp_path / NAMES[0])
        assert isinstance(found, Arriving), size
        assert found.waits_for_others


def test_a_file_of_it_that_changes_is_noticed(tmp_path: Path) -> None:
    image = put_all(tmp_path)
    found = complete(tmp_path / NAMES[0]).file_stacks
    with TIFF.open(found) as reader:
        put(tmp_path / NAMES[1], image[:1], xml_of())
        with pytest.raises(StackChangedError, match="changed since it was found complete"):
            reader.read(found.indices()[0])
    with pytest.raises(StackChangedError, match="another file of its image"), TIFF.open(found):
        pass


def test_blank_planes_are_counted_through_all_files(tmp_path: Path) -> None:
    image = put_all(tmp_path)
    put(tmp_path / NAMES[1], np.zeros_like(image[:1]), xml_of())
    assert complete(tmp_path / NAMES[0]).blank_planes == (1,)


@pytest.mark.parametrize("end", ["", "\n"])
def test_a_companion_file_describes_all(tmp_path: Path, end: str) -> None:
    """Bio-Formats' ``.companion.ome``: the TIFFs say no more than where it is."""
    image = pixels("Z", (3,))
    only = HEAD + '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:9"/></OME>'
    for number, name in enumerate(NAMES):
        put(tmp_path / name, image[number : number + 1], only)
    found = TIFF.inspect(tmp_path / NAMES[0])
    assert isinstance(found, Arriving)
    assert "a.companion.ome, which describes it, is not there yet" in found.reason
    text = xml_of()
    (tmp_path / "a.companion.ome").write_text(text[:-10])
    found = TIFF.inspect(tmp_path / NAMES[0])
    assert isinstance(found, Arriving)
    assert "not been written whole" in found.reason
    (tmp_path / "a.companion.ome").write_text(text + end)
    np.testing.assert_array_equal(read_all(tmp_path / NAMES[0])[0, 0, 0], image)
    result = restore(tmp_path / NAMES[0])
    assert result.report["source"]["other_files"] == ["a.companion.ome", *NAMES[1:]]


NO_IMAGE = [
    "/etc/passwd", "CON:.tif", "C:a_1.ome.tif", ".hidden.tif", "..", "a_1.txt", "sub/",
    "x" * 300 + ".tif", "file:///etc/passwd", "C:\\data\\",
]  # fmt: skip
ELSEWHERE = [
    "../a_1.ome.tif", "/data/a_1.ome.tif", "C:\\data\\a_1.ome.tif", "..\\a_1.ome.tif",
    "sub/a_1.ome.tif", "\\\\server\\share\\a_1.ome.tif", "sub\\../a_1.ome.tif",
]  # fmt: skip


@pytest.mark.parametrize("name", NO_IMAGE)
def test_names_of_no_image_are_refused(tmp_path: Path, name: str) -> None:
    put(tmp_path / NAMES[0], pixels("Z", (1,)), xml_of((NAMES[0], name)))
    with pytest.raises(StackRefusedError, match=r"no image beside it|describes other files"):
        TIFF.inspect(tmp_path / NAMES[0])
    only = f'{HEAD}<BinaryOnly MetadataFile="{name}"/></OME>'
    put(tmp_path / NAMES[0], pixels("Z", (1,)), only)
    with pytest.raises(StackRefusedError, match="no image beside it"):
        TIFF.inspect(tmp_path / NAMES[0])


@pytest.mark.parametrize("name", ELSEWHERE)
def test_of_paths_only_the_name_counts_and_only_beside_the_file(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    image = pixels("Z", (2,))
    names = (f"C:\\data\\{NAMES[0]}", name)
    for at in (tmp_path / "a_1.ome.tif", folder / "sub" / "a_1.ome.tif"):
        put(at, image[:1], xml_of(names))
    put(folder / NAMES[0], image[:1], xml_of(names))
    found = TIFF.inspect(folder / NAMES[0])
    assert isinstance(found, Arriving)
    assert "(not a_1.ome.tif)" in found.reason
    only = f'{HEAD}<BinaryOnly MetadataFile="{name}"/></OME>'
    put(folder / NAMES[0], image[:1], only)
    found = TIFF.inspect(folder / NAMES[0])
    assert isinstance(found, Arriving)
    assert "a_1.ome.tif, which describes it, is not there yet" in found.reason
    for number in range(2):
        put(folder / NAMES[number], image[number : number + 1], xml_of(names))
    np.testing.assert_array_equal(read_all(folder / NAMES[0])[0, 0, 0], image)
    assert TIFF.inspect(folder / NAMES[1]) == PartOf(folder / NAMES[0])


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_a_name_with_a_backslash_in_it_is_a_name(tmp_path: Path) -> None:
    names = ("a\\0.ome.tif",)
    path = put(tmp_path / names[0], pixels("Z", (3,)), xml_of(names, planes=3))
    assert not complete(path).file_stacks.notes


@pytest.mark.skipif(os.name != "posix", reason="makes links and pipes")
@pytest.mark.parametrize("kind", ["link", "pipe", "folder"])
def test_what_is_no_file_is_not_opened(tmp_path: Path, kind: str) -> None:
    put_all(tmp_path)
    part = tmp_path / NAMES[1]
    whole = part.rename(tmp_path / "real.tif")
    if kind == "link":
        part.symlink_to(whole)
    elif kind == "pipe":
        os.mkfifo(part)
    else:
        part.mkdir()
    # The list of the folder's files has none of these.
    assert isinstance(TIFF.inspect(tmp_path / NAMES[0]), Arriving)


def test_two_files_that_call_each_other_the_first(tmp_path: Path) -> None:
    put(tmp_path / NAMES[0], pixels("Z", (1,)), xml_of((NAMES[1], NAMES[0])))
    put(tmp_path / NAMES[1], pixels("Z", (1,)), xml_of((NAMES[0], NAMES[1])))
    with pytest.raises(StackUnreadableError, match="call each other the first"):
        restore(tmp_path / NAMES[0])


def test_damage_to_any_file_ends_in_our_errors(tmp_path: Path) -> None:
    put_all(tmp_path)
    rng = random.Random(1)
    for _ in range(60):
        path = tmp_path / rng.choice(NAMES)
        whole = path.read_bytes()
        hurt = bytearray(whole)
        for _ in range(rng.choice((1, 3))):
            hurt[rng.randrange(len(hurt))] = rng.randrange(256)
        path.write_bytes(hurt)
        with suppress(LiveRestoreError):
            found = TIFF.inspect(tmp_path / NAMES[0])
            if isinstance(found, Complete):
                with TIFF.open(found.file_stacks) as reader:
                    reader.read(found.file_stacks.indices()[0])
        path.write_bytes(whole)


# In a watched folder --------------------------------------------------------------------------


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 0, 2)])
def test_a_set_that_arrives_is_one_row(scene: Scene, order: tuple[int, ...]) -> None:
    image = pixels("Z", (3,))
    for number in order:
        assert State.WAITING not in scene.states().values()
        put(scene.root / NAMES[number], image[number : number + 1], xml_of())
        scene.settle()
    scene.settle()
    assert scene.states() == {NAMES[0]: State.WAITING}
    assert scene.unsettled() == 0
    assert not scene.bad


def test_a_set_that_takes_longer_than_a_stall(scene: Scene) -> None:
    """Each file that arrives counts as a sign of life of the first, which does not change."""
    image = pixels("Z", (3,))
    for number in range(3):
        put(scene.root / NAMES[number], image[number : number + 1], xml_of())
        scene.settle()
        if number < 2:
            assert scene.states() == {NAMES[0]: State.ARRIVING}
            scene.poll(40)
    assert scene.states() == {NAMES[0]: State.WAITING}


def test_a_set_that_goes_on_after_it_was_given_up(scene: Scene) -> None:
    image = pixels("Z", (3,))
    for number in range(2):
        put(scene.root / NAMES[number], image[number : number + 1], xml_of())
    scene.settle()
    scene.poll(70)
    scene.poll(1)
    assert scene.states() == {NAMES[0]: State.INCOMPLETE}
    assert "2 of the 3 files" in scene.entry(NAMES[0]).reason
    put(scene.root / NAMES[2], image[2:], xml_of())
    scene.settle()
    scene.settle()
    assert scene.states() == {NAMES[0]: State.WAITING}


def test_the_companion_of_a_set_is_no_file_that_was_not_looked_at(scene: Scene) -> None:
    only = HEAD + '<BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:9"/></OME>'
    for number, name in enumerate(NAMES):
        put(scene.root / name, pixels("Z", (3,))[number : number + 1], only)
    (scene.root / "a.companion.ome").write_text(xml_of())
    (scene.root / "alone").mkdir()
    (scene.root / "alone" / "b.companion.ome").write_text(xml_of())
    scene.settle()
    assert scene.states() == {NAMES[0]: State.WAITING}
    surveyed, all_of_it = survey(scene.root, [TIFF], make_acquisition_formats(), load_settings())
    assert all_of_it
    for found in (scene.source.passed_by(), surveyed):
        assert [(each.count, each.example.name) for each in found] == [(1, "b.companion.ome")]
