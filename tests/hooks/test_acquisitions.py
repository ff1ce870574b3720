"""Real acquisitions of the demo camera: all restored, and no harm from a broken restorer."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import tifffile

from live_restore import LiveRestore
from live_restore.stack import StackIndex
from tests.hooks.runs import finished_state
from tests.support.acquisition import SLICES
from tests.support.java_engine import engine as java_engine
from tests.support.models import write_model
from tests.support.processes import PATIENCE_S, environment, run_command, wait_for
from tests.support.systems import needs_acquisitions

ROOT = Path(__file__).resolve().parents[2]

needs_acquisitions()


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """A model that costs nothing: what is tested is the way of the stacks."""
    write_model(tmp_path / "tiny.onnx")
    path = tmp_path / "config.toml"
    path.write_text('[watch]\nquiet_s = 0.5\n[[models]]\nmodel = "tiny.onnx"\n')
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


@pytest.mark.parametrize("name", ["pycromanager_acquisition.py", "pymmcore_plus_acquisition.py"])
def test_an_example_calls_what_is_there(name: str) -> None:
    """The calls are those of the runs below; that the examples run is shown by the slow tests."""
    tree = ast.parse((ROOT / "examples" / name).read_text(encoding="utf-8"))
    called = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "live"
    }
    assert called - {"outcomes"}
    assert [each for each in called if not hasattr(LiveRestore, each)] == ["outcomes"]


@pytest.mark.slow
def test_the_pycromanager_example_restores_all_twelve_stacks(tmp_path: Path, config: Path) -> None:
    script = ROOT / "examples" / "pycromanager_acquisition.py"
    done = run(tmp_path, script, tmp_path / "data", config)
    results = sorted((tmp_path / "data" / "run_1_restored").glob("*.ome.tif"))
    assert len(results) == 12, done.stderr
    assert tifffile.imread(results[0]).shape[0] == 9
    assert "12 stacks restored" in done.stderr


@pytest.mark.slow
def test_the_pymmcore_plus_example_restores_all_twelve_stacks(tmp_path: Path, config: Path) -> None:
    script = ROOT / "examples" / "pymmcore_plus_acquisition.py"
    done = run(tmp_path, script, tmp_path / "run.ome.zarr", config)
    results = sorted((tmp_path / "run.ome.zarr_restored").glob("*.ome.tif"))
    assert len(results) == 12, done.stderr
    assert tifffile.imread(results[0]).shape[0] == 9


ENGINES = (
    "pycromanager",
    "pymmcore-plus",
    pytest.param("pycromanager-java", marks=pytest.mark.slow),
)


def acquired(folder: Path, engine: str, kind: str, times: int) -> tuple[dict[str, Any], str]:
    """Record; whatever the restorer does, the run is whole, and ends well."""
    arguments = (folder / "data", engine, kind, str(times))
    done = run(folder, "-m", "tests.support.acquisition", *arguments)
    said = json.loads(done.stdout.splitlines()[-1])
    state = finished_state(Path(said["path"]))
    planes = sum(len(evidence.present) for evidence in state.stacks.values())
    stacks = times * (4 if kind == "live" else 1)
    assert planes == said["calls"] == SLICES * stacks, "an image was lost"
    assert said["longest_ms"] < 1.0
    mistakes = done.stderr.count("ValueError: a mistake")
    assert mistakes == (0 if engine == "pymmcore-plus" else 1)
    return said, done.stderr


@pytest.fixture
def java(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The engine of a running Micro-Manager, as a double."""
    with java_engine() as made:
        monkeypatch.setenv("DOUBLE_OF_MICRO_MANAGER_PORT", str(made.server.port))
        yield


@pytest.mark.usefixtures("java")
@pytest.mark.parametrize("engine", ENGINES)
def test_twelve_stacks_are_restored_while_the_run_goes_on(tmp_path: Path, engine: str) -> None:
    """2 positions, 3 times, 2 channels; the run is held open until its last stack is there.

    Without its plan (here of a generator) a script's last stack is whole only when the run is over.
    """
    said, _ = acquired(tmp_path, engine, "live", 3)
    assert said["restored_during_the_run"] == 12
    assert said["done"]
    assert not said["failed"]


@pytest.mark.slow
def test_a_killed_script_leaves_its_stacks_for_watch(tmp_path: Path) -> None:
    state, run = tmp_path / "state", tmp_path / "data" / "run_1"
    results = run.with_name("run_1_restored")
    with subprocess.Popen(
        [
            sys.executable,
            "-m",
            "tests.support.acquisition",
            run.parent,
            "pycromanager",
            "live",
            "3",
        ],
        env=environment(state) | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": ""},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    ) as script:
        wait_for(lambda: len(list(results.glob("*.json"))) >= 2, "the first results")
        children = psutil.Process(script.pid).children(recursive=True)
        script.kill()
    _, alive = psutil.wait_procs(children, timeout=PATIENCE_S)
    assert not alive, "restoration outlives its script"
    over = run_command(state, "watch", run, "--once")
    assert over.returncode == 0, over.stderr
    complete = {
        StackIndex(key.position, key.time, key.channel).label
        for key, evidence in finished_state(run).stacks.items()
        if evidence.complete
    }
    assert {path.stem for path in results.glob("*.json")} == complete
    assert len(complete) >= 2


LEFT = "restore the rest with: live-restore watch {path} --once"
FAILED = "some of it could not be restored; see "


@pytest.mark.parametrize(
    ("engine", "kind", "said_at_the_end"),
    [
        ("pycromanager", "hangs", LEFT),
        pytest.param("pycromanager-java", "hangs", LEFT, marks=pytest.mark.slow),
        pytest.param("pycromanager", "raises", FAILED, marks=pytest.mark.slow),
        pytest.param("pycromanager", "killed", LEFT, marks=pytest.mark.slow),
        pytest.param("pymmcore-plus", "killed", LEFT, marks=pytest.mark.slow),
        pytest.param("pymmcore-plus", "raises", FAILED, marks=pytest.mark.slow),
        pytest.param("pymmcore-plus", "hangs", LEFT, marks=pytest.mark.slow),
    ],
)
@pytest.mark.usefixtures("java")
def test_a_broken_restorer_costs_no_image(
    tmp_path: Path, engine: str, kind: str, said_at_the_end: str
) -> None:
    """306 images: more than wait in any queue of the engines."""
    said, stderr = acquired(tmp_path, engine, kind, 34)
    expected = f"live-restore: {said['path']}: 0 stacks restored; {said_at_the_end}"
    assert expected.format(path=said["path"]) in stderr.splitlines()[-1]
