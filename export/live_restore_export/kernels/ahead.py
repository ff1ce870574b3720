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

from live_restore_export.kernels import convolution, small
from live_restore_export.kernels.conventions import parameters_of, require_plain
from live_restore_export.kernels.package import Built
from live_restore_export.kernels.plan import FORMS, NUMBERS, Form, KernelSource, plan_of
from live_restore_export.network import RCANConfig

__all__ = [
    "COMPILER",
    "KERNELS",
    "Usage",
    "build",
    "convolution_of",
    "kernels_of",
    "parameter_bytes",
    "pointer_type",
    "usage_of",
]

COMPILER = f"triton {triton.__version__}"
KERNELS: dict[str, Any] = {
    "convolve": convolution.convolve,
    "scale_and_add": convolution.scale_and_add,
    "fold": small.fold,
    "unfold": small.unfold,
    "add_up": small.add_up,
    "attend": small.attend,
}
"""By name."""

_HALF, _SINGLE = "*fp16", "*fp32"
# (volume, earlier and result are in float16 where nothing else is said.)
_ALWAYS_SINGLE = frozenset(
    {"bias", "sums", "factors", "squeeze", "squeeze_bias", "excite", "excite_bias", "stack"}
)
# Memory begins at a multiple of 256 bytes at least.
_ALIGNED = [["tt.divisibility", 16]]


@dataclass(frozen=True)
class Usage:
    """What a kernel needs of a card.

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
    size
        Bytes of the program.
    """

    registers: int
    spilled: int
    shared: int
    tensor_core: int
    size: int


def build(source: KernelSource, capability: int, *, most_registers: int | None = None) -> Built:
    """Compile a kernel for cards of a capability.

    ``most_registers`` bounds what a thread may use (to see what is reported where they do not do).
    """
    kernel, constants = KERNELS[source.kernel], source.constants
    signature = {
        name: "constexpr"
        if name in constants
        else pointer_type(name, source)
        if name not in NUMBERS
        else "i32"
        for name in kernel.arg_names
    }
    aligned = {
        (index,): _ALIGNED
        for index, name in enumerate(kernel.arg_names)
        if signature[name].startswith("*")
    }
    options = {**source.form.options, "maxnreg": most_registers}
    compiled = triton.compile(
        ASTSource(kernel, signature, constants, aligned),
        target=GPUTarget("cuda", capability, 32),
        options={name: value for name, value in options.items() if value is not None},
    )
    require_plain(compiled.metadata)
    symbol, parameters = parameters_of(compiled.asm["ptx"])
    return Built(symbol, parameters, compiled.metadata.shared, compiled.asm["cubin"])


def usage_of(built: Built) -> Usage:
    """Return what a compiled kernel needs."""
    usage = _look(built.content, "-res-usage")
    found = re.search(r"REG:(\d+) STACK:(\d+) SHARED:\d+ LOCAL:(\d+)", usage)
    if found is None:
        raise RuntimeError(f"cuobjdump says nothing about registers: {usage[:300]}")
    registers, stack, local = map(int, found.groups())
    tensor_core = len(re.findall(r"\bHG?MMA\b|\bHG?MMA\.", _look(built.content, "-sass")))
    return Usage(registers, stack + local, built.shared, tensor_core, len(built.content))


def parameter_bytes(built: Built) -> list[int]:
    """Return the sizes of a kernel's parameters, in order, as its program has them (bytes)."""
    found = re.findall(
        r"EIATTR_KPARAM_INFO.*?Ordinal\s*:\s*0x([0-9a-f]+).*?Size\s*:\s*0x([0-9a-f]+)",
        _look(built.content, "-elf"),
        re.DOTALL,
    )
    return [int(size, 16) for _, size in sorted(found, key=lambda each: int(each[0], 16))]


def convolution_of(channels: int, form: Form = FORMS[0]) -> KernelSource:
    """Return the convolution with sums, the largest kernel, of so many channels."""
    return kernels_of(channels, form)["with_sums"]


def kernels_of(channels: int, form: Form = FORMS[0]) -> dict[str, KernelSource]:
    """Return all that a network of so many channels consists of, lateral folding included."""
    config = RCANConfig(groups=2, blocks=1, channels=channels, reduction=4, lateral_shuffle=2)
    return plan_of(config, form).kernels


def pointer_type(name: str, source: KernelSource) -> str:
    """Return the type of an argument that is a pointer, as Triton writes it."""
    return _SINGLE if name in _ALWAYS_SINGLE or name in source.single else _HALF


def _look(program: bytes, what: str) -> str:
    tool = Path(nvidia.__path__[0]) / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(program)
        file.flush()
        seen = subprocess.run([tool, what, file.name], capture_output=True, text=True, check=True)
    return seen.stdout + seen.stderr
