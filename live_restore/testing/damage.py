"""Files as a copy that stops, or a bad disk, leaves them: the same at every run."""

from __future__ import annotations

import random
from collections.abc import Iterator


def cuts(size: int, most: int) -> list[int]:
    """Return some ``most`` lengths at which to cut a file.

    Its ends closely, all of it evenly, and ever closer to its end: much of a file may be reserved.

    Examples
    --------
    >>> cuts(6, 100)
    [0, 1, 2, 3, 4, 5]
    >>> cuts(900, 8)
    [0, 1, 388, 450, 644, 772, 836, 868, 884, 892, 896, 898, 899]
    """
    if size <= most:
        return list(range(size))
    part = most // 4
    evenly = (size * n // part for n in range(part))
    closer = (size - 2**n for n in range(size.bit_length()) if 2**n <= size)
    return sorted({*range(part), *range(size - part, size), *evenly, *closer})


def mutants(data: bytes, seed: str, most: int) -> Iterator[bytes]:
    """Yield damaged copies: bytes changed, zeroed, taken out, put in, or put elsewhere."""
    rng = random.Random(seed)  # noqa: S311 - the same on every machine
    for _ in range(most):
        hurt = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 5, 20))):
            # Headers and directories lie at the ends, and decide the most.
            size = len(hurt)
            at = rng.choice((rng.randrange(min(size, 200)), rng.randrange(size))) if size else 0
            length = rng.choice((1, 2, 4, 8, 64))
            part = hurt[at : at + length]
            hurt[at : at + length] = rng.choice(
                (
                    rng.randbytes(len(part)),
                    bytes(len(part)),
                    b"\xff" * len(part),
                    b"",
                    rng.randbytes(length) + part,
                    hurt[rng.randrange(size) :][: len(part)] if size else b"",
                )
            )
        yield bytes(hurt)
