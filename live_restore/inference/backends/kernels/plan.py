"""What a file of kernels says: its programs, and the order in which they make up a network. Pure.

All that depends on a tile's size is a :class:`Size`: a product of a few numbers and axes. No code
but that of the card's programs comes from such a file.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

FORMAT: Final = "live-restore-kernels/1"
MANIFEST = "manifest.json"
LARGEST_GRID = (2**31 - 1, 65535, 65535)
"""Programs in x, y and z: of every card since compute capability 3.0 (CUDA C++ Programming Guide,
technical specifications per compute capability)."""
LARGEST_I32 = 2**31 - 1

Axis = Literal["z", "y", "x"]
Kind = Literal["pointer", "i32"]
_Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,80}$")]
_Digest = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
_Few = Annotated[int, Field(ge=1, le=2**20)]
# Far above a network of 100 groups of 100 blocks.
_MOST = 50_000
# Values of all weights together; a model has at most 2**29 bytes, and `standard` here 2**21.
_MOST_WEIGHTS = 2**28


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Part(_Strict):
    """An axis over a number, rounded up: folded rows, blocks of columns."""

    of: Axis
    over: _Few


class Size(_Strict):
    """A product of numbers and axes over a number, rounded up, then times another one.

    Examples
    --------
    >>> voxels = Size(times=("z", Part(of="y", over=2), Part(of="x", over=2)))
    >>> voxels.of((3, 8, 18))
    108
    >>> Size(times=voxels.times, over=128).of((3, 8, 18))
    1
    """

    times: Annotated[
        tuple[Annotated[int, Field(ge=0, le=2**31)] | Axis | Part, ...], Field(max_length=8)
    ]
    over: _Few = 1
    by: _Few = 1

    def of(self, zyx: tuple[int, int, int]) -> int:
        """Return it for a tile of (Z, Y, X) voxels."""
        sizes: Mapping[str, int] = dict(zip(("z", "y", "x"), zyx, strict=True))
        product = 1
        for each in self.times:
            if isinstance(each, Part):
                product *= -(-sizes[each.of] // each.over)
            else:
                product *= each if isinstance(each, int) else sizes[each]
        return -(-product // self.over) * self.by


class Cubin(_Strict):
    """A program for one generation of cards.

    Parameters
    ----------
    file, sha256
        Its name in the archive, and the digest of its bytes (hex).
    shared
        Bytes of shared memory per block, to be given when it is launched.
    """

    file: Annotated[str, Field(pattern=r"^[a-z0-9_]{1,20}/[A-Za-z0-9_.-]{1,80}$")]
    sha256: _Digest
    shared: Annotated[int, Field(ge=0, le=232_448)]


class Program(_Strict):
    """A kernel.

    Parameters
    ----------
    symbol
        Its function.
    threads
        Per block.
    parameters
        Of what kind each is, in order.
    cubins
        By compute capability: "86" is 8.6.
    """

    name: _Name
    symbol: Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,200}$")]
    threads: Annotated[int, Field(ge=32, le=1024, multiple_of=32)]
    parameters: Annotated[tuple[Kind, ...], Field(max_length=64)]
    cubins: dict[Annotated[str, Field(pattern=r"^\d{2,3}$")], Cubin]


class Weight(_Strict):
    """A tensor of the model, as kernels take it (``weights.py``).

    Parameters
    ----------
    initialiser
        Its name in the model.
    layout
        "taps": (27, inputs, outputs) in float16; "matrix": (rows, columns), and "vector", in
        float32.
    shape
        What the kernels take, at least what the model has; the rest is zero.
    fold
        Of taps: how many pixels stand in channels, per axis.
    """

    name: _Name
    initialiser: _Name
    layout: Literal["taps", "matrix", "vector"]
    shape: Annotated[tuple[Annotated[int, Field(ge=1, le=2**14)], ...], Field(max_length=3)]
    fold: Annotated[int, Field(ge=1, le=16)] = 1

    @property
    def nbytes(self) -> int:
        """Its bytes on the card."""
        return math.prod(self.shape) * (2 if self.layout == "taps" else 4)


class Buffer(_Strict):
    """Memory of the card that one program writes and others read; ``size`` is in values."""

    name: _Name
    type: Literal["float16", "float32"]
    size: Size

    def nbytes(self, zyx: tuple[int, int, int]) -> int:
        """Return its bytes for a tile."""
        return self.size.of(zyx) * (2 if self.type == "float16" else 4)


class Launch(_Strict):
    """A program that is run: over a grid of blocks (x, y, z).

    An argument is the name of a weight or a buffer, a number, or nothing: a pointer to nowhere.
    """

    program: _Name
    grid: tuple[Size, Size, Size]
    arguments: Annotated[tuple[_Name | Size | None, ...], Field(max_length=64)]

    def grid_for(self, zyx: tuple[int, int, int]) -> tuple[int, int, int]:
        """Return how many blocks there are for a tile."""
        x, y, z = self.grid
        return x.of(zyx), y.of(zyx), z.of(zyx)


class Limit(_Strict):
    """What a tile may not reach: offsets of the kernels would wrap around."""

    size: Size
    below: Annotated[int, Field(ge=1, le=2**62)]


class Plan(_Strict):
    """A network in launches, in order.

    ``given`` and ``made`` are the buffers, both (Z, Y, X) in float32 and network units, that hold
    the tile and what comes out.
    """

    multiple_zyx: tuple[_Few, _Few, _Few]
    given: _Name
    made: _Name
    weights: Annotated[tuple[Weight, ...], Field(max_length=_MOST)]
    buffers: Annotated[tuple[Buffer, ...], Field(max_length=1000)]
    launches: Annotated[tuple[Launch, ...], Field(min_length=1, max_length=_MOST)]
    limits: Annotated[tuple[Limit, ...], Field(max_length=100)] = ()

    def buffer(self, name: str) -> Buffer:
        """Return a buffer by its name."""
        return next(each for each in self.buffers if each.name == name)

    def too_large(self, zyx: tuple[int, int, int]) -> bool:
        """Return whether the kernels cannot count the voxels of a tile."""
        if any(limit.size.of(zyx) >= limit.below for limit in self.limits):
            return True
        return any(
            any(n > most for n, most in zip(each.grid_for(zyx), LARGEST_GRID, strict=True))
            or any(isinstance(a, Size) and a.of(zyx) > LARGEST_I32 for a in each.arguments)
            for each in self.launches
        )


class Manifest(_Strict):
    """What a file of kernels says about itself.

    ``model_sha256`` is the digest of the ONNX model that it was compiled for, ``compiler`` for
    reports.
    """

    format: Literal["live-restore-kernels/1"]
    model: Annotated[str, Field(max_length=200)]
    model_sha256: _Digest
    compiler: Annotated[str, Field(max_length=200)]
    programs: Annotated[tuple[Program, ...], Field(min_length=1, max_length=1000)]
    plan: Plan

    @model_validator(mode="after")
    def _names_agree(self) -> Manifest:
        programs = {each.name: each for each in self.programs}
        pointers = [each.name for each in self.plan.weights]
        pointers += [each.name for each in self.plan.buffers]
        if _twice(pointers) or _twice(each.name for each in self.programs):
            raise ValueError("a name stands for two things")
        if sum(math.prod(each.shape) for each in self.plan.weights) > _MOST_WEIGHTS:
            raise ValueError("its weights are larger than any model's")
        known = set(pointers)
        types = {each.name: each.type for each in self.plan.buffers}
        for end in (self.plan.given, self.plan.made):
            if types.get(end) != "float32":
                raise ValueError(f"{end} is no buffer in float32")
        for launch in self.plan.launches:
            program = programs.get(launch.program)
            if program is None:
                raise ValueError(f"there is no program {launch.program}")
            found = tuple("i32" if isinstance(a, Size) else "pointer" for a in launch.arguments)
            if found != program.parameters:
                raise ValueError(f"{launch.program} is given other arguments than it takes")
            for argument in launch.arguments:
                if isinstance(argument, str) and argument not in known:
                    raise ValueError(f"there is no weight or buffer {argument}")
        return self


def _twice(names: Iterable[str]) -> bool:
    listed = list(names)
    return len(set(listed)) < len(listed)
