"""What waits for a GPU can be run at once when there is one: rehearsed on the processor."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
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
