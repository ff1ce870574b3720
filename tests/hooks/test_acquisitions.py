"""Real acquisitions of the demo camera: all restored, and no harm from a broken restorer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import tifffile

from tests.hooks.runs import finished_state
from tests.support.acquisition import SLICES
from tests.support.models import write_model
from tests.support.processes import PATIENCE_S, environment

ROOT = Path(__file__).resolve().parents[2]

for package in ("pycromanager", "pymmcore_plus", "mm_test_adapters", "tensorstore"):
    pytest.importorskip(package, reason="pip install 'live-restore[micromanager]'")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A model that costs nothing: what is tested is the way of the stacks."""
    write_model(tmp_path / "tiny.onnx")
    path = tmp_path / "config.toml"
    path.write_text('[[models]]\nmodel = "tiny.onnx"\n')
    return path


def run(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run a script; it has to end, and well."""
    done = subprocess.run(
        [sys.executable, *map(str, arguments)],
        env=environment(folder / "state") | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done


def test_the_pycromanager_example_restores_all_twelve_stacks(tmp_path: Path, config: Path) -> None:
    script = ROOT / "examples" / "pycromanager_acquisition.py"
    done = run(tmp_path, script, tmp_path / "data", config)
    results = sorted((tmp_path / "data" / "run_1_restored").glob("*.ome.tif"))
    assert len(results) == 12, done.stderr
    assert tifffile.imread(results[0]).shape[0] == 9
    assert "12 stacks restored" in done.stderr


def test_the_pymmcore_plus_example_restores_all_twelve_stacks(tmp_path: Path, config: Path) -> None:
    script = ROOT / "examples" / "pymmcore_plus_acquisition.py"
    done = run(tmp_path, script, tmp_path / "run.ome.zarr", config)
    results = sorted((tmp_path / "run.ome.zarr_restored").glob("*.ome.tif"))
    assert len(results) == 12, done.stderr
    assert tifffile.imread(results[0]).shape[0] == 9


def acquired(folder: Path, kind: str, times: int) -> tuple[dict[str, object], str]:
    done = run(folder, "-m", "tests.support.acquisition", folder / "data", kind, str(times))
    said = json.loads(done.stdout.splitlines()[-1])
    state = finished_state(Path(said["path"]))
    planes = sum(len(evidence.present) for evidence in state.stacks.values())
    assert planes == said["calls"] == SLICES * times, "an image was lost"
    assert said["longest_ms"] < 1.0
    assert done.stderr.count("ValueError: a mistake") == 1
    return said, done.stderr


def test_stacks_are_restored_while_the_run_goes_on(tmp_path: Path) -> None:
    said, _ = acquired(tmp_path, "live", 6)
    assert int(str(said["restored_during_the_run"])) >= 2
    assert len(list((tmp_path / "data" / "run_1_restored").glob("*.ome.tif"))) == 6


def test_a_generator_of_one_single_stack_beside_a_callback_that_raises(tmp_path: Path) -> None:
    said, _ = acquired(tmp_path, "good", 1)
    assert said["done"]
    assert not said["failed"]
    restored = list((tmp_path / "data" / "run_1_restored").glob("*.ome.tif"))
    assert len(restored) == 1, "without its plan the only stack of a run is never whole"


@pytest.mark.parametrize(
    ("kind", "said_at_the_end"),
    [
        ("hangs", "the rest is left: live-restore watch {path} --once"),
        pytest.param("raises", "some of it could not be restored; see ", marks=pytest.mark.slow),
        pytest.param(
            "killed",
            "the rest is left: live-restore watch {path} --once",
            marks=pytest.mark.slow,
        ),
    ],
)
def test_a_broken_restorer_costs_no_image(tmp_path: Path, kind: str, said_at_the_end: str) -> None:
    said, stderr = acquired(tmp_path, kind, 34)
    expected = f"live-restore: {said['path']}: 0 stacks restored; {said_at_the_end}"
    assert expected.format(path=said["path"]) in stderr.splitlines()[-1]
