"""TIFF files that are not restored, and those that cannot be opened just now: what is said."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import tifffile

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackRefusedError,
    StackUnreadableError,
)
from live_restore.formats.tiff.tiff_format import TiffFormat
from tests.support.tiffs import BY_NAME, TIFF, complete, pixels, read_all, written

REFUSED: list[tuple[str, dict[str, Any], np.ndarray[Any, Any], str]] = [
    ("2d", {}, pixels("", ()), r"a single 2-D plane \(20 x 24\); nothing to restore in 3-D"),
    ("single", {"metadata": {"axes": "ZYX"}}, pixels("Z", (1,)), "a single 2-D plane"),
    ("time", {"metadata": {"axes": "TYX"}}, pixels("T", (5,)), "along T .5., without a Z axis"),
    ("5d", {"metadata": {"axes": "AHZYX"}}, pixels("AHZ", (2, 3, 4)), "axes AHZYX"),
    ("4d", {}, pixels("QQ", (3, 4)), "axes QQYX"),
    ("int32", {}, pixels("Z", (4,)).astype("int32"), "int32 voxels"),
    ("uint64", {}, pixels("Z", (4,)).astype("uint64"), "uint64 voxels"),
    ("float64", {}, pixels("Z", (4,)).astype("float64"), "float64 voxels"),
    ("complex", {}, pixels("Z", (4,)).astype("complex64"), "complex64 voxels"),
    ("jpeg2000", {"compression": "jpeg2000"}, pixels("Z", (4,)), "compression 34712"),
]


@pytest.mark.parametrize(("name", "options", "image", "message"), REFUSED, ids=lambda x: str(x)[:9])
def test_refusals_say_what_and_what_next(
    name: str, options: dict[str, Any], image: Any, message: str, tmp_path: Path
) -> None:
    path = tmp_path / f"{name}.tif"
    tifffile.imwrite(path, image, photometric="minisblack", **options)
    with pytest.raises(StackRefusedError, match=message) as caught:
        TIFF.inspect(path)
    assert caught.value.remedy
    assert caught.value.path == path


def test_colour_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rgb.tif"
    for planar in ("contig", "separate"):
        image = np.ones((4, 20, 24, 3) if planar == "contig" else (4, 3, 20, 24), np.uint8)
        tifffile.imwrite(path, image, photometric="rgb", planarconfig=planar)
        with pytest.raises(StackRefusedError, match="colour image"):
            TIFF.inspect(path)


def test_planes_of_different_sizes_or_types_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "mixed.tif"
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels("Z", (3,)), photometric="minisblack")
        writer.write(pixels("Z", (3,))[:, :10], photometric="minisblack")
    with pytest.raises(StackRefusedError, match="different sizes"):
        TIFF.inspect(path)
    with tifffile.TiffWriter(path) as writer:
        writer.write(pixels("Z", (3,)), photometric="minisblack")
        writer.write(pixels("Z", (3,), "uint8"), photometric="minisblack")
    with pytest.raises(StackRefusedError, match="different types"):
        TIFF.inspect(path)


def test_an_undeclared_axis_may_be_said_to_be_time(tmp_path: Path) -> None:
    path = written(BY_NAME["plain"], tmp_path)
    with pytest.raises(StackRefusedError, match="without a Z axis"):
        TiffFormat(undeclared_axis="T").inspect(path)


def test_what_is_not_a_tiff(tmp_path: Path) -> None:
    path = tmp_path / "notes.tif"
    path.write_text("shopping list")
    with pytest.raises(StackUnreadableError, match="not a TIFF file"):
        TIFF.inspect(path)
    with pytest.raises(StackChangedError, match="vanished"):
        TIFF.inspect(tmp_path / "gone.tif")
    with pytest.raises(StackUnreadableError, match="not a regular file"):
        TIFF.inspect(tmp_path)
    os.mkfifo(tmp_path / "pipe.tif")
    with pytest.raises(StackUnreadableError, match="not a regular file"):
        TIFF.inspect(tmp_path / "pipe.tif")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.EACCES, "no permission"),
        (errno.EIO, "reading failed"),
        (errno.ESTALE, "reading failed"),
    ],
)
def test_what_may_pass_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, said: str
) -> None:
    """A virus scanner, a share that is gone for a moment: the file itself is as good as before."""
    path = written(BY_NAME["plain"], tmp_path)
    dataset = complete(path).file_stacks

    def refuse(*_: object, **__: object) -> NoReturn:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StackBusyError, match=said):
            TIFF.inspect(path)
        with pytest.raises(StackBusyError, match=said), TIFF.open(dataset):
            pass
    with monkeypatch.context() as patch:
        patch.setattr("live_restore.formats.tiff.reader.read_plane", refuse)
        with pytest.raises(StackBusyError, match=said), TIFF.open(dataset) as reader:
            reader.read(dataset.indices()[0])
    assert complete(path).file_stacks == dataset


def test_a_link_to_itself_never_opens(tmp_path: Path) -> None:
    path = tmp_path / "l.tif"
    path.symlink_to(path)
    with pytest.raises(StackUnreadableError, match="cannot be opened"):
        TIFF.inspect(path)


@pytest.mark.parametrize("planes", [3, 4])
def test_planes_that_tifffile_took_for_colours(tmp_path: Path, planes: int) -> None:
    path = tmp_path / "a.tif"
    with pytest.warns(DeprecationWarning, match="photometric"):
        tifffile.imwrite(path, pixels("Z", (planes,)))
    with pytest.raises(StackRefusedError, match="photometric='minisblack'"):
        TIFF.inspect(path)


def test_own_output_is_not_input(tmp_path: Path) -> None:
    path = tmp_path / "result.tif"
    tifffile.imwrite(path, pixels("Z", (4,)), software="live-restore 0.1", ome=True)
    assert TIFF.inspect(path) is None


def test_nan_is_refused(tmp_path: Path) -> None:
    image = pixels("Z", (4,), "float32")
    image[1, 2, 3], image[2, 0, 0] = np.nan, np.inf
    path = tmp_path / "nan.tif"
    tifffile.imwrite(path, image, photometric="minisblack")
    with pytest.raises(StackRefusedError, match="NaN or infinite values in 2 voxels"):
        read_all(path)
