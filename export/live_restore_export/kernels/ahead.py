"""The kernels compiled ahead of time, where there is no GPU: what comes out, and what it needs.

``benchmarks/gpu/ahead.py`` prints it for every kernel and generation of cards.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import triton
from triton.backends import nvidia
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from live_restore_export.kernels.convolution import convolve, scale_and_add
from live_restore_export.kernels.fused import FORMS, VOXELS, Form, padded

__all__ = ["CARDS", "Compiled", "compile_convolution", "compile_scaling", "kernels_of"]

CARDS = {
    80: "A100",
    86: "RTX 30xx, A4000 to A6000",
    89: "RTX 40xx, L4, L40",
    90: "H100, H200",
    120: "RTX 50xx",
}
"""Compute capabilities (80 is 8.0), and cards that have them."""

_POINTERS = {"volume": "*fp16", "weights": "*fp16", "bias": "*fp32", "earlier": "*fp16",
             "result": "*fp16", "sums": "*fp32", "factors": "*fp32"}  # fmt: skip
# Memory that PyTorch gives out begins at a multiple of 512 bytes.
_ALIGNED = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class Compiled:
    """A kernel for one generation of cards.

    Parameters
    ----------
    registers
        Per thread; 255 is the most there is.
    spilled
        Bytes per thread in memory for want of registers.
    shared
        Bytes of shared memory per block.
    tensor_core
        Instructions of tensor cores in it.
    program
        What a driver loads (a cubin).
    """

    registers: int
    spilled: int
    shared: int
    tensor_core: int
    program: bytes


def compile_convolution(
    capability: int,
    inputs: int,
    outputs: int,
    *,
    relu: bool = False,
    adds: bool = False,
    sums: bool = False,
    form: Form = FORMS[0],
    most_registers: int | None = None,
) -> Compiled:
    """Compile a convolution of so many channels for cards of a capability.

    ``most_registers`` bounds what a thread may use (to see what is reported where they do not do).
    """
    constants = {
        "channels_in": inputs, "channels_out": outputs, "padded_in": padded(inputs),
        "padded_out": padded(outputs), "rows": form.rows, "columns": form.columns, "relu": relu,
        "adds": adds, "sums_up": sums,
    }  # fmt: skip
    options = {**form.options, "maxnreg": most_registers}
    return _compile(convolve, capability, constants, options)


def compile_scaling(capability: int, channels: int) -> Compiled:
    """Compile channel attention's second half for cards of a capability."""
    constants = {"channels": channels, "padded": padded(channels), "block": VOXELS, "adds": True}
    return _compile(scale_and_add, capability, constants, {"enable_fp_fusion": True})


def kernels_of(capability: int, channels: int) -> dict[str, Compiled]:
    """Return all that a network of so many channels consists of, lateral shuffle included."""
    return {
        "head": compile_convolution(capability, 4, channels),
        "with ReLU": compile_convolution(capability, channels, channels, relu=True),
        "with sums": compile_convolution(capability, channels, channels, sums=True),
        "with a skip": compile_convolution(capability, channels, channels, adds=True),
        "tail": compile_convolution(capability, channels, 4),
        "scale and add": compile_scaling(capability, channels),
    }


def _compile(
    kernel: Any, capability: int, constants: dict[str, Any], options: dict[str, Any]
) -> Compiled:
    signature = {
        name: "constexpr" if name in constants else _POINTERS.get(name, "i32")
        for name in kernel.arg_names
    }
    aligned = {
        (index,): _ALIGNED for index, name in enumerate(kernel.arg_names) if name in _POINTERS
    }
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, aligned),
        target=GPUTarget("cuda", capability, 32),
        options={name: value for name, value in options.items() if value is not None},
    )
    program: bytes = compiled.asm["cubin"]
    usage = _look(program, "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump says nothing about registers: {usage[:300]}")
    registers, stack, local = map(int, found.groups())
    tensor_core = len(re.findall(r"\bHG?MMA\b|\bHG?MMA\.", _look(program, "-sass")))
    return Compiled(registers, stack + local, compiled.metadata.shared, tensor_core, program)


def _look(program: bytes, what: str) -> str:
    tool = Path(nvidia.__path__[0]) / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(program)
        file.flush()
        seen = subprocess.run([tool, what, file.name], capture_output=True, text=True, check=True)
    return seen.stdout + seen.stderr
