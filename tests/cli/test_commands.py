"""The commands as a person and a script use them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.cli.main import COMMANDS as COMMANDS_TABLE
from live_restore.cli.main import main
from live_restore.errors import StackRefusedError
from live_restore.simulation.scene import LivingCell
from tests.support.processes import run_command

COMMANDS = [
    "demo", "watch", "restore", "status", "page", "open", "alerts", "methods", "camera", "models",
    "adapt", "bench", "doctor", "prepare", "config", "service", "bundle", "worker", "scheduler",
    "cluster",
]  # fmt: skip


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(tmp_path: Path, command: str) -> None:
    done = run_command(tmp_path, command, "--help")
    assert done.returncode == 0
    assert "examples:" in done.stdout
    assert f"live-restore {command}" in done.stdout


def test_help_loads_nothing_heavy() -> None:
    """What makes --help answer in a moment, as a fact that does not depend on the machine."""
    heavy = "{'numpy', 'onnxruntime', 'pydantic', 'rich', 'scipy', 'tifffile', 'watchdog'}"
    code = (
        "import sys; from live_restore.cli.main import build_parser; build_parser().format_help(); "
        f"sys.exit(str({heavy} & set(sys.modules)) if {heavy} & set(sys.modules) else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("demo --times 0", "must be a whole number, at least 1"),
        ("demo --times many", "must be a whole number, at least 1"),
        ("watch --micromanager 65536", "must be the number of a port"),
        ("watch --micromanager port", "must be the number of a port"),
        ("prepare --shape 4,4", "must be three numbers above 0"),
        ("restore ", "must be the name of a file"),
    ],
)
def test_a_wrong_value_is_reported_in_one_line(
    line: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(line.split(" "))
    assert ended.value.code == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_a_command_is_one_file_and_one_line_in_the_table() -> None:
    assert [command.__name__.rpartition(".")[2] for command in COMMANDS_TABLE] == COMMANDS


def test_models_tells_the_bundled_ones(tmp_path: Path) -> None:
    assert "fast" in run_command(tmp_path, "models").stdout
    cards = json.loads(run_command(tmp_path, "models", "--json").stdout)
    (fast,) = [m for m in cards if m["card"]["name"] == "fast"]
    assert len(fast["sha256"]) == 64


def test_the_bundled_model_was_really_trained_and_says_how_good_it_is(tmp_path: Path) -> None:
    cards = json.loads(run_command(tmp_path, "models", "--json").stdout)
    (card,) = [m["card"] for m in cards if m["card"]["name"] == "fast"]
    assert card["training"]["steps_done"] > 500
    assert "started_from" not in card["training"], "one run, and all of it is in the card"
    gain = card["metrics"]["gain_over_best_gaussian_db"]
    assert set(gain) == {"10", "30", "100"}
    assert min(gain.values()) >= 1.0


def test_restore_to_another_folder_with_json(tmp_path: Path) -> None:
    stack = LivingCell(shape_zyx=(6, 40, 48)).exposed(0)
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        tifffile.imwrite(tmp_path / folder / "cell.tif", stack, photometric="minisblack")
    out = tmp_path / "{out}"
    done = run_command(
        tmp_path, "restore", tmp_path / "a/cell.tif", tmp_path / "b/cell.tif", "-o", out, "--json"
    )
    assert done.returncode == 0, done.stderr
    first, second = json.loads(done.stdout)
    assert first["result"] == str(out / "cell.ome.tif")
    assert second["result"] != first["result"], "two files of one name must not share a result"
    assert np.array_equal(tifffile.imread(first["result"]), tifffile.imread(second["result"]))
    report = json.loads(Path(first["report"]).read_text())
    assert report["stacks"][0]["intensity_scale_adu"][0] < report["stacks"][0]["before"]["p99.9"]


def test_time_lapse_of_two_channels_with_one_skipped(tmp_path: Path) -> None:
    cell = LivingCell(shape_zyx=(6, 40, 48))
    data = np.stack([[cell.exposed(t), cell.exposed(t + 50)] for t in range(3)])
    raw = tmp_path / "cells.ome.tif"
    tifffile.imwrite(
        raw, data, ome=True, photometric="minisblack",
        metadata={
            "axes": "TCZYX", "PhysicalSizeZ": 0.3, "PhysicalSizeX": 0.1, "PhysicalSizeY": 0.1,
            "TimeIncrement": 5.0, "TimeIncrementUnit": "s",
            "Channel": {"Name": ["GFP", "Brightfield"]},
        },
    )  # fmt: skip
    config = tmp_path / "config.toml"
    config.write_text(
        '[[models]]\nchannels = ["bright*"]\nskip = true\n[[models]]\nchannels = ["*"]\n'
    )
    done = run_command(tmp_path, "restore", raw, "--config", config, "--json")
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)
    with tifffile.TiffFile(line["result"]) as tif:
        assert tif.series[0].axes == "TCZYX"
        restored = tif.asarray()
        assert 'Name="Brightfield"' in tif.ome_metadata
        assert 'TimeIncrement="5.0"' in tif.ome_metadata
    assert restored.shape == data.shape
    assert np.array_equal(restored[:, 1], data[:, 1]), "a skipped channel is left as it is"
    assert not np.array_equal(restored[:, 0], data[:, 0])
    assert any("Brightfield" in warning for warning in line["warnings"])


@pytest.mark.parametrize("command", ["watch", "status"])
@pytest.mark.parametrize(
    ("folder", "said"),
    [("", "must not be empty"), ("x" * 5000, "cannot be watched"), ("absent", "does not exist")],
)
def test_a_folder_that_cannot_be_one_is_said_in_one_line(
    tmp_path: Path, command: str, folder: str, said: str
) -> None:
    done = run_command(tmp_path, command, folder)
    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1
    assert ("create it" in done.stderr) == (folder == "absent" and command == "watch")


def test_errors_say_what_which_file_and_what_to_do() -> None:
    error = StackRefusedError("is flat", Path("a.tif"), "record a stack")
    assert str(error) == "a.tif: is flat; record a stack"
    assert error.reason == "is flat; record a stack"


@pytest.mark.parametrize(
    "line",
    [
        "demo --micromanager --device cpu",
        "demo --micromanager --model fast",
        "demo --micromanager --json",
        "watch --micromanager --once",
        "watch --micromanager --no-events",
        "watch --micromanager --retry-failed",
        "watch --micromanager --redo-missing",
    ],
)
def test_flags_without_an_effect_are_refused(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(line.split()) == 2
    flag = next(part for part in line.split()[2:] if part.startswith("--"))
    said = capsys.readouterr().err
    assert said == f"live-restore: {flag} and --micromanager exclude each other; omit one\n"
