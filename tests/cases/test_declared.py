"""Cases from the field: what is declared is read right, and kept.

Each file rebuilds what people met with other programs; pixels are compared with what tifffile
reads, and numbers with those that the file was made from.
"""

from __future__ import annotations

import datetime
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.errors import StackRefusedError
from live_restore.formats.file_format import PartOf
from tests.support.identity import restore, truth_of
from tests.support.tiffs import TIFF, complete, pixels


@pytest.fixture
def cases(shared_data: Path, tmp_path: Path) -> Path:
    """A copy of the cases, since results go beside them."""
    if not (shared_data / "cases").is_dir():
        pytest.skip("no cases")
    return Path(shutil.copytree(shared_data / "cases", tmp_path / "cases"))


SIZES = [
    ("um.tif", 0.3, 0.108),
    ("mu.tif", 0.3, 0.108),
    ("nm.tif", 0.3, 0.108),
    ("cm.tif", 0.3, 0.108),
    ("mmcm.tif", 0.3, 0.108),
    ("inch.tif", 0.3, 0.108),
    ("zunit.tif", 0.3, 0.108),
    ("comma.tif", 0.3, 0.108),
    ("neg.tif", 0.3, 0.108),
    ("nm.ome.tif", 0.3, 0.108),
    ("angstrom.ome.tif", 0.3, 0.108),
    ("nounit.ome.tif", 0.3, 0.108),
    ("neg.ome.tif", 0.3, 0.108),
    ("onlyplanes.ome.tif", 0.3, 0.108),
    ("zero.ome.tif", None, 0.108),
    ("pixel.tif", None, None),
    ("dpi.tif", None, None),
]


@pytest.mark.parametrize(("name", "z_um", "xy_um"), SIZES)
def test_units(cases: Path, name: str, z_um: float | None, xy_um: float | None) -> None:
    path = cases / "units" / name
    voxel = complete(path).file_stacks.voxel
    assert voxel.z_um == (z_um and pytest.approx(z_um, abs=1e-6))
    assert (voxel.y_um, voxel.x_um) == (xy_um, xy_um)


@pytest.mark.parametrize("name", ["neg.tif", "neg.ome.tif"])
def test_a_negative_step_keeps_size_and_order_and_is_reported(cases: Path, name: str) -> None:
    path = cases / "units" / name
    result = restore(path)
    np.testing.assert_array_equal(result.images[0], truth_of(path)[0])
    assert result.ome.images[0].pixels.physical_size_z == 0.3
    assert any("z step is negative" in note for note in result.one.notes)


def test_an_unknown_unit_is_called_unknown(cases: Path) -> None:
    result = restore(cases / "units" / "pixel.tif")
    assert any(
        "'pixel': no unit that is known" in note for note in result.report["source"]["notes"]
    )
    assert result.ome.images[0].pixels.physical_size_z is None


def test_a_frame_interval_in_minutes(cases: Path) -> None:
    result = restore(cases / "imagej_tunit_min.tif")
    assert result.report["source"]["time_increment_s"] == 300
    found = result.ome.images[0].pixels
    assert (found.time_increment, found.time_increment_unit.value) == (300, "s")


def test_times_dates_light_and_places_are_kept(cases: Path) -> None:
    path = cases / "irregular_times.ome.tif"
    result = restore(path)
    (image,) = result.ome.images
    assert image.acquisition_date == datetime.datetime(2024, 3, 1, 22, 15)
    (channel,) = image.pixels.channels
    assert channel.name == "GFP"
    assert channel.color is not None
    assert int(channel.color) == 65280
    assert channel.emission_wavelength == 525
    seen = {(p.the_t, p.the_z): p for p in image.pixels.planes}
    assert len(seen) == 12
    for t, start in enumerate((0.0, 60.0, 600.0)):
        for z in range(4):
            plane = seen[t, z]
            assert plane.delta_t == pytest.approx(start + 0.05 * z)
            assert plane.exposure_time == 0.05
            assert plane.position_z == pytest.approx(0.3 * z)
            # The file gives no unit, which by the schema is one of unknown length.
            assert plane.position_z_unit.value == "reference frame"
    assert result.report["source"]["acquired"] == ["2024-03-01T22:15:00"]
    assert result.report["source"]["light"][0]["emission_nm"] == 525
    planes = result.report["stacks"][2]["planes"]
    assert planes["delta_t_s"] == pytest.approx([600, 600.05, 600.1, 600.15])
    assert planes["exposure_s"] == [0.05] * 4
    assert planes["stage_unit"] == "reference frame"


