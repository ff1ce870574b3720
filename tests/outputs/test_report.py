"""The report: what must stand in it, and numbers that are right."""

from __future__ import annotations

import ast
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.engine.one_shot import OneShot
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import Restorer
from live_restore.outputs import report as report_module
from live_restore.outputs.output import FinishedStack, ResultRequest
from live_restore.outputs.provenance import REPORT_FORMAT
from live_restore.outputs.report import Report
from live_restore.settings.load import load_settings
from live_restore.settings.model import ModelRule
from live_restore.stack import FileStacks, Units, VoxelSize
from live_restore.testing.results import finished_stack
from tests.outputs.report_cases import CASES, comparable
from tests.support.fakes import a_dataset, fake_model, fake_restorer

KNOWN = json.loads((Path(__file__).parent / "known_reports.json").read_text(encoding="utf-8"))


def reported(dataset: FileStacks, *outcomes: FinishedStack, **times: float) -> dict[str, Any]:
    report = report_of(dataset)
    for outcome in outcomes:
        report.add(outcome)
    return dict(json.loads(report.to_json(**times)))


def report_of(dataset: FileStacks, units: Units = "camera") -> Report:
    return Report(
        ResultRequest(dataset, "{name}", "fake", "recipe", "settings", units), "raw.ome.tif"
    )


def raw_stack(dtype: str = "uint16") -> np.ndarray:
    return np.random.default_rng(2).integers(10, 200, (3, 5, 6)).astype(dtype)


def restored_outcome(dataset: FileStacks, warning: str = "") -> FinishedStack:
    restorer = fake_restorer(lambda tile: tile - 100)
    object.__setattr__(restorer.model.session.device, "warning", warning)
    raw = raw_stack()
    restored = restorer.restore(raw)
    return finished_stack(raw, restored, restorer.model, voxel=dataset.voxel, read_s=0.25)


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
    dataset, outcome = a_dataset(), restored_outcome(a_dataset())
    assert outcome.model is not None
    assert reported(dataset, outcome)["notes"] == []
    sharpening = outcome.model.card.model_copy(update={"truth_psf_width": 0.5})
    model = replace(outcome.model, card=sharpening)
    sharpened = finished_stack(outcome.raw, outcome.restored, model)
    (note,) = reported(dataset, sharpened, sharpened)["notes"]
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
    outcome = finished_stack(raw, restorer.restore(raw), restorer.model)
    report = report_of(dataset, units)
    report.add(outcome)
    report.add(outcome)
    assert ['output.units = "camera-float"' in note for note in report.notes] == [True] * noted


def test_a_stack_left_as_it_is() -> None:
    dataset = a_dataset()
    said = reported(dataset, finished_stack(raw_stack(), reason="skipped"))
    (stack,) = said["stacks"]
    assert (stack["restored"], stack["reason"]) == (False, "skipped")
    assert "after" not in stack
    assert said["models"] == {}
    assert said["warnings"] == ["left as it is: skipped"]


@pytest.mark.parametrize("name", CASES)
def test_reports_are_what_they_were(tmp_path: Path, name: str) -> None:
    case, path = CASES[name], tmp_path / "cell.ome.tif"
    case.write(path)
    settings = load_settings(None, {"watch": {"settle_s": 0.01}, **case.settings})
    restorer = Restorer(
        fake_model(case.network, **case.card),
        settings.inference,
        settings.output.units,
        settings.camera,
    )
    rules = [(ModelRule(channels=case.skip, skip=True), None)] if case.skip else []
    model_set = ModelSet((*rules, (ModelRule(), restorer)), "r" * 64)
    published = OneShot(model_set, settings).restore(path).report
    known = dict(KNOWN[name])
    alone = len(known["stacks"]) == 1
    known["warnings"] = [stacks_renamed(each, alone=alone) for each in known["warnings"]]
    same(comparable(json.loads(published.read_text(encoding="utf-8"))), known, name)


def same(found: Any, known: Any, where: str) -> None:
    """Compare two reports, keys in order, numbers to 6 digits."""
    if isinstance(known, dict):
        assert list(found) == list(known), where
        for key, value in known.items():
            same(found[key], value, f"{where}: {key}")
    elif isinstance(known, list):
        assert len(found) == len(known), (where, found, known)
        for number, value in enumerate(known):
            same(found[number], value, f"{where}, {number}")
    elif isinstance(known, float):
        assert found == pytest.approx(known, rel=1e-6, abs=1e-9), where
    else:
        assert found == known, where


def stacks_renamed(text: str, *, alone: bool) -> str:
    """Stacks were called "cell.ome.tif p0 t1 c0" in warnings; all else was as today."""
    numbers = r"cell\.ome\.tif p(\d) t(\d) c(\d): "

    def renamed(match: re.Match[str]) -> str:
        label = "p{:03d}_t{:04d}_c{:02d}: ".format(*map(int, match.groups()))
        return "" if alone else label

    return re.sub(numbers, renamed, text)


def test_whoever_writes_a_report_computes_nothing() -> None:
    """It is written in the thread that everything waits for."""
    source = Path(report_module.__file__).read_text(encoding="utf-8")
    imported = {
        node.module
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.ImportFrom) and node.module
    }
    computing = ("live_restore.inference.image", "live_restore.trust.s", "live_restore.trust.a")
    assert [name for name in imported if name.startswith((*computing, "numpy"))] == []
    assert "live_restore.trust.doubt_lines" in imported, "the test looks at what is imported"
