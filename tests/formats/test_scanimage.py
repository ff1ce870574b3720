"""ScanImage's files: which plane is which, by the settings that it writes into them.

The files are of our own writing, as ScanImage's documentation tells; no real one was at hand.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray

from live_restore.errors import StackRefusedError
from live_restore.formats.file_format import Arriving
from live_restore.stack import StackIndex, VoxelSize
from tests.support.identity import restore
from tests.support.tiffs import TIFF, complete, pixels, read_all

FAST = {
    "hChannels.channelName": "{'Green' 'Red' 'Far red'}",
    "hChannels.channelSave": "[1;3]",
    "hFastZ.enable": "true",
    "hStackManager.enable": "true",
    "hStackManager.framesPerSlice": "1",
    "hStackManager.numSlices": "4",
    "hStackManager.numVolumes": "3",
    "hStackManager.numFramesPerVolume": "4",
    "hStackManager.numFramesPerVolumeWithFlyback": "5",
    "hStackManager.stackZStepSize": "-2.5",
    "hRoiManager.scanVolumeRate": "0.5",
    "hScan2D.logAverageFactor": "1",
    "hScan2D.logFramesPerFile": "Inf",
}
"""Three volumes of four slices and one frame of the way back, in two channels."""
SLOW = FAST | {
    "hChannels.channelSave": "1",
    "hFastZ.enable": "false",
    "hStackManager.framesPerSlice": "6",
    "hScan2D.logAverageFactor": "3",
    "hStackManager.numVolumes": "1",
}
"""A stack of four slices, six frames each, of which three are averaged before they are logged."""


def write(
    path: Path, planes: NDArray[np.generic], settings: dict[str, str], first_frame: int = 1
) -> Path:
    """Write planes as ScanImage does, its settings in the Software tag."""
    software = "".join(f"SI.{name} = {value}\n" for name, value in settings.items())
    with tifffile.TiffWriter(path, bigtiff=True) as tif:
        for number, plane in enumerate(planes):
            tif.write(
                plane,
                contiguous=False,
                metadata=None,
                photometric="minisblack",
                software=software,
                description=f"frameNumbers = {first_frame + number // 2}\nacquisitionNumbers = 1\n",
                resolution=(25_000, 20_000),
                resolutionunit="CENTIMETER",
            )
    return path


def test_a_fast_stack(tmp_path: Path) -> None:
    image = pixels("TZC", (3, 5, 2), "int16")
    path = write(tmp_path / "run_00001.tif", image.reshape(-1, *image.shape[-2:]), FAST)
    found = complete(path)
    assert found.declared
    stacks = found.file_stacks
    assert (stacks.axes, stacks.times, stacks.channels) == ("TZCYX", 3, 2)
    assert stacks.channel_names == ("Green", "Far red")
    assert stacks.time_increment_s == 2
    assert stacks.voxel == VoxelSize(2.5, 0.5, 0.4)
    assert any("1 frames of the way back" in note for note in stacks.notes)
    assert np.array_equal(read_all(path)[0], image[:, :4].swapaxes(1, 2))


def test_frames_of_a_slice_are_time_points(tmp_path: Path) -> None:
    image = pixels("ZT", (4, 2), "int16")
    path = write(tmp_path / "run.tif", image.reshape(-1, *image.shape[-2:]), SLOW)
    assert np.array_equal(read_all(path)[0, :, 0], image.swapaxes(0, 1))


def test_settings_in_the_description(tmp_path: Path) -> None:
    """Version 5 wrote them there, and called its way back otherwise."""
    settings = FAST | {"hFastZ.numFramesPerVolume": "5", "hFastZ.numVolumes": "3"}
    for name in ("numVolumes", "numFramesPerVolume", "numFramesPerVolumeWithFlyback"):
        del settings[f"hStackManager.{name}"]
    text = "".join(f"scanimage.SI.{name} = {value}\n" for name, value in settings.items())
    image = pixels("TZC", (3, 5, 2), "int16")
    path = tmp_path / "old.tif"
    with tifffile.TiffWriter(path) as tif:
        for plane in image.reshape(-1, *image.shape[-2:]):
            tif.write(plane, contiguous=False, metadata=None, description=text)
    assert np.array_equal(read_all(path)[0], image[:, :4].swapaxes(1, 2))


def test_a_run_that_was_stopped_gives_its_whole_volumes(tmp_path: Path) -> None:
    image = pixels("TZC", (3, 5, 2), "int16")
    planes = image.reshape(-1, *image.shape[-2:])[:17]
    found = TIFF.inspect(write(tmp_path / "run.tif", planes, FAST))
    assert isinstance(found, Arriving)
    assert "17 of 30 planes" in found.reason
    assert found.stacks is not None
    # Of the second volume, all planes of the first channel are there.
    assert [(index.time, index.channel) for index in found.stacks.whole] == [(0, 0), (0, 1), (1, 0)]


def test_unlimited_volumes(tmp_path: Path) -> None:
    """Who runs until he presses Abort declares nothing: what is there in whole volumes counts."""
    settings = FAST | {"hStackManager.numVolumes": "Inf"}
    image = pixels("TZC", (3, 5, 2), "int16")
    planes = image.reshape(-1, *image.shape[-2:])
    found = complete(write(tmp_path / "run.tif", planes[:27], settings))
    assert not found.declared
    assert found.file_stacks.times == 2
    assert any("last 7 planes" in text for text in found.file_stacks.assumptions)
    assert isinstance(TIFF.inspect(write(tmp_path / "few.tif", planes[:9], settings)), Arriving)


def test_later_files_of_a_run(tmp_path: Path) -> None:
    settings = FAST | {"hScan2D.logFramesPerFile": "10"}
    planes = pixels("I", (20,), "int16")
    assert complete(write(tmp_path / "1.tif", planes, settings)).declared
    last = complete(write(tmp_path / "2.tif", planes[:10], settings, first_frame=11))
    assert (last.declared, last.file_stacks.times) == (True, 1)
    with pytest.raises(StackRefusedError, match="begins with frame 9, within a volume of 5"):
        TIFF.inspect(write(tmp_path / "3.tif", planes, settings, first_frame=9))


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"hStackManager.numSlices": "1"}, "without a Z axis"),
        ({"hFastZ.enable": "false", "hStackManager.enable": "false"}, "without a Z axis"),
        ({"hStackManager.numSlices": "4.5"}, "does not say how many"),
        ({"hStackManager.numSlices": "99999999999"}, "does not say how many"),
        ({"hChannels.channelSave": "[]"}, "does not say how many"),
        ({"hChannels.channelSave": "0"}, "does not say how many"),
        ({"hStackManager.numVolumes": "1", "hScan2D.logFramesPerFile": "2"}, "fewer than the 10"),
    ],
)
def test_what_is_refused(tmp_path: Path, changed: dict[str, str], reason: str) -> None:
    path = write(tmp_path / "run.tif", pixels("I", (30,), "int16"), FAST | changed)
    with pytest.raises(StackRefusedError, match=reason):
        TIFF.inspect(path)


def test_numbers_that_no_microscope_has_are_unknown(tmp_path: Path) -> None:
    odd = FAST | {"hRoiManager.scanVolumeRate": "-3", "hStackManager.stackZStepSize": "1e-320"}
    path = write(tmp_path / "run.tif", pixels("I", (30,), "int16"), odd)
    stacks = complete(path).file_stacks
    assert (stacks.time_increment_s, stacks.voxel.z_um) == (None, None)


def test_a_run_stopped_on_the_way_back_is_whole(tmp_path: Path) -> None:
    """Nothing of a stack is missing, so that nobody waits for it, and nobody loses one."""
    planes = pixels("I", (29,), "int16")
    path = write(tmp_path / "run.tif", planes, FAST)
    found = TIFF.inspect(path)
    assert isinstance(found, Arriving)
    assert found.stacks is not None
    assert len(found.stacks.whole) == 6
    with TIFF.open(found.stacks.file_stacks) as reader:
        assert np.array_equal(reader.read(StackIndex(0, 2, 0)), planes[20:28:2])
    assert restore(path).images[0].shape[0] == 3


def test_versions_before_5_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "old.tif"
    tifffile.imwrite(
        path, pixels("I", (6,), "int16"), description="scanimage.SI4.x = 1", metadata=None
    )
    with pytest.raises(StackRefusedError, match="ScanImage file"):
        TIFF.inspect(path)


def test_negative_values_come_back(tmp_path: Path) -> None:
    """The zero of a photomultiplier's amplifier lies in the middle of its noise."""
    planes = (pixels("I", (30,), "int16") - np.int16(60)).astype(np.int16)
    result = restore(write(tmp_path / "run.tif", planes, FAST))
    (image,) = result.images
    assert image.dtype == np.int16
    expected = planes.reshape(3, 5, 2, *planes.shape[1:])[:, :4]
    assert np.array_equal(
        image.reshape(-1), np.moveaxis(expected, 2, result.axes.index("C")).reshape(-1)
    )
