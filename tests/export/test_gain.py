"""What a card says about a model's use is measured, and the measurement can fail."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from deferred import deferred
from live_restore_export.cli.main import main

from live_restore.inference.load import bundled_models, load_model

quality_gain = deferred("live_restore_export.quality.gain")

ONE = range(2_000_000_000, 2_000_000_001)


def test_the_bundled_model_gains_what_its_card_says(tmp_path: Path) -> None:
    """On the first of the card's own stacks, where the card states the mean over all of them."""
    (level,) = quality_gain.measure_gain(bundled_models()["fast"], ONE, (30.0,))
    assert level.gain_db > 3.0
    assert level.worst_gain_db == pytest.approx(level.gain_db)
    assert level.raw_db < level.best_gaussian_db < level.restored_db


def test_the_result_goes_into_the_card(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "live_restore_export.quality.gain._SHAPE_ZYX", (12, 48, 48)
    )  # how much it gains is not asked
    model = tmp_path / "fast.onnx"
    shutil.copyfile(bundled_models()["fast"], model)
    assert main(["gain", str(model), "--stacks", "1", "--write", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert load_model(model, "cpu").card.metrics["least_gain_db"] == said["least_gain_db"]
    assert said["data"].startswith("1 simulated")


def test_a_file_that_is_no_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "no.onnx").write_bytes(b"nothing")
    assert main(["gain", str(tmp_path / "no.onnx")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
