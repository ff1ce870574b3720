"""What the README says is what is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from live_restore.cli.main import build_parser
from live_restore.inference.load import bundled_models, load_model

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PEAKS = ("10", "30", "100")


@pytest.fixture(scope="module")
def metrics() -> dict[str, dict[str, float]]:
    return dict(load_model(bundled_models()["fast"], "cpu").card.metrics)


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (command,) = [line for line in README.splitlines() if line.endswith("-m pytest")]
    assert command in ci.splitlines()


def test_it_fits_on_one_screen() -> None:
    assert len(README.splitlines()) <= 70


def test_its_gains_are_the_models_own(metrics: dict[str, dict[str, float]]) -> None:
    (said,) = re.findall(r"`fast` is ([\d.]+), ([\d.]+) and ([\d.]+) dB", README)
    gains = [metrics["gain_over_best_gaussian_db"][peak] for peak in PEAKS]
    assert [float(number) for number in said] == pytest.approx(gains, abs=0.051)


def test_the_table_of_gains_is_the_models_own(metrics: dict[str, dict[str, float]]) -> None:
    page = (ROOT / "docs" / "explanation" / "quality.md").read_text(encoding="utf-8")
    columns = (
        "psnr_raw_db",
        "psnr_best_gaussian_db",
        "psnr_restored_db",
        "gain_over_best_gaussian_db",
        "least_gain_db",
    )
    for peak in PEAKS:
        (row,) = re.findall(rf"^\| {peak} \|(.+)\|$", page, flags=re.MULTILINE)
        said = [float(cell.replace("dB", "")) for cell in row.split("|")]
        assert said == pytest.approx([metrics[c][peak] for c in columns], abs=0.051)


def test_every_command_in_the_readme_parses() -> None:
    commands = re.findall(r"^live-restore (.+?)\s+#", README, flags=re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        build_parser().parse_args(command.split())
