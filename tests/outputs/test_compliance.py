"""Every output keeps what the seam promises; and the suite notices one that does not."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import tifffile

from live_restore.files.publish import publish_text
from live_restore.outputs.ome_tiff import OmeTiffOutput, writing_ome_tiff
from live_restore.outputs.ome_zarr import OmeZarrOutput
from live_restore.outputs.output import (
    FinishedStack,
    Output,
    Publication,
    Published,
    ResultPath,
    ResultRequest,
    Verify,
)
from live_restore.outputs.report import Report
from live_restore.outputs.table import OF_FILES, OUTPUTS, is_own_result, output_of_acquisitions
from live_restore.settings.output import OutputSettings
from live_restore.stack import StackIndex, Volume, VoxelSize
from live_restore.testing.outputs import OutputCompliance
from live_restore.testing.results import Described


class TestOmeTiff(OutputCompliance):
    def output(self) -> Output:
        return OmeTiffOutput()

    def read(self, image: Path, index: StackIndex) -> Volume:
        with tifffile.TiffFile(image, _multifile=False) as tif:
            series = tif.series[index.position]
            volume = series.asarray()
            return volume[index.time, index.channel] if volume.ndim == 5 else volume

    def described(self, image: Path) -> Described:
        import ome_types

        pixels = ome_types.from_tiff(image).images[0].pixels
        voxel = VoxelSize(pixels.physical_size_z, pixels.physical_size_y, pixels.physical_size_x)
        return Described(voxel, tuple(str(channel.name) for channel in pixels.channels))


@pytest.mark.usefixtures("zarr")
class TestOmeZarr(OutputCompliance):
    takes_files = False
    grows = True

    def output(self) -> Output:
        return OmeZarrOutput()

    def read(self, image: Path, index: StackIndex) -> Volume:
        import zarr

        return np.asarray(zarr.open_array(image / "0", mode="r")[index.time, index.channel])

    def described(self, image: Path) -> Described:
        import zarr

        ome = zarr.open_group(image, mode="r").attrs["ome"]
        (scale,) = ome["multiscales"][0]["datasets"][0]["coordinateTransformations"]
        names = tuple(channel["label"] for channel in ome["omero"]["channels"])
        return Described(VoxelSize(*scale["scale"][2:]), names)


def test_the_settings_offer_what_is_in_the_table() -> None:
    (choices,) = (
        get_args(field.annotation)
        for field in OutputSettings.model_fields.values()
        if OF_FILES in get_args(field.annotation)
    )
    assert set(choices) == set(OUTPUTS)
    assert isinstance(output_of_acquisitions(OutputSettings()), OmeTiffOutput)


def test_a_result_of_any_output_is_known_as_one(tmp_path: Path) -> None:
    suite = TestOmeTiff()
    image = suite.publish(suite.stack_request(tmp_path), np.ones((3, 5, 6), np.uint16)).image
    assert is_own_result(image)
    assert not is_own_result(tmp_path)


# Broken outputs, each caught -------------------------------------------------------------------


class InPlace(Publication):
    """Gives the final name first, and writes plane by plane."""

    def __init__(self, request: ResultRequest, result_path: ResultPath, verify: Verify) -> None:
        self.path, self.verify = result_path, verify
        self.report = Report(request, result_path.image.name)
        result_path.image.parent.mkdir(parents=True, exist_ok=True)
        self.exits = ExitStack()
        self.writer = self.exits.enter_context(
            writing_ome_tiff(result_path.image, request.file_stacks, result_path.token)
        )

    def take(self, stack: FinishedStack) -> None:
        self.writer.write(stack.index, stack.volume)
        self.report.add(stack)

    def close(self) -> Published:
        self.exits.close()
        self.report.warnings += self.verify()
        self.path.report.unlink(missing_ok=True)
        return self.report.publish(self.path)

    def abandon(self) -> None:
        self.exits.close()


class WritesInPlace(OmeTiffOutput):
    """Never writes aside."""

    def begin(
        self, request: ResultRequest, result_path: ResultPath, verify: Verify = tuple
    ) -> Publication:
        return InPlace(request, result_path, verify)


class TakesAnyName(OmeTiffOutput):
    """Takes the plain name, whoever has it."""

    def choose(self, request: ResultRequest) -> ResultPath:
        name = request.file_stacks.path.name
        folder = request.file_stacks.path.parent.with_name("out")
        image = folder / f"{name}.ome.tif"
        return ResultPath(image, folder / f"{name}.json", "0" * 16, image.exists())


class ForgetsItsReport(OmeTiffOutput):
    """Has the report there before the image."""

    def begin(
        self, request: ResultRequest, result_path: ResultPath, verify: Verify = tuple
    ) -> Publication:
        publish_text(result_path.report, Report(request, result_path.image.name).to_json())
        return super().begin(request, result_path, verify)


def compliance_of(broken: type[OmeTiffOutput]) -> TestOmeTiff:
    class OfBroken(TestOmeTiff):
        def output(self) -> Output:
            return broken()

    return OfBroken()


def test_an_output_that_writes_in_place_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = compliance_of(WritesInPlace)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        suite.test_what_does_not_read_back_is_not_published(tmp_path / "a", monkeypatch)
    with pytest.raises(AssertionError):
        suite.test_a_crash_before_it_is_published_leaves_no_name(tmp_path / "b", "between stacks")
    with pytest.raises(AssertionError):
        read_while_written(suite, tmp_path / "c", monkeypatch)


def read_while_written(
    suite: OutputCompliance, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Look more than once: whether a reader meets a half-written file is up to chance."""
    for attempt in range(20):
        suite.test_a_reader_never_sees_a_part_of_a_stack(folder / str(attempt), monkeypatch)


def test_an_output_that_takes_any_name_is_noticed(tmp_path: Path) -> None:
    suite = compliance_of(TakesAnyName)
    with pytest.raises(AssertionError):
        suite.test_another_recipe_takes_another_name(tmp_path / "a")
    with pytest.raises(AssertionError):
        suite.test_what_is_not_ours_is_never_overwritten(tmp_path / "b", "image", "before")


def test_an_output_whose_report_is_there_too_early_is_noticed(tmp_path: Path) -> None:
    with pytest.raises(AssertionError):
        compliance_of(ForgetsItsReport).test_a_crash_before_it_is_published_leaves_no_name(
            tmp_path, "between stacks"
        )