def test_reduced_copies_between_the_planes(cases: Path) -> None:
    path = cases / "reduced_copies_in_chain.ome.tif"
    result = restore(path)
    assert result.images[0].shape == (6, 48, 64)
    np.testing.assert_array_equal(result.images[0], truth_of(path)[0])


@pytest.mark.parametrize(
    ("folder", "first", "others", "axes"),
    [
        ("planes", "p_000.ome.tif", ["p_001.ome.tif", "p_002.ome.tif", "p_003.ome.tif"], "ZYX"),
        ("perchannel", "s_C0.ome.tif", ["s_C1.ome.tif"], "CZYX"),
    ],
)
def test_an_image_over_several_files(
    cases: Path, folder: str, first: str, others: list[str], axes: str
) -> None:
    path = cases / "ome_over_several_files" / folder / first
    result = restore(path)
    assert result.axes == axes
    np.testing.assert_array_equal(result.images[0], truth_of(path)[0])
    assert result.report["source"]["other_files"] == others
    for other in others:
        assert TIFF.inspect(path.with_name(other)) == PartOf(path)
        # Who names a part gets the whole, which is there by now.
        assert restore(path.with_name(other)).one.already_there
    assert len(list((path.parent / "restored").iterdir())) == 2


def test_positions_of_different_depth(cases: Path) -> None:
    path = cases / "positions_of_different_depth" / "pos.ome.tif"
    result = restore(path)
    assert [image.shape[0] for image in result.images] == [8, 8, 11]
    for found, wanted in zip(result.images, truth_of(path), strict=True):
        np.testing.assert_array_equal(found, wanted)
    assert [image.name for image in result.ome.images] == ["Pos0", "Pos1", "Pos2"]
    assert result.report["source"]["shapes_zyx"] == [[8, 48, 64], [8, 48, 64], [11, 48, 64]]


def test_an_overview_beside_a_stack_is_left_out_and_said(cases: Path) -> None:
    path = cases / "positions_of_different_depth" / "overview.ome.tif"
    result = restore(path)
    np.testing.assert_array_equal(result.images[0], truth_of(path)[0])
    assert len(result.images) == 1
    assert any("left out" in note for note in result.one.notes)


