"""A model of which nobody has measured where it helps says so, wherever people look."""

from __future__ import annotations

from pathlib import Path

import pytest
import tifffile

from live_restore.cli.main import main
from live_restore.cli.status import summary_lines
from live_restore.doctor.checks import examine_models
from live_restore.engine.daemon import Daemon
from live_restore.inference.model_set import ModelSet
from live_restore.journal.journal import Journal
from live_restore.overview.results import night_of
from live_restore.overview.run import Run
from live_restore.settings.load import load_settings
from live_restore.settings.model import Settings
from live_restore.simulation.scene import LivingCell
from tests.support.models import write_model

NOTE = "nobody has measured where the model tiny helps"


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    model = str(write_model(tmp_path / "tiny.onnx"))
    return load_settings(None, {"models": [{"model": model}], "inference": {"device": "cpu"}})


def test_watch_and_status(tmp_path: Path, settings: Settings) -> None:
    root = tmp_path / "watched"
    root.mkdir()
    models, path = ModelSet.load(settings), tmp_path / "j.sqlite"
    with Journal(path, root, recipe=models.recipe) as journal:
        daemon = Daemon(root, settings, models, journal)
        daemon.run(once=True)
        assert any(NOTE in each for each in daemon.progress.snapshot().warnings)
    lines = list(summary_lines(night_of(Run.read(root, path))))
    assert any(NOTE in line for line in lines), lines


def test_the_next_watch_with_a_measured_model_says_nothing(
    tmp_path: Path, settings: Settings
) -> None:
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="r") as journal:
        unmeasured = " ".join(ModelSet.load(settings).unmeasured)
        journal.facts.begin_run(newest_first=False, unmeasured=unmeasured)
        assert NOTE in journal.facts.last_run().unmeasured
        journal.facts.begin_run(newest_first=False)
        assert journal.facts.last_run().unmeasured == ""
    bundled = load_settings(None, {"inference": {"device": "cpu"}})
    assert ModelSet.load(bundled).unmeasured == ()


def test_doctor(settings: Settings) -> None:
    (finding,) = examine_models(settings)
    assert finding.verdict == "note"
    assert NOTE in finding.remedy


def test_restore(tmp_path: Path, settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    raw = LivingCell(shape_zyx=(3, 16, 16)).exposed(0)
    tifffile.imwrite(tmp_path / "a.ome.tif", raw, photometric="minisblack", ome=True,
                     metadata={"axes": "ZYX"})  # fmt: skip
    model = settings.models[0].model
    assert main(["restore", str(tmp_path / "a.ome.tif"), "--model", model, "--device", "cpu"]) == 0
    assert NOTE in capsys.readouterr().err
