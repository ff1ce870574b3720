"""What waits for a GPU can be run at once when there is one: rehearsed on the processor."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "benchmarks" / "gpu" / "steps.py"


def steps() -> tuple[Any, ...]:
    spec = importlib.util.spec_from_file_location("gpu_steps", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return tuple(module.STEPS)


@pytest.mark.parametrize("step", steps(), ids=lambda step: step.name)
def test_a_step_is_short_and_its_program_is_there(step: Any) -> None:
    assert step.minutes < 10
    for command in (step.full, step.tiny):
        assert command[0] == "-m" or (ROOT / command[0]).is_file()


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(step.name, marks=[] if step.name == "grid" else [pytest.mark.slow])
        for step in steps()
    ],
)
def test_it_runs_in_tiny_form_on_the_processor(name: str, tmp_path: Path) -> None:
    pytest.importorskip("torch")
    if name == "kernels":
        pytest.importorskip("triton", reason="needs Triton: the extra `kernels`, on Linux")
    done = subprocess.run(
        [sys.executable, SCRIPT, tmp_path, name, "--tiny"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert "all steps went well" in done.stdout
    assert (tmp_path / f"{name}.txt").stat().st_size > 0


def test_a_step_that_takes_too_long_is_stopped_with_all_that_it_started(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    steps()
    module: Any = sys.modules["gpu_steps"]
    mark = tmp_path / "child"
    child = f"import time, pathlib; time.sleep(3); pathlib.Path({str(mark)!r}).touch()"
    parent = (
        "import subprocess, sys, time; print('a row', flush=True); "
        f"subprocess.Popen([sys.executable, '-c', {child!r}]); time.sleep(60)"
    )
    step = module.Step("sleeps", "nothing", 1.5 / 60, ("-c", parent), ("-c", parent))
    assert not module.run(step, tmp_path, tiny=True)
    assert "a row\nstopped after 0.025 minutes" in capsys.readouterr().out
    time.sleep(2)
    assert not mark.exists()


@pytest.mark.slow  # it imports PyTorch
def test_after_its_time_no_row_begins_and_what_is_left_out_is_told(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    done = subprocess.run(
        [sys.executable, SCRIPT.with_name("eager.py"), tmp_path / "rows.json", "--tiny",
         "--rounds", "1", "--minutes", "0"],
        capture_output=True, text=True, timeout=100, check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "export")))},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    rows = json.loads((tmp_path / "rows.json").read_text())
    late = [row for row in rows if row.get("error") == "not measured: the time was over"]
    assert len(late) == 16
    assert all("mvoxel_per_s" not in row for row in rows)
