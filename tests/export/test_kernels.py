"""The fused kernels are right in Triton's interpreter, and compile for every generation of cards.

Seen on a processor only: no GPU has run them yet.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from live_restore_export.kernels.ahead import Usage

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("triton") is None, reason="needs Triton: the extra `kernels`, on Linux"
)
HALF = 2.5e-4  # rounding the result to float16 alone makes 2.1e-4 of its rms


def interpreted(*arguments: str) -> dict[str, float]:
    program = Path(__file__).with_name("interpreted_kernels.py")
    done = subprocess.run(
        [sys.executable, program, *arguments],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    errors: dict[str, float] = json.loads(done.stdout)
    return errors


@pytest.mark.slow
def test_a_convolution_differs_from_float64_by_the_rounding_of_its_result() -> None:
    errors = interpreted()
    assert len(errors) == 8
    for name, error in errors.items():
        assert error < (1e-6 if "means" in name else HALF), name


@pytest.mark.slow
def test_a_whole_network_differs_from_float64_by_what_float16_costs() -> None:
    errors = interpreted("networks")
    assert set(errors) == {"fast", "unusual"}
    for name, error in errors.items():
        assert error < 1e-3, name


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fast", "standard"])
def test_a_bundled_model_in_the_interpreter_is_what_is_stated_and_what_onnx_runtime_gives(
    name: str,
) -> None:
    errors = interpreted("plan", name)
    assert errors["stated"] < 5e-4, "Triton's kernels and their statement in numpy differ"
    assert errors["onnx"] < 1.5e-3


def test_plans_count_on_the_arguments_that_the_kernels_have() -> None:
    from live_restore_export.kernels.ahead import KERNELS, kernels_of
    from live_restore_export.kernels.plan import ARGUMENTS

    assert set(KERNELS) == set(ARGUMENTS)
    for source in kernels_of(24).values():
        wanted = (*ARGUMENTS[source.kernel], *source.constants)
        assert tuple(KERNELS[source.kernel].arg_names) == wanted


def compiled(capability: int, most_registers: int | None = None) -> tuple[Usage, bytes]:
    from live_restore_export.kernels.ahead import build, convolution_of, usage_of

    built = build(convolution_of(32), capability, most_registers=most_registers)
    return usage_of(built), built.content


@pytest.mark.slow
@pytest.mark.parametrize("capability", [80, 86, 89, 90, 120])
def test_it_compiles_without_a_gpu_for_tensor_cores_and_spills_nothing(
    capability: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    kernel, program = compiled(capability)
    assert kernel.spilled == 0
    assert 0 < kernel.registers <= 128
    assert kernel.tensor_core > 0
    assert program.startswith(b"\x7fELF")


@pytest.mark.slow
@pytest.mark.parametrize("channels", [24, 32])
def test_the_programs_have_the_parameters_that_are_given_them(
    channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the program itself, not in the text that it was assembled from."""
    from live_restore_export.kernels.ahead import build, kernels_of, parameter_bytes
    from live_restore_export.kernels.package import CARDS, parameters_of

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    for source in kernels_of(channels).values():
        wanted = parameters_of(source)
        for capability in CARDS:
            built = build(source, capability)
            assert built.parameters == wanted
            sizes = [8 if kind == "pointer" else 4 for kind in wanted]
            assert parameter_bytes(built) == sizes


@pytest.mark.slow
def test_what_spills_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    assert compiled(80, most_registers=32)[0].spilled > 0