def test_an_overview_in_colour_beside_a_stack(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    with tifffile.TiffWriter(path, ome=True) as writer:
        writer.write(pixels("Z", (4,)), photometric="minisblack", metadata={"axes": "ZYX"})
        writer.write(np.ones((50, 60, 3), np.uint8), photometric="rgb", metadata={"axes": "YXS"})
    result = restore(path)
    assert len(result.images) == 1
    np.testing.assert_array_equal(result.images[0], pixels("Z", (4,)))


def test_a_colour_table_on_grey_values(cases: Path) -> None:
    path = cases / "green_lut_8bit.tif"
    result = restore(path)
    assert result.images[0].dtype == np.uint8
    np.testing.assert_array_equal(result.images[0], truth_of(path)[0])
    color = result.ome.images[0].pixels.channels[0].color
    assert color is not None
    assert color.as_rgb_tuple() == (0, 255, 0)


def test_a_palette_image_is_refused(tmp_path: Path) -> None:
    table = np.random.default_rng(0).integers(0, 65536, (3, 256)).astype(np.uint16)
    path = tmp_path / "drawing.tif"
    tifffile.imwrite(path, pixels("Z", (4,), "uint8"), photometric="palette", colormap=table)
    with pytest.raises(StackRefusedError, match="palette"):
        TIFF.inspect(path)


def test_signed_grey_values(cases: Path) -> None:
    path = cases / "int16.tif"
    (truth,) = truth_of(path)
    result = restore(path)
    assert result.images[0].dtype == np.int16
    np.testing.assert_array_equal(result.images[0], truth)


@pytest.mark.parametrize("dtype", ["int16", "uint32"])
def test_camera_types_come_back(tmp_path: Path, dtype: str) -> None:
    image = pixels("Z", (5,)).astype(np.int64) * 200 - (20_000 if dtype == "int16" else 0)
    path = tmp_path / "cell.tif"
    tifffile.imwrite(path, image.astype(dtype), photometric="minisblack", metadata={"axes": "ZYX"})
    result = restore(path)
    assert result.images[0].dtype == dtype
    # float32 rescales and comes back: at most the last of 24 bits may turn.
    np.testing.assert_array_equal(result.images[0], image)
    assert result.report["stacks"][0]["clipped_voxels"] == 0


def test_grey_values_that_float32_cannot_hold_are_refused(tmp_path: Path) -> None:
    image = pixels("Z", (5,)).astype(np.uint32)
    image[2, 3, 4] = 2**24 + 1
    path = tmp_path / "cell.tif"
    tifffile.imwrite(path, image, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(StackRefusedError, match="16777217; more than 16777216 would be rounded"):
        restore(path)


# Time, and channels that nobody declared ------------------------------------------------------

IMAGEJ = "ImageJ=1.54f\nimages=8\n"
MOVIES = [
    IMAGEJ + "finterval=0.1\n",
    IMAGEJ + "fps=10.0\n",
    '{"shape": [8, 20, 24], "finterval": 0.1, "fps": 10}',
    IMAGEJ + "slices=8\nfps=10.0\n",
    IMAGEJ + "slices=8\nfinterval=0.1\nloop=false\n",
]


@pytest.mark.parametrize("description", MOVIES)
def test_a_movie_without_z_is_not_restored_as_z(tmp_path: Path, description: str) -> None:
    path = tmp_path / "movie.tif"
    image = pixels("Z", (8,))
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None, description=description)
    with pytest.raises(StackRefusedError, match="a movie without depth") as caught:
        restore(path)
    assert 'files.undeclared_axis = "Z"' in caught.value.remedy
    result = restore(path, undeclared_axis="Z")
    np.testing.assert_array_equal(result.images[0], image)


@pytest.mark.parametrize("slices", ["", "slices=8\n"])
def test_the_distance_of_planes_outweighs_a_frame_rate(tmp_path: Path, slices: str) -> None:
    path = tmp_path / "stack.tif"
    text = f"{IMAGEJ}{slices}finterval=0.1\nspacing=0.3\nunit=um\n"
    tifffile.imwrite(path, pixels("Z", (8,)), photometric="minisblack", metadata=None,
                     description=text)  # fmt: skip
    assert restore(path).report["source"]["voxel_um"]["z"] == 0.3


def test_an_undeclared_axis_is_on_the_screen_in_the_same_words_for_all(cases: Path) -> None:
    """Nothing in this file knows of time, although it was made from a movie."""
    said = [
        note
        for name in ("movie_without_z.tif",)
        for note in restore(cases / name).one.notes
        if "nothing declares" in note
    ]
    assert said == ["nothing declares what planes are: taken as z (files.undeclared_axis)"]


@pytest.mark.parametrize("declared", ["plain", "imagej", "shaped"])
def test_interleaved_channels(tmp_path: Path, declared: str) -> None:
    stacks = pixels("CZ", (2, 6))
    image = stacks.transpose(1, 0, 2, 3).reshape(12, *stacks.shape[2:])
    path = tmp_path / "two.tif"
    description = {"plain": None, "imagej": "ImageJ=1.54f\nimages=12\n",
                   "shaped": '{"shape": [12, 20, 24]}'}[declared]  # fmt: skip
    tifffile.imwrite(path, image, photometric="minisblack", metadata=None, description=description)
    result = restore(path, interleaved_channels=2)
    assert result.axes == "ZCYX"
    np.testing.assert_array_equal(result.images[0].transpose(1, 0, 2, 3), stacks)
    with pytest.raises(StackRefusedError, match="12 planes are no whole number of 5 interleaved"):
        restore(path, interleaved_channels=5)


def test_ome_xml_without_an_image_is_never_taken_for_undeclared(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    for xml in ("<OME></OME>", "<ome:OME xmlns:ome='http://x'/>", "\ufeff\n<OME/>"):
        tifffile.imwrite(path, pixels("Z", (4,)), photometric="minisblack", metadata=None,
                         description=xml.encode())  # fmt: skip
        with pytest.raises(StackRefusedError, match="describes no image"):
            TIFF.inspect(path)


def test_white_is_zero_is_kept(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, pixels("Z", (4,)), photometric="miniswhite", metadata={"axes": "ZYX"})
    result = restore(path)
    assert result.report["source"]["photometric"] == "miniswhite"
    with tifffile.TiffFile(result.one.image) as tif:
        assert tif.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
    np.testing.assert_array_equal(result.images[0], pixels("Z", (4,)))
