"""The report: what must stand in it, and numbers that are right."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from live_restore.outputs.report import REPORT_FORMAT, Report, StackOutcome, image_statistics
from live_restore.stack import FileStacks, Units, VoxelSize
from tests.support.fakes import a_dataset, fake_restorer


def reported(dataset: FileStacks, *outcomes: StackOutcome, **times: float) -> dict[str, Any]:
    report = Report(dataset, "recipe", "settings", "raw.ome.tif")
    for outcome in outcomes:
        report.add(outcome, dataset.channel_name(outcome.index.channel))
    return dict(json.loads(report.to_json(**times)))


def raw_stack(dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(2).integers(10, 200, (3, 5, 6)).astype(dtype)


def restored_outcome(dataset: FileStacks, warning: str = "") -> StackOutcome:
    restorer = fake_restorer(lambda tile: tile - 100)
    object.__setattr__(restorer.model.session.device, "warning", warning)
    raw = raw_stack()
    return StackOutcome(dataset.indices()[0], raw, restorer.restore(raw), restorer.model, "", 0.25)


def test_a_restored_stack() -> None:
    dataset = a_dataset(channel_names=("GFP",), voxel=VoxelSize(0.3, 0.1, 0.1), notes=("axis I",))
    outcome = restored_outcome(dataset, warning="running on the CPU: no GPU")
    said = reported(dataset, outcome, write=1.5)
    assert said["format"] == REPORT_FORMAT
    assert said["software"].startswith("live-restore ")
    assert said["source"]["name"] == "raw.tif"
    assert (said["source"]["size"], said["source"]["mtime_ns"]) == tuple(dataset.fingerprint)
    assert said["source"]["voxel_um"] == {"z": 0.3, "y": 0.1, "x": 0.1}
    assert said["source"]["notes"] == ["axis I"]
    assert (said["result"], said["recipe"]) == ("raw.ome.tif", "recipe")
    assert said["settings_digest"] == "settings"
    model = said["models"]["fake"]
    assert model["sha256"] == "0" * 64
    assert model["device"]["provider"] == "fake CPUExecutionProvider"
    (stack,) = said["stacks"]
    assert stack["restored"] is True
    assert stack["channel_name"] == "GFP"
    assert outcome.restored is not None
    scale = outcome.restored.scale
    assert stack["intensity_scale_adu"] == [scale.low_adu, scale.high_adu]
    assert stack["before"]["mean"] == pytest.approx(raw_stack().mean())
    assert stack["after"]["max"] == 0
    assert stack["clipped_voxels"] == 90
    assert said["seconds"]["read"] == 0.25
    assert said["seconds"]["write"] == 1.5
    assert {"normalise", "network", "finish"} <= set(said["seconds"])
    assert any("90 voxels lay outside uint16 and were clipped" in w for w in said["warnings"])
    assert "running on the CPU: no GPU" in said["warnings"]


def test_tiles_that_had_to_be_smaller_and_the_device_of_each_stack() -> None:
    dataset, outcome = a_dataset(), restored_outcome(a_dataset())
    assert outcome.restored is not None
    reduced = replace(outcome.restored, tiles_reduced="tiles of (3, 5, 6) did not fit")
    said = reported(dataset, replace(outcome, restored=reduced))
    (stack,) = said["stacks"]
    assert stack["tiles"]["reduced_because"] == "tiles of (3, 5, 6) did not fit"
    assert stack["device"] == "cpu"
    assert "reduced_because" not in reported(dataset, outcome)["stacks"][0]["tiles"]


def test_a_sharpened_result_says_once_that_it_is_partly_a_guess() -> None:
    dataset = a_dataset()
    outcome = restored_outcome(dataset)
    assert outcome.model is not None
    assert reported(dataset, outcome)["notes"] == []
    sharpening = outcome.model.card.model_copy(update={"truth_psf_width": 0.5})
    object.__setattr__(outcome.model, "card", sharpening)
    (note,) = reported(dataset, outcome, outcome)["notes"]
    assert "0.5 times as wide" in note
    assert "guess" in note


@pytest.mark.parametrize(
    ("noise_adu", "units", "noted"),
    [(4, "camera", True), (40, "camera", False), (4, "camera-float", False)],
)
def test_where_whole_grey_values_are_coarse_a_note_says_so(
    noise_adu: float, units: Units, noted: bool
) -> None:
    dataset, restorer = a_dataset(), fake_restorer(lambda tile: tile, units=units)
    raw = np.random.default_rng(3).normal(1000, noise_adu, (3, 40, 40)).astype(np.uint16)
    outcome = StackOutcome(dataset.indices()[0], raw, restorer.restore(raw), restorer.model)
    report = Report(dataset, "recipe", "settings", "raw.ome.tif", units)
    report.add(outcome, "GFP")
    report.add(outcome, "GFP")
    assert ['output.units = "camera-float"' in note for note in report.notes] == [True] * noted


def test_a_stack_left_as_it_is() -> None:
    dataset = a_dataset()
    said = reported(dataset, StackOutcome(dataset.indices()[0], raw_stack(), None, None, "skipped"))
    (stack,) = said["stacks"]
    assert (stack["restored"], stack["reason"]) == (False, "skipped")
    assert "after" not in stack
    assert said["models"] == {}
    assert said["warnings"] == ["p000_t0000_c00: left as it is: skipped"]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_statistics(dtype: str) -> None:
    volume = raw_stack(dtype)
    said = image_statistics(volume)
    assert (said["min"], said["max"]) == (volume.min(), volume.max())
    assert said["median"] == np.median(volume)
    assert said["std"] == pytest.approx(volume.std(dtype=np.float64))
    assert said["p99.9"] == pytest.approx(np.percentile(volume, 99.9))


def test_statistics_of_extreme_floats_are_still_json() -> None:
    volume = np.array([[[-3e38, 3e38]]], np.float32)
    json.dumps(image_statistics(volume), allow_nan=False)
