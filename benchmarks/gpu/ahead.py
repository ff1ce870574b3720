"""What our own kernels need on each generation of cards: compiled where there is no GPU.

    python benchmarks/gpu/ahead.py

A table of registers per thread, bytes spilled (values kept in memory for want of registers), shared
memory of a block and size of the program, of every kernel of ``fast`` (24 channels) and
``standard`` (32). Exits with 1 where one spills. About 2 minutes; needs the extra ``kernels``.
"""

from __future__ import annotations

import sys

from live_restore_export.kernels.ahead import build, kernels_of, usage_of
from live_restore_export.kernels.package import CARDS


def main() -> int:
    """Print the table; return 1 where a kernel spills."""
    print("| cards | channels | kernel | registers | spilled | shared, kB | size, kB |")
    print("|---|---:|---|---:|---:|---:|---:|")
    spills = False
    for capability, cards in CARDS.items():
        for channels in (24, 32):
            for name, source in kernels_of(channels).items():
                kernel = usage_of(build(source, capability))
                spills |= kernel.spilled > 0
                print(
                    f"| sm_{capability}: {cards} | {channels} | {name} | {kernel.registers} | "
                    f"{kernel.spilled} | {kernel.shared / 1e3:.0f} | {kernel.size / 1e3:.0f} |",
                    flush=True,
                )
    return int(spills)


if __name__ == "__main__":
    sys.exit(main())
