"""How Triton's kernels want to be launched, in one place: read in Triton 3.9.0, and checked.

Each line names where it stands in the package ``triton``, folder ``backends/nvidia``.

* Parameters are the arguments that are no constants, in order (``driver.py``,
  ``make_kernel_signature``), then two pointers, to memory that the kernel may want for itself and
  for profiling (``driver.c``, "+ 2 for global & profile scratch"). Ours want none of either
  (``global_scratch_size``, ``profile_scratch_size`` of ``compiler.py``): both point nowhere.
* Whole numbers that are 1 become constants, and those that 16 divides are compiled for, only where
  ``triton.jit`` compiles for a call (``runtime/jit.py``). Ahead of time it compiles for the
  signature that it is given, and so all numbers stay parameters of 32 bits.
* A block has 32 threads per warp, in x alone; the grid is that of programs, times the blocks of a
  cluster in x (``driver.c``, ``_launch``). Ours have clusters of one block, so no attribute of a
  launch is needed, and ``cuLaunchKernel`` does what ``cuLaunchKernelEx`` would.
* Shared memory is given at the launch; above 48 kB the function is asked to allow it first
  (``driver.c``, ``loadBinary``).
* From compute capability 9.0 on, programs are for one capability only (``compiler.py``,
  ``sm_arch_from_capability``: ``sm_90a``).
"""

from __future__ import annotations

import re
from typing import Any, Literal

SCRATCH = (None, None)
"""The arguments behind all others."""
THREADS_PER_WARP = 32

_ENTRY = re.compile(r"\.entry\s+(\w+)\s*\((.*?)\)", re.DOTALL)
_PARAMETER = re.compile(r"\.param\s+(?:\.align\s+\d+\s+)?\.([a-z]\d+)(?:\s+\.ptr\b[^,]*?)?\s+\w+")
_KINDS: dict[str, Literal["pointer", "i32"]] = {
    "u64": "pointer",
    "b64": "pointer",
    "u32": "i32",
    "b32": "i32",
}


def parameters_of(ptx: str) -> tuple[str, tuple[Literal["pointer", "i32"], ...]]:
    """Return a kernel's name and the kinds of its parameters, as the compiled text has them.

    Raises
    ------
    ValueError
        It has no kernel, several, or parameters of other kinds.

    Examples
    --------
    >>> parameters_of(".visible .entry f(.param .u64 .ptr .global .align 1 a, .param .u32 b)")
    ('f', ('pointer', 'i32'))
    """
    found = _ENTRY.findall(ptx)
    if len(found) != 1:
        raise ValueError(f"{len(found)} kernels in one program")
    name, text = found[0]
    kinds = [each.group(1) for each in _PARAMETER.finditer(text)]
    if len(kinds) != text.count(".param") or not set(kinds) <= set(_KINDS):
        raise ValueError(f"{name} has parameters that nobody knows: {text[:200]}")
    return name, tuple(_KINDS[kind] for kind in kinds)


def require_plain(metadata: Any) -> None:
    """Raise ``ValueError`` where a kernel wants more at its launch than ours are given."""
    wanted = {
        "num_ctas": 1, "global_scratch_size": 0, "profile_scratch_size": 0,
        "launch_cooperative_grid": False, "launch_pdl": False, "warp_size": THREADS_PER_WARP,
    }  # fmt: skip
    for name, plain in wanted.items():
        found = getattr(metadata, name)
        if found != plain:
            raise ValueError(f"{metadata.name} wants {name} {found}, not {plain}")
