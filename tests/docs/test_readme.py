"""What the documents say is what is done."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from live_restore.cli.main import build_parser
from live_restore.inference.load import bundled_models, load_model

ROOT = Path(__file__).resolve().parents[2]


def test_ci_runs_exactly_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    (command,) = [line for line in readme.splitlines() if line.endswith("-m pytest")]
    assert command in ci.splitlines()


def test_the_table_of_gains_is_the_models_own() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    metrics = load_model(bundled_models()["fast"], "cpu").card.metrics
    columns = (
        "psnr_raw_db",
        "psnr_best_gaussian_db",
        "psnr_restored_db",
        "gain_over_best_gaussian_db",
        "least_gain_db",
    )
    for peak in ("10", "30", "100"):
        (row,) = re.findall(rf"^\| {peak} \|(.+)\|$", readme, flags=re.MULTILINE)
        said = [float(cell.replace("dB", "")) for cell in row.split("|")]
        assert said == pytest.approx([metrics[c][peak] for c in columns], abs=0.051)


def test_every_command_in_the_readme_parses() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^live-restore (.+?)\s+#", readme, flags=re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        build_parser().parse_args(command.split())


def test_links_in_the_documents_lead_somewhere() -> None:
    for document in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(
            r"\]\((?!https?://)([^)#]+)", document.read_text(encoding="utf-8")
        ):
            assert (document.parent / target).exists(), f"{document.name}: {target}"
