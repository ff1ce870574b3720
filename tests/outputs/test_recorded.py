"""How planes were recorded: from every source into OME-XML, as ome-types reads it, and back."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import ome_types
import pytest
import tifffile

from live_restore.engine.one_shot import OneResult, OneShot
from live_restore.formats.tiff.tiff_format import TiffFormat
from live_restore.outputs import recorded
from live_restore.outputs.ome_tiff import read_token, writing_ome_tiff
from live_restore.outputs.recorded import ome_metadata, planes_in_report
from live_restore.recording import ChannelMetadata, ImageMetadata, PlaneMetadata
from live_restore.settings.load import load_settings
from live_restore.stack import StackIndex
from tests.support.fakes import a_dataset, fake_shelf
from tests.support.identity import restore
from tests.support.small_runs import RUNS
from tests.support.tiffs import complete, pixels

TOKEN = "0123456789abcdef"


def planes_of(position: int, time: int, channel: int) -> tuple[PlaneMetadata, ...]:
    """Return three planes no two of which are alike."""
    at = 100.0 * position + 10.0 * time + channel
    return tuple(PlaneMetadata(at + z / 4, 0.01 * (channel + 1), at, -at, z / 2) for z in range(3))


METADATA = ImageMetadata(
    acquired=("2024-03-01T22:15:00", "2024-03-01T22:16:30.250000+01:00"),
    channels=(ChannelMetadata((0, 255, 0, 255), 525.0, 488.0), ChannelMetadata(None, 640.5)),
    planes={(p, t, c): planes_of(p, t, c) for p in range(2) for t in range(2) for c in range(2)},
)


@pytest.mark.parametrize("axes", ["TCZYX", "TZCYX", "CTZYX", "ZTCYX"])
def test_all_of_it_comes_back_in_every_order_of_axes(tmp_path: Path, axes: str) -> None:
    stacks = a_dataset(axes=axes, positions=2, times=2, channels=2, channel_names=("a", "b"),
                       metadata=METADATA)  # fmt: skip
    path = tmp_path / "result.ome.tif"
    with writing_ome_tiff(path, stacks, TOKEN) as writer:
        for index in stacks.indices():
            writer.write(index, np.ones(stacks.shape_zyx, np.uint16))
    with tifffile.TiffFile(path) as tif:
        assert tif.ome_metadata is not None
        ome = ome_types.from_xml(tif.ome_metadata, validate=False)
    second = ome.images[1]
    assert second.acquisition_date is not None
    assert second.acquisition_date.isoformat() == "2024-03-01T22:16:30.250000+01:00"
    green, red = second.pixels.channels
    assert (green.color.as_rgb_tuple(), green.emission_wavelength, green.excitation_wavelength) == (
        (0, 255, 0), 525, 488,
    )  # fmt: skip
    assert (red.emission_wavelength, red.excitation_wavelength) == (640.5, None)
    for position, image in enumerate(ome.images):
        for plane in image.pixels.planes:
            wanted = planes_of(position, plane.the_t, plane.the_c)[plane.the_z]
            assert (plane.delta_t, plane.exposure_time) == wanted[:2]
            assert (plane.position_x, plane.position_y, plane.position_z) == wanted[2:5]
            assert plane.position_x_unit.value == "µm"
    # And what this program reads of its own XML is the same.
    raw = tmp_path / "raw.ome.tif"
    with tifffile.TiffWriter(raw, ome=True) as writer_:
        for position in range(2):
            shape = [{"T": 2, "C": 2, "Z": 3, "Y": 5, "X": 6}[axis] for axis in axes]
            writer_.write(
                np.ones(shape, np.uint16), photometric="minisblack",
                metadata=ome_metadata(stacks, position),
            )  # fmt: skip
    found = TiffFormat().inspect(raw)
    assert found is not None
    assert found.file_stacks.metadata == METADATA  # type: ignore[union-attr]


def test_positions_without_metadata_say_nothing() -> None:
    stacks = a_dataset(positions=2, metadata=ImageMetadata(planes={(1, 0, 0): planes_of(1, 0, 0)}))
    assert "Plane" not in ome_metadata(stacks, 0)
    assert len(ome_metadata(stacks, 1)["Plane"]) == 3
    assert planes_in_report(stacks, StackIndex(0, 0, 0)) == {}


@pytest.mark.parametrize("at", [0, 2**20 - 40, 12 * 2**20, 2**25])
def test_an_identity_behind_a_long_xml_is_found(tmp_path: Path, at: int) -> None:
    path = tmp_path / "result.ome.tif"
    path.write_bytes(bytes(at) + b"live-restore 1.0 (result " + TOKEN.encode() + b")\0" + bytes(9))
    assert read_token(path) == (TOKEN if at < 2**25 else None)


def test_planes_are_described_one_by_one_up_to_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    stacks = a_dataset(metadata=METADATA)
    assert len(ome_metadata(stacks, 0)["Plane"]) == 3
    monkeypatch.setattr(recorded, "MOST_PLANES", 2)
    assert "Plane" not in ome_metadata(stacks, 0)
    assert planes_in_report(stacks, StackIndex())["delta_t_s"] == [0, 0.25, 0.5]


def restored_run(name: str, folder: Path) -> list[tuple[ome_types.OME, dict[str, Any]]]:
    run = folder / "run_1"
    run.mkdir()
    RUNS[name][1](run)
    found = []
    for attempt in OneShot(fake_shelf(lambda tile: tile * 0.5), load_settings()).restore_all(run):
        if isinstance(attempt, OneResult):
            with tifffile.TiffFile(attempt.image) as tif:
                assert tif.ome_metadata is not None
                ome = ome_types.from_xml(tif.ome_metadata)
            found.append((ome, json.loads(attempt.report.read_text())))
    return found


def test_micro_manager_says_where_planes_were_taken(tmp_path: Path) -> None:
    results = restored_run("mm-stack", tmp_path)
    assert len(results) == 2
    for ome, report in results:
        planes = ome.images[0].pixels.planes
        assert [(p.position_z, p.position_z_unit.value) for p in planes] == [
            (0.5, "µm"), (1.0, "µm"), (1.5, "µm"),
        ]  # fmt: skip
        assert report["stacks"][0]["planes"] == {"z": [0.5, 1.0, 1.5], "stage_unit": "um"}


def test_an_acquisition_that_says_only_how_long_it_was_exposed(tmp_path: Path) -> None:
    results = restored_run("ndtiff-python", tmp_path)
    assert results
    for ome, report in results:
        assert [p.exposure_time for p in ome.images[0].pixels.planes] == [0.02] * 3
        assert report["stacks"][0]["planes"] == {"exposure_s": [0.02] * 3}


@pytest.mark.parametrize("date", ["yesterday", "2024-13-41T25:61:61", "2024-03-01", "<x/>"])
def test_what_is_no_date_is_left_out(tmp_path: Path, date: str) -> None:
    path = tmp_path / "a.ome.tif"
    tifffile.imwrite(path, pixels("Z", (4,)), ome=True, photometric="minisblack",
                     metadata={"axes": "ZYX", "AcquisitionDate": date})  # fmt: skip
    assert complete(path).file_stacks.metadata.acquired == ()
    assert restore(path).ome.images[0].acquisition_date is None


def test_places_in_units_that_nobody_knows_are_no_micrometres(tmp_path: Path) -> None:
    path = tmp_path / "a.ome.tif"
    plane = {"PositionX": [1.0] * 4, "PositionXUnit": ["pixel"] * 4, "PositionZ": [2.0] * 4,
             "PositionZUnit": ["mm"] * 4}  # fmt: skip
    tifffile.imwrite(path, pixels("Z", (4,)), ome=True, photometric="minisblack",
                     metadata={"axes": "ZYX", "Plane": plane})  # fmt: skip
    found = complete(path).file_stacks.metadata.planes[0, 0, 0][0]
    assert (found.x, found.z, found.stage_unit) == (None, 2000.0, "um")


def test_real_micro_manager_metadata_are_kept(shared_data: Path, tmp_path: Path) -> None:
    packed = min((shared_data / "micromanager/mmstack_1.4").glob("*.tif.gz"))
    path = tmp_path / "run" / packed.name.removesuffix(".gz")
    path.parent.mkdir()
    path.write_bytes(gzip.decompress(packed.read_bytes()))
    found = complete(path).file_stacks
    assert found.metadata.acquired == ("2016-02-11T17:00:16",)
    assert found.time_increment_s == 5.0
    assert [each.rgba for each in found.metadata.channels] == [(255, 255, 0, 0), (255, 0, 255, 0)]
