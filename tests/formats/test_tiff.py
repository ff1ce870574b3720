"""The TIFF format against files of every shape, cut files, hostile files and real stacks."""

from __future__ import annotations

import gzip
import importlib.util
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import (
    StackChangedError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.table import format_for, make_formats
from live_restore.stack import Fingerprint, VoxelSize
from tests.support.tiffs import BY_NAME, CASES, TIFF, Case, complete, pixels, read_all, written


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_what_was_written_is_read(case: Case, tmp_path: Path) -> None:
    path = written(case, tmp_path)
    before = path.read_bytes()
    found = complete(path)
    dataset, truth = found.file_stacks, case.truth()
    assert (dataset.positions, dataset.times, dataset.channels) == truth.shape[:3]
    assert dataset.axes == (case.read_axes or case.axes + "YX")
    assert dataset.dtype == truth.dtype
    assert dataset.dtype.isnative
    assert dataset.voxel == VoxelSize(*case.voxel)
    assert dataset.channel_names == case.channel_names
    assert dataset.position_names == case.position_names
    assert dataset.time_increment_s == case.time_increment_s
    assert found.declared is case.declared
    assert not found.blank_planes
    assert not found.zero_tail
    np.testing.assert_array_equal(read_all(path), truth)
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    "name",
    ["plain", "shaped_zyx", "deflate_tiles", "lzw_strips", "imagej_tzcyx", "imagej_one_ifd",
     "ome_tzcyx", "ome_zlib_bigtiff", "plain_bigtiff", "page_by_page"],
)  # fmt: skip
def test_a_cut_file_is_never_complete(name: str, tmp_path: Path) -> None:
    whole = written(BY_NAME[name], tmp_path).read_bytes()
    truth = BY_NAME[name].truth()
    path = tmp_path / f"cut{'.ome' if name.startswith('ome') else ''}.tif"
    step = max(1, len(whole) // 200)
    cuts = {*range(0, len(whole), step), *range(300), *range(len(whole) - 120, len(whole))}
    for cut in sorted(cut for cut in cuts if 0 <= cut < len(whole)):
        path.write_bytes(whole[:cut])
        found = TIFF.inspect(path)
        if isinstance(found, Complete):
            # Padding behind the last plane, at most: nothing that belongs to the image.
            assert len(whole) - cut <= 16, cut
            np.testing.assert_array_equal(read_all(path), truth)
        else:
            assert isinstance(found, Arriving)
            assert "\n" not in found.reason


@pytest.mark.parametrize("name", ["imagej_one_ifd", "shaped_tczyx", "ome_tzcyx"])
def test_a_file_reserved_with_zeros_is_never_complete_and_whole(name: str, tmp_path: Path) -> None:
    whole = written(BY_NAME[name], tmp_path).read_bytes()
    path = tmp_path / ("cut.ome.tif" if name.startswith("ome") else "cut.tif")
    for cut in range(0, len(whole), max(1, len(whole) // 150)):
        path.write_bytes(whole[:cut].ljust(len(whole), b"\0"))
        try:
            found = TIFF.inspect(path)
        except StackUnreadableError:
            assert cut < 4000, cut
            continue
        if isinstance(found, Complete) and whole[cut:].strip(b"\0"):
            plane_bytes = 2 * 20 * 24
            cut_inside_a_row = len(whole) - cut < 2 * 24 + 16 or plane_bytes - 48 < cut
            assert found.blank_planes or found.zero_tail or cut_inside_a_row


def test_writing_plane_by_plane_is_complete_only_when_closed(tmp_path: Path) -> None:
    image, path, copy = pixels("Z", (6,)), tmp_path / "w.ome.tif", tmp_path / "copy.ome.tif"
    states = []

    def look() -> None:
        shutil.copyfile(path, copy)
        states.append(isinstance(TIFF.inspect(copy), Complete))

    with tifffile.TiffWriter(path, ome=True) as writer:

        def planes() -> Any:
            for plane in image:
                yield plane
                writer._fh.flush()
                look()

        writer.write(planes(), shape=image.shape, dtype=image.dtype, photometric="minisblack",
                     metadata={"axes": "ZYX"}, compression="zlib")  # fmt: skip
        writer._fh.flush()
        look()
    assert not any(states)
    shutil.copyfile(path, copy)
    np.testing.assert_array_equal(read_all(copy)[0, 0, 0], image)


def test_fewer_planes_than_declared(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, pixels("Z", (12,)), metadata=None, photometric="minisblack",
        description="ImageJ=1.54f\nimages=40\nslices=40\n",
    )  # fmt: skip
    assert TIFF.inspect(path) == Arriving("12 of 40 planes present")


def test_names() -> None:
    formats = make_formats()
    for name in ("a.tif", "a.TIFF", "a.ome.tif", "a.OME.TF8", "a.btf"):
        assert format_for(Path(name), formats) is not None
    for name in ("a.tif.part", "a.txt", "tif"):
        assert format_for(Path(name), formats) is None


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "packbits"])
@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_blank_planes_are_named(compression: str | None, dtype: str, tmp_path: Path) -> None:
    image = pixels("Z", (6,), dtype)
    image[2] = image[5] = 0
    path = tmp_path / "blank.tif"
    tifffile.imwrite(path, image, photometric="minisblack", compression=compression)
    assert complete(path).blank_planes == (2, 5)


def test_a_reserved_file_of_half_a_plane_has_a_zero_tail(tmp_path: Path) -> None:
    image = pixels("Z", (6,))
    image[3, 11:] = image[4:] = 0
    path = tmp_path / "tail.tif"
    tifffile.imwrite(path, image, photometric="minisblack")
    found = complete(path)
    assert found.blank_planes == (4, 5)
    assert found.zero_tail
    image[:, 15:] = 0
    tifffile.imwrite(path, image, photometric="minisblack")
    assert not complete(path).zero_tail


@pytest.mark.parametrize("compression", ["zlib", "zstd"])
def test_damaged_pixels_name_their_plane(compression: str, tmp_path: Path) -> None:
    path = tmp_path / "damaged.tif"
    tifffile.imwrite(path, pixels("Z", (4,)), photometric="minisblack", compression=compression)
    with tifffile.TiffFile(path) as tiff:
        at, count = tiff.pages[2].dataoffsets[0], tiff.pages[2].databytecounts[0]
    with path.open("r+b") as stream:
        stream.seek(at)
        stream.write(b"\xff" * count)
    with pytest.raises(StackUnreadableError, match="plane 3"):
        read_all(path)


def test_a_file_that_changes_is_given_back(tmp_path: Path) -> None:
    path = written(BY_NAME["plain"], tmp_path)
    dataset = complete(path).file_stacks
    with TIFF.open(dataset) as reader:
        reader.read(dataset.indices()[0])
        with path.open("ab") as stream:
            stream.write(b"more")
        with pytest.raises(StackChangedError, match="changed"):
            reader.read(dataset.indices()[0])
    with pytest.raises(StackChangedError), TIFF.open(dataset):
        pass
    path.unlink()
    with pytest.raises(StackChangedError, match="vanished"), TIFF.open(dataset):
        pass


def _ome_file(path: Path, pixels_xml: str, planes: int) -> None:
    xml = f'<?xml version="1.0"?><OME xmlns="http://x">{pixels_xml}</OME>'
    tifffile.imwrite(path, pixels("Z", (planes,)), metadata=None, description=xml.encode(),
                     photometric="minisblack")  # fmt: skip


PIXELS = (
    '<Image Name="a"><Pixels DimensionOrder="XYZCT" SizeX="24" SizeY="20" SizeZ="{z}" SizeC="1" '
    'SizeT="1" Type="uint16">{data}</Pixels></Image>'
)


def test_planes_in_other_files_do_not_count(tmp_path: Path) -> None:
    block = '<TiffData IFD="0" PlaneCount="4"><UUID FileName="{}">urn:uuid:1</UUID></TiffData>'
    both = "".join(PIXELS.format(z=4, data=block.format(name)) for name in ("a.tif", "b.tif"))
    _ome_file(tmp_path / "a.tif", both, 4)
    assert complete(tmp_path / "a.tif").file_stacks.positions == 1
    _ome_file(tmp_path / "c.tif", both, 4)
    with pytest.raises(StackRefusedError, match="describes other files"):
        TIFF.inspect(tmp_path / "c.tif")
    spread = block.format("a.tif").replace("4", "2") + block.format("b.tif")
    _ome_file(tmp_path / "a.tif", PIXELS.format(z=6, data=spread), 4)
    assert TIFF.inspect(tmp_path / "a.tif") == Arriving(
        "1 of the 2 files of its image are there (not b.tif)", waits_for_others=True
    )


def test_tiff_data_in_any_order_and_without_numbers(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    data = "".join(f'<TiffData IFD="{3 - z}" FirstZ="{z}" PlaneCount="1"/>' for z in range(4))
    _ome_file(path, PIXELS.format(z=4, data=data), 4)
    np.testing.assert_array_equal(read_all(path)[0, 0, 0], pixels("Z", (4,))[::-1])
    _ome_file(path, PIXELS.format(z=4, data="<TiffData/>"), 4)
    np.testing.assert_array_equal(read_all(path)[0, 0, 0], pixels("Z", (4,)))
    data = '<TiffData IFD="0" PlaneCount="4"/>'
    _ome_file(path, PIXELS.format(z=9, data=data), 4)
    assert TIFF.inspect(path) == Arriving("4 of 9 planes present")


@pytest.mark.parametrize(
    "xml",
    [
        PIXELS.format(z=4, data="<broken"),
        PIXELS.format(z="1e9", data=""),
        PIXELS.format(z=4, data='<TiffData IFD="0" FirstZ="3" PlaneCount="4"/>'),
        PIXELS.format(z=4, data='<TiffData IFD="0" PlaneCount="4"/>' * 2),
        PIXELS.format(z=2, data='<TiffData IFD="0"/><TiffData IFD="0" FirstZ="1"/>'),
        PIXELS.format(z=4, data="").replace('SizeX="24"', 'SizeX="25"'),
    ],
)
def test_nonsense_in_ome_xml_is_damage(xml: str, tmp_path: Path) -> None:
    _ome_file(tmp_path / "a.tif", xml, 4)
    with pytest.raises(StackUnreadableError, match="contradicts"):
        TIFF.inspect(tmp_path / "a.tif")


def test_entity_bombs_are_not_expanded(tmp_path: Path) -> None:
    bomb = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><OME><Image Name="&b;"/></OME>'
    tifffile.imwrite(
        tmp_path / "a.tif", pixels("Z", (4,)), metadata=None, description=bomb,
        photometric="minisblack",
    )  # fmt: skip
    with pytest.raises(StackUnreadableError, match="cannot be read"):
        TIFF.inspect(tmp_path / "a.tif")


@pytest.mark.parametrize("trace", ["multipage_full", "multipage_abort"])
def test_micro_manager_while_it_writes(trace: str, shared_data: Path, tmp_path: Path) -> None:
    """Every step of a recorded acquisition: never complete before its planes and its end."""
    folder = shared_data / "micromanager/traces"
    spec = importlib.util.spec_from_file_location("replay", folder / "replay.py")
    assert spec is not None
    assert spec.loader is not None
    replay = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(replay)
    last: dict[Path, Fingerprint] = {}
    ended = set()
    for _ in replay.Trace(folder / f"{trace}.jsonl.gz").steps(tmp_path):
        for path in tmp_path.rglob("*.ome.tif"):
            state = path.stat()
            print_of = Fingerprint.of(state)
            if last.get(path) == print_of:
                continue
            last[path] = print_of
            found = TIFF.inspect(path)
            if isinstance(found, Complete):
                ended.add(path)
                dataset = found.file_stacks
                assert found.declared
                assert not found.blank_planes
                assert (dataset.times, dataset.channels, dataset.shape_zyx[0]) == (3, 2, 5)
            else:
                assert path not in ended
    assert len(ended) == (2 if trace.endswith("full") else 0)


@pytest.mark.parametrize(
    ("name", "shape", "z_um", "x_um"),
    [
        ("stacks/chromosomes.tif", (40, 152, 126), 0.15, 0.034),
        ("stacks/golgi.tif", (25, 137, 147), 0.388, 0.351),
        ("stacks/nuclear_envelope.tif", (14, 224, 305), None, 0.242),
        ("stacks/mitotic_plate.tif", (6, 263, 263), 3.0, 0.085),
        ("stacks/nuclei_small.tif", (31, 61, 57), None, None),
        ("psf/pyotf_psf.tif", (25, 256, 256), None, None),
        ("psf/pyotf_BIL113.tif", (21, 128, 128), None, None),
    ],
)
def test_real_stacks(
    name: str, shape: tuple[int, ...], z_um: float | None, x_um: float | None, shared_data: Path
) -> None:
    path = shared_data / name
    dataset = complete(path).file_stacks
    assert (dataset.axes, dataset.shape_zyx, dataset.stack_count) == ("ZYX", shape, 1)
    assert dataset.voxel.z_um == (z_um and pytest.approx(z_um, abs=5e-4))
    assert dataset.voxel.x_um == (x_um and pytest.approx(x_um, abs=5e-4))
    with tifffile.TiffFile(path, _multifile=False) as tiff:
        planes = np.stack([page.asarray() for page in tiff.pages])
    if len(planes) == shape[0]:
        np.testing.assert_array_equal(read_all(path)[0, 0, 0], planes)


def test_real_micro_manager_files(shared_data: Path, tmp_path: Path) -> None:
    with pytest.raises(StackRefusedError, match="single 2-D plane"):
        TIFF.inspect(shared_data / "micromanager/mmstack_zyla/A647_MMStack_Pos0.ome.tif")
    for packed in sorted((shared_data / "micromanager/mmstack_1.4").glob("*.tif.gz")):
        path = tmp_path / packed.name.removesuffix(".gz")
        path.write_bytes(gzip.decompress(packed.read_bytes()))
        dataset = complete(path).file_stacks
        assert (dataset.times, dataset.channels, dataset.shape_zyx) == (2, 2, (2, 64, 64))
        with tifffile.TiffFile(path, _multifile=False) as tiff:
            planes = np.stack([page.asarray() for page in tiff.pages])
        # DimensionOrder XYZCT: Z is fastest, then channels, then time.
        np.testing.assert_array_equal(read_all(path).reshape(planes.shape), planes)
    for path in (shared_data / "micromanager/ndtiff").glob("*/*.tif"):
        with pytest.raises(StackRefusedError, match="NDTiff"):
            TIFF.inspect(path)
