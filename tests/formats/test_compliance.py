"""Every format of ours keeps what is asked of plug-ins."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import pytest

from live_restore.formats.acquisition_format import AcquisitionFormat
from live_restore.formats.file_format import FileFormat
from live_restore.formats.micromanager.image_stack_file import MmStackFormat
from live_restore.formats.micromanager.ndtiff import NdTiffFormat
from live_restore.formats.micromanager.separate_images import MmSeriesFormat
from live_restore.formats.plane_files.plane_format import PlaneFilesFormat
from live_restore.formats.table import ACQUISITION_FORMATS, FILE_FORMATS
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.formats.vendor.vendor_format import VendorFormat
from live_restore.formats.zarr.ome_zarr import OmeZarrFormat
from live_restore.testing.formats import (
    AcquisitionFormatCompliance,
    AcquisitionSample,
    FileFormatCompliance,
    FileSample,
)
from tests.support import plane_files, vendor_files
from tests.support.growing import (
    declared_at_the_end,
    declared_at_the_start,
    grow_ndtiff,
    grow_python_ndtiff,
    grow_series,
    grow_stack_file,
    grow_zarr,
    page_by_page,
    planes_of_one_value,
)
from tests.support.tiffs import BY_NAME, Case


class TestTiff(FileFormatCompliance):
    def make_format(self) -> TiffFormat:
        return TiffFormat()

    def samples(self) -> Sequence[FileSample]:
        names = (
            "plain", "plain_tiles", "shaped_bigtiff_be", "shaped_series", "deflate_tiles",
            "lzw_strips", "zstd_be", "float_predictor_be", "imagej_zcyx", "imagej_one_ifd",
            "imagej_tzcyx", "ome_zyx", "ome_positions",
        )  # fmt: skip
        return [_sample(BY_NAME[name]) for name in names]


def _sample(case: Case) -> FileSample:
    suffix = ".ome.tif" if case.name.startswith("ome") else ".tif"
    return FileSample(
        case.name + suffix,
        lambda path: case.write(path, case.image()),
        case.truth(),
        {
            "plain": page_by_page,
            "ome_zyx": declared_at_the_end,
            "imagej_tzcyx": declared_at_the_start,
        }.get(case.name),
    )


@pytest.mark.slow  # a child process for each of some hundred looks
class TestVendor(FileFormatCompliance):
    def make_format(self) -> FileFormat:
        return VendorFormat()

    def samples(self) -> Sequence[FileSample]:
        return [
            FileSample("cell.stk", vendor_files.write_stk, vendor_files.truth(1, 1, 1)),
            FileSample("cell.ims", vendor_files.write_imaris, vendor_files.truth()),
        ]


class TestMmStack(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return MmStackFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [AcquisitionSample("run_1", grow_stack_file, planes_of_one_value())]


class TestNdTiff(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return NdTiffFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [
            AcquisitionSample("run_1", grow_ndtiff, planes_of_one_value()),
            AcquisitionSample("python_1", grow_python_ndtiff, planes_of_one_value()),
        ]


class TestPlaneFiles(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return PlaneFilesFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [
            AcquisitionSample(
                program,
                partial(plane_files.grow, name=plane_files.NAMINGS[program], channels=1),
                plane_files.truth(channels=1),
                ended=None,
                declared=False,
            )
            for program in ("generic", "metaxpress")
        ]


class TestMmSeries(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return MmSeriesFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [AcquisitionSample("run_1", grow_series, planes_of_one_value())]


class TestOmeZarr(AcquisitionFormatCompliance):
    def make_format(self) -> AcquisitionFormat:
        return OmeZarrFormat()

    def samples(self) -> Sequence[AcquisitionSample]:
        return [AcquisitionSample("run_1", grow_zarr, planes_of_one_value(), ended=None)]


def test_every_format_of_the_tables_is_here() -> None:
    suites = (
        TestTiff, TestVendor, TestMmStack, TestNdTiff, TestMmSeries, TestPlaneFiles, TestOmeZarr
    )  # fmt: skip
    assert {suite().make_format().name for suite in suites} == {*FILE_FORMATS, *ACQUISITION_FORMATS}
