"""Which camera recorded a stack, and what the result says about it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine.one_shot import OneShot
from live_restore.formats.table import acquisition_format_for, make_acquisition_formats
from live_restore.inference.cameras import CameraChoice
from live_restore.inference.model_set import ModelSet
from live_restore.recording import ChannelMetadata, ImageMetadata
from live_restore.settings.load import load_settings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from tests.support.fakes import a_dataset

NUMBERS = {"gain_adu_per_e": 2, "offset_adu": 100, "read_noise_e": 1.6}
OTHER = {"gain_adu_per_e": 0.5, "offset_adu": 400, "read_noise_e": 1.1}
DEVICE = {"inference": {"device": "cpu", "threads": 1}}


def chosen(
    cameras: list[dict[str, Any]], serials: tuple[str, ...] = (), channel: int = 0, **more: Any
) -> CameraChoice | None:
    named = [{**NUMBERS, **each} for each in cameras]
    models = ModelSet.load(load_settings(None, {"cameras": named, **DEVICE, **more}))
    metadata = ImageMetadata((), tuple(ChannelMetadata(camera_serial=s) for s in serials))
    stacks = a_dataset(channels=2, channel_names=("GFP", "RFP"), metadata=metadata)
    return models.camera_of(stacks, [channel])


def used(choice: CameraChoice | None) -> str:
    assert choice is not None
    return choice.camera.described if choice.camera is not None else choice.unknown_because


@pytest.mark.parametrize(
    ("cameras", "serials", "said"),
    [
        ([{"serial": "A"}, {"serial": "B"}], ("B", "A"), 'serial "B"'),
        ([{"serial": "A"}, {"serial": "B"}], (), "two of [[cameras]] could be meant"),
        ([{"serial": "A"}, {"serial": "B"}], ("C",), 'has the serial number "C"'),
        ([{"serial": "A"}, {}], ("C",), 'channels "*"'),
        ([{"serial": "A"}], (), 'serial "A"'),
        ([{"channels": ["RFP"]}, {"channels": ["GF*"]}], (), 'channels "GF*"'),
        ([{"channels": ["RFP"]}, {"channels": [0]}], (), 'channels "0"'),
        ([{"channels": ["RFP"]}], (), 'records the channel "GFP"'),
        ([{}, {"channels": ["GFP"]}], (), 'channels "GFP"'),
        ([{"channels": ["**"]}, {"channels": ["*", "GFP"]}], (), '[[cameras]] channels "*", "GFP"'),
        ([{"channels": ["**"]}, {"channels": ["*", "RFP"]}], (), "two of [[cameras]]"),
        ([{}, {}], (), "two of [[cameras]] could be meant"),
        ([{"channels": ["GFP"]}, {"channels": ["gfp"]}], (), "two of [[cameras]]"),
        ([{"serial": "A", "channels": ["GFP"]}, {"serial": "A"}], ("A",), 'channels "GFP"'),
        ([{"serial": "A", "channels": ["RFP"]}, {"serial": "A"}], ("A",), 'channels "*"'),
    ],
)
def test_it_is_the_one_that_belongs_to_the_stack(
    cameras: list[dict[str, Any]], serials: tuple[str, ...], said: str
) -> None:
    assert said in used(chosen(cameras, serials))


def test_the_one_of_all_is_for_what_no_other_is_for() -> None:
    assert used(chosen([{"serial": "A"}], ("A",), camera=NUMBERS)) != "[camera]"
    assert used(chosen([{"serial": "A"}], ("B",), camera=NUMBERS)) == "[camera]"
    assert "could be meant" in used(chosen([{"serial": "A"}], (), camera=NUMBERS))
    assert used(chosen([], ("B",), camera=NUMBERS)) == "[camera]"
    assert chosen([]) is None


def test_which_is_which_is_part_of_the_recipe() -> None:
    def recipe(*cameras: dict[str, Any]) -> str:
        named = [{**NUMBERS, **each} for each in cameras]
        return ModelSet.load(load_settings(None, {"cameras": named, **DEVICE})).recipe

    found = [recipe(), recipe({}), recipe({"serial": "A"}), recipe({"channels": ["GFP"]}),
             recipe({}, {"serial": "A"})]  # fmt: skip
    assert len(set(found)) == len(found)


def test_each_channel_is_restored_with_its_own_and_the_report_names_it(tmp_path: Path) -> None:
    """The noise of each is that of its numbers; with those of the other, it would not be."""
    cameras = [Camera(**each) for each in (NUMBERS, OTHER)]
    image = np.stack(
        [LivingCell(shape_zyx=(12, 64, 64), peak_e=30, camera=c).exposed(0) for c in cameras]
    )
    tifffile.imwrite(
        tmp_path / "cell.ome.tif", image, photometric="minisblack", ome=True,
        metadata={"axes": "CZYX", "Channel": {"Name": ["GFP", "RFP"]}},
    )  # fmt: skip
    several = [{**NUMBERS, "channels": ["GFP"]}, {**OTHER, "channels": ["RFP"]}]
    every = {"trust": {"every": 1}}
    right = restored(tmp_path / "cell.ome.tif", tmp_path / "right", cameras=several, **every)
    lines = report_of(right)["stacks"]
    assert [line["camera"]["used"] for line in lines] == [
        '[[cameras]] channels "GFP"', '[[cameras]] channels "RFP"',
    ]  # fmt: skip
    assert [line["camera"]["gain_adu_per_e"] for line in lines] == [2, 0.5]
    as_set = [line["gain_over_raw"]["noise_as_set"] for line in lines]
    assert as_set == pytest.approx([1, 1], abs=0.08)
    for number, numbers in enumerate((NUMBERS, OTHER)):
        alone = restored(tmp_path / "cell.ome.tif", tmp_path / str(number), camera=numbers)
        assert np.array_equal(tifffile.imread(alone)[number], tifffile.imread(right)[number])
        assert report_of(alone)["stacks"][number]["camera"]["used"] == "[camera]"


def test_where_two_could_be_meant_none_is_used(tmp_path: Path) -> None:
    raw = LivingCell(shape_zyx=(6, 48, 48)).exposed(0)
    tifffile.imwrite(
        tmp_path / "cell.ome.tif", raw, photometric="minisblack", ome=True,
        metadata={"axes": "ZYX"},
    )  # fmt: skip
    cameras = [{**NUMBERS, "serial": "A"}, {**OTHER, "serial": "B"}]
    image = restored(tmp_path / "cell.ome.tif", tmp_path / "out", cameras=cameras)
    report = report_of(image)
    (line,) = report["stacks"]
    assert "two of [[cameras]] could be meant" in line["camera"]["not_known_because"]
    assert "gain_over_raw" not in line
    assert "given_back" not in line
    assert any("its camera is not known" in note for note in report["notes"])


def restored(path: Path, output: Path, **settings: Any) -> Path:
    template = {"output": {"template": f"{output.as_posix()}/{{name}}.ome.tif"}}
    chosen = load_settings(None, {**DEVICE, **template, **settings})
    return OneShot(ModelSet.load(chosen), chosen).restore(path).image


def report_of(image: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(image.with_name("cell.json").read_text(encoding="utf-8"))
    return found


def test_a_real_camera_is_known_by_its_serial_number(shared_data: Path) -> None:
    """Micro-Manager writes it as a property of the device, and in the OME-XML."""
    from live_restore.calibration.frames import recorded_by

    folder = shared_data / "micromanager" / "mmstack_zyla"
    assert recorded_by(next(folder.glob("*.tif"))).serial == "VSC-01583"
    formats = make_acquisition_formats()
    found = acquisition_format_for(folder, formats)
    assert found is not None
    assert found.follow(folder).poll().info.camera_serials == ("VSC-01583",)
