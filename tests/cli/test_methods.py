"""What a report holds is enough to write it up, and to do it again."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.cli.main import main
from live_restore.outputs.methods import paragraph
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from live_restore.stack import FOR_BRIGHTNESS

CONFIG = """[camera]
gain_adu_per_e = 2
offset_adu = 100
read_noise_e = 1.6
[inference]
device = "cpu"
percentiles = [1, 99.5]
"""


@pytest.fixture
def report(tmp_path: Path) -> Path:
    camera = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
    cell = LivingCell(shape_zyx=(8, 80, 80), peak_e=60, camera=camera)
    tifffile.imwrite(
        tmp_path / "cell.ome.tif", cell.exposed(0), photometric="minisblack", ome=True,
        metadata={"axes": "ZYX"},
    )  # fmt: skip
    (tmp_path / "config.toml").write_text(CONFIG)
    cell_file, config = str(tmp_path / "cell.ome.tif"), str(tmp_path / "config.toml")
    assert main(["restore", cell_file, "--config", config]) == 0
    return tmp_path / "restored" / "cell.json"


def test_a_report_is_enough_for_paper_and_repetition(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    written = json.loads(report.read_text())
    assert written["settings"]["inference"]["percentiles"] == [1, 99.5]
    capsys.readouterr()
    assert main(["methods", str(report.parent)]) == 0
    said = capsys.readouterr().out
    for part in ("1 stack was restored", "the model fast", "10.1038/", "2.0 ADU per", "signal-to-"):
        assert part in said, said
    again = ["restore", str(tmp_path / "cell.ome.tif"), "--like", str(report)]
    assert main([*again, "--device", "cpu", "-o", str(tmp_path / "again")]) == 0
    repeated = json.loads((tmp_path / "again" / "cell.json").read_text())
    assert repeated["recipe"] == written["recipe"]
    assert repeated["models"]["fast"]["device"]["reason"] == 'device = "cpu"', "the flag counts"
    first = tifffile.imread(report.parent / "cell.ome.tif")
    assert np.array_equal(tifffile.imread(tmp_path / "again" / "cell.ome.tif"), first)


def test_a_report_that_was_changed_is_not_followed(
    report: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["restore", str(tmp_path / "cell.ome.tif"), "--like", str(report)]
    original = json.loads(report.read_text())
    for change, reason in (
        ({"settings": {**original["settings"], "inference": {}}}, "other settings"),
        ({"settings": {"output": {"nothing": 1}}}, "not a setting"),
        ({"settings": 3}, "older version"),
        ({"models": {"fast": {"sha256": "0"}}}, "another version"),
        ({"models": {}}, "which models"),
        ({"models": {"fast": 3}}, "which models"),
        ({"format": "live-restore-report/99"}, "no report of this version"),
    ):
        report.write_text(json.dumps({**original, **change}))
        assert main(words) == 2
        assert reason in capsys.readouterr().err
    assert main([*words, "--model", "fast"]) == 2


def test_what_was_estimated_is_in_it() -> None:
    model = {"fast": {"version": "1", "sha256": "ab" * 32}}
    stacks = [
        {"restored": True,
         "doubts": ["its signal-to-noise ratio is about 1; use more light",
                    f"{FOR_BRIGHTNESS}: dim"],
         "brightness": {"flux_bias_percent": -8.12},
         "signal_to_noise": {"ratio": 1.0}, "gain_over_raw": {"db": 8.0, "not_known_because": ""}},
        {"restored": True, "doubts": [f"{FOR_BRIGHTNESS}: dim"],
         "signal_to_noise": {"ratio": 9.04}, "defects": {"pixels": 1},
         "brightness": {"flux_bias_percent": 0.4},
         "gain_over_raw": {"db": None, "not_known_because": ""}},
        {"restored": True, "gain_over_raw": {"db": None, "not_known_because": "wrong camera"}},
        {"restored": True,
         "gain_over_raw": {"db": None, "at_least_db": 11, "not_known_because": ""}},
        {"restored": False},
    ]  # fmt: skip
    report = {"software": "live-restore 1", "models": model, "stacks": stacks}
    said = paragraph([{**report, "settings": {"output": {"keep_flux": True}}}])
    for part in ("by -8.1 to +0.4 %", "was added back",
                 "4 stacks were restored", "1 stack was left", "1.0 to 9.0", "8.0 dB (in 1)",
                 "more than 11 dB (in 1), more than 15 dB (in 1) and not known (in 1)",
                 "1 stack was marked doubtful (1 of 4 stacks: its signal",
                 "2 stacks were marked doubtful for measuring brightness.",
                 "In 1 stack, hot"):  # fmt: skip
        assert part in said, said
    assert "use more light" not in said, "a paper is no place for advice"


def test_a_stack_that_was_restored_again_counts_once() -> None:
    model = {"version": "1", "sha256": "ab" * 32}
    stack = {"restored": True, "position": 0, "time": 0, "channel": 0, "raw_crc32": 7}
    reports = [
        {"software": "live-restore 1", "models": {name: model}, "source": {"name": file},
         "stacks": [{**stack, "raw_crc32": crc}]}
        for name, file, crc in [("fast", "a", 7), ("standard", "a", 7), ("fast", "b", 8)]
    ]  # fmt: skip
    said = paragraph(reports)
    assert said.startswith("2 stacks were restored with")
    assert "there are 3 results, and what follows counts each" in said
    assert "3 results" not in paragraph(reports[1:])


def test_models_and_cameras_are_named_as_they_were_used() -> None:
    doi = "10.5281/zenodo.1234"
    model = {"mine": {"version": "1", "sha256": "ab" * 32, "doi": doi}}
    numbers = {"gain_adu_per_e": 2.0, "offset_adu": 100.0, "read_noise_e": 1.6}
    cameras = [numbers, {**numbers, "gain_adu_per_e": 0.5}, {"not_known_because": "two"}]
    stacks = [{"restored": True, "model": "mine", "camera": each} for each in cameras]
    said = paragraph([{"software": "live-restore 1", "models": model, "stacks": stacks}])
    for part in (f"doi:{doi}", "2.0 ADU per photo-electron", "; by 0.5 ADU per photo-electron",
                 "The camera of 1 stack was not known"):  # fmt: skip
        assert part in said, said


@pytest.mark.parametrize("odd", [{}, {"stacks": 3, "models": []}, {"stacks": [1, {"restored": 1}]}])
def test_an_odd_report_tells_nothing(odd: dict[str, object]) -> None:
    assert paragraph([odd]).startswith("0 stacks were restored")


def test_where_there_is_no_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "other.json").write_text("[]")
    assert main(["methods", str(tmp_path)]) == 2
    assert "holds no report" in capsys.readouterr().err
    for name, reason in (("other.json", "no report of"), ("no.json", "does not exist")):
        assert main(["methods", str(tmp_path / name)]) == 2
        assert reason in capsys.readouterr().err
