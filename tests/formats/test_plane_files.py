"""Folders of one TIFF per plane: what their names and headers say, and what they cannot say."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.errors import StackRefusedError
from live_restore.formats.acquisition_format import AcquisitionState, Stage
from live_restore.formats.plane_files.plane_format import PlaneFilesFormat
from live_restore.formats.table import acquisition_format_for, make_acquisition_formats
from live_restore.stack import StackIndex, VoxelSize
from tests.support.plane_files import write_plane
from tests.support.watched import stack

SIDE = 8


def plane(z: int) -> np.ndarray:
    return np.full((SIDE, SIDE), z + 1, np.uint16)


def over(folder: Path) -> AcquisitionState:
    return PlaneFilesFormat().follow(folder).poll(over=True)


def format_of(folder: Path) -> str:
    found = acquisition_format_for(folder, make_acquisition_formats())
    return found.name if found else ""


def spread_xml(order: list[str]) -> str:
    """Return OME-XML of one stack over files, z by z."""
    blocks = "".join(
        f'<TiffData FirstZ="{z}" FirstC="0" FirstT="0" IFD="0" PlaneCount="1">'
        f'<UUID FileName="{name}">urn:uuid:{z}</UUID></TiffData>'
        for z, name in enumerate(order)
    )
    return (
        '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        f'<Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="{SIDE}" SizeY="{SIDE}" '
        f'SizeZ="{len(order)}" SizeC="1" SizeT="1"><Channel ID="Channel:0:0" SamplesPerPixel="1"/>'
        f"{blocks}</Pixels></Image></OME>"
    )


def write_described(path: Path, z: int, description: str) -> None:
    tifffile.imwrite(
        path, plane(z), photometric="minisblack", metadata=None, description=description
    )


def test_where_ome_xml_says_which_plane_is_which_names_do_not(tmp_path: Path) -> None:
    names = [f"a_z{z}.ome.tif" for z in range(4)]
    for z, name in enumerate(names):
        write_described(tmp_path / name, z, spread_xml(names[::-1]))
    assert format_of(tmp_path) == "", "an image over several OME-TIFFs"


def test_a_companion_file_says_which_plane_is_which(tmp_path: Path) -> None:
    xml = '<OME><BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:1"/></OME>'
    for z in range(4):
        write_described(tmp_path / f"a_z{z}.ome.tif", z, xml)
    assert format_of(tmp_path) == ""


def test_ome_xml_that_only_names_its_own_file_leaves_the_planes_to_their_names(
    tmp_path: Path,
) -> None:
    for z in range(4):
        name = f"a_z{z}.ome.tif"
        write_described(tmp_path / name, z, spread_xml([name if z else "before renaming.ome.tif"]))
    assert format_of(tmp_path) == "plane-files"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("a1_z{}.tif", "a01_z{}.tif"),
        ("a1_z{}.tif", "a_p1_z{}.tif"),
        ("x_Cycle00001_Ch0_00000{}.ome.tif", "x_Cycle00001_Ch1_00000{}.ome.tif"),
    ],
)
def test_two_acquisitions_of_the_same_numbers_are_refused(
    tmp_path: Path, one: str, other: str
) -> None:
    for z in range(4):
        write_plane(tmp_path / one.format(z), plane(z))
        write_plane(tmp_path / other.format(z), plane(z + 10))
    (evidence,) = over(tmp_path).stacks.values()
    assert evidence.stage is Stage.REFUSED
    assert "two acquisitions have files of these numbers; put" in evidence.reason


@pytest.mark.parametrize(
    "name", ["x_Cycle00001_Ch1_00000{}.ome.tif", "p_A01_T0001F001L01A01Z0{}C01.tif"]
)
@pytest.mark.parametrize("first", [0, 1])
def test_planes_are_numbered_from_0_or_from_1(tmp_path: Path, name: str, first: int) -> None:
    for z in range(4):
        write_plane(tmp_path / name.format(first + z), plane(z))
    follower = PlaneFilesFormat().follow(tmp_path)
    state = follower.poll(over=True)
    assert state.stacks[StackIndex()].complete
    assert state.problems == ()
    assert follower.read(StackIndex())[:, 0, 0].tolist() == [1, 2, 3, 4]


GREEN = np.stack([np.zeros(256), np.arange(256) * 257, np.zeros(256)]).astype(np.uint16)


def test_grey_values_with_a_colour_table_are_restored(tmp_path: Path) -> None:
    for z in range(4):
        grey = plane(z).astype(np.uint8)
        tifffile.imwrite(
            tmp_path / f"a_z{z}.tif", grey, photometric="palette", colormap=GREEN, metadata=None
        )
    follower = PlaneFilesFormat().follow(tmp_path)
    assert follower.poll(over=True).stacks[StackIndex()].complete
    assert follower.read(StackIndex())[:, 0, 0].tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("image", "why"),
    [
        (np.ones((8, 8)), "a_z0.tif: has float64 pixels"),
        (np.ones((8, 8, 3), np.uint8), "in colour"),
    ],
)
def test_planes_that_cannot_be_restored_are_a_stack_that_is_refused(
    tmp_path: Path, image: np.ndarray, why: str
) -> None:
    for z in range(5):
        tifffile.imwrite(tmp_path / f"a_z{z}.tif", image)
    (evidence,) = over(tmp_path).stacks.values()
    assert evidence.stage is Stage.REFUSED
    assert why in evidence.reason


@pytest.mark.parametrize("kept", [0, 300])
@pytest.mark.parametrize("damaged", [1, 3])
def test_a_plane_that_is_damaged_is_named_and_its_stack_is_not_whole(
    tmp_path: Path, kept: int, damaged: int
) -> None:
    for z in range(4):
        write_plane(tmp_path / f"a_z{z}.tif", plane(z))
    path = tmp_path / f"a_z{damaged}.tif"
    path.write_bytes(path.read_bytes()[:kept])
    follower = PlaneFilesFormat().follow(tmp_path)
    (evidence,) = follower.poll(over=True).stacks.values()
    assert evidence.partial
    assert f"a_z{damaged}.tif is damaged or was not written to its end" in evidence.reason
    write_plane(path, plane(damaged))
    assert follower.poll(over=True).stacks[StackIndex()].complete


def test_planes_that_are_no_numbers_are_named_as_such(tmp_path: Path) -> None:
    for z in range(3):
        image = np.full((SIDE, SIDE), z + 1, np.float32)
        image[z, 0] = np.nan if z == 1 else 5
        write_plane(tmp_path / f"a_z{z}.tif", image)
    follower = PlaneFilesFormat().follow(tmp_path)
    follower.poll(over=True)
    with pytest.raises(StackRefusedError, match="NaN or infinite values in 1 voxels"):
        follower.read(StackIndex())


def test_what_lies_beside_the_planes_is_told_as_in_every_acquisition(tmp_path: Path) -> None:
    for z in range(4):
        write_plane(tmp_path / f"a_z{z}.tif", plane(z))
    write_plane(tmp_path / "MAX_a.tif", plane(3))
    state = over(tmp_path)
    assert (state.foreign, state.problems) == (("MAX_a.tif",), ())


def test_voxel_sizes_are_those_of_imagej(tmp_path: Path) -> None:
    for z in range(3):
        tifffile.imwrite(
            tmp_path / f"E_z{z:02}.tif",
            plane(z),
            imagej=True,
            resolution=(10, 10),
            metadata={"unit": "um", "spacing": 0.3},
        )
    assert over(tmp_path).info.voxel == VoxelSize(0.3, 0.1, 0.1)


@pytest.mark.parametrize(
    ("sizes", "voxel"),
    [
        (
            'PhysicalSizeX="0.1" PhysicalSizeY="200" PhysicalSizeYUnit="nm"',
            VoxelSize(None, 0.2, 0.1),
        ),
        ('PhysicalSizeX="0.1" PhysicalSizeY="0.1" PhysicalSizeZ="0.4"', VoxelSize(0.4, 0.1, 0.1)),
        ("<", VoxelSize()),
    ],
)
def test_voxel_sizes_are_those_of_ome_xml(tmp_path: Path, sizes: str, voxel: VoxelSize) -> None:
    for z in range(3):
        name = f"E_Series001_z{z:02}_ch00.ome.tif"
        xml = spread_xml([name]).replace("<Pixels ", f"<Pixels {sizes} ")
        write_described(tmp_path / name, z, xml)
    assert over(tmp_path).info.voxel == voxel


def test_separate_images_whose_metadata_are_gone_are_grouped_by_their_names(tmp_path: Path) -> None:
    for z in range(4):
        name = f"img_channel001_position000_time000000002_z{z:03}.tif"
        write_plane(tmp_path / name, plane(z))
    assert format_of(tmp_path) == "", "they may be copied still, the metadata last"
    os.utime(tmp_path, (1_700_000_000, 1_700_000_000))
    assert format_of(tmp_path) == "plane-files"
    assert over(tmp_path).stacks[StackIndex(0, 2, 1)].complete
    (tmp_path / "metadata.txt").write_text("{}")
    assert not PlaneFilesFormat().goes_on(tmp_path, {each.name for each in tmp_path.iterdir()})


def test_names_of_wavelengths_are_part_of_no_number_and_of_no_run(tmp_path: Path) -> None:
    for wavelength in ("w1DAPI", "w2488", "w3", "w12TIRF 561"):
        for z in range(1, 4):
            write_plane(tmp_path / f"exp_{wavelength}_s1_t1_z{z}.tif", plane(z))
    stacks = over(tmp_path).stacks
    assert sorted(stacks) == [StackIndex(1, 1, channel) for channel in (1, 2, 3, 12)]
    assert all(each.complete for each in stacks.values())


def test_stacks_that_are_fewer_than_the_planes_beside_them_are_passed_by(tmp_path: Path) -> None:
    for z in range(4):
        write_plane(tmp_path / f"E_t0_z{z}.tif", plane(z))
    for number in range(2):
        stack(tmp_path / f"stack {number}.tif")
    assert format_of(tmp_path) == "plane-files"
    state = over(tmp_path)
    assert state.stacks[StackIndex()].complete
    assert state.foreign == ("stack 0.tif", "stack 1.tif")
