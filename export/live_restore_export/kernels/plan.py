"""A 3D RCAN as launches of kernels: which, in what order, on which memory. Without Triton.

What a network has besides convolutions rides on them (bias, ReLU, sums, skips), but for channel
attention's scaling, which needs the means of the whole volume first. Feature volumes are recycled:
five are enough for any network.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from live_restore.inference.backends.kernels.plan import (
    Axis,
    Buffer,
    Launch,
    Limit,
    Part,
    Plan,
    Size,
    Weight,
)
from live_restore_export.kernels.conventions import SCRATCH

if TYPE_CHECKING:
    from live_restore_export.network import RCANConfig

VOXELS = 128
"""A program of ``scale_and_add``, ``fold`` and ``unfold`` takes so many: as many as one of the
smallest form below."""
ROWS = 128
"""Rows of sums that one program adds up."""
LARGEST_PLANE = 2**31
"""Values of a plane: offsets within one are 32 bits wide."""

ARGUMENTS = {
    "convolve": ("volume", "weights", "bias", "earlier", "result", "sums",
                 "depth", "height", "width"),
    "scale_and_add": ("volume", "factors", "earlier", "result", "voxels"),
    "fold": ("stack", "result", "height", "width"),
    "unfold": ("volume", "result", "height", "width"),
    "add_up": ("sums", "result", "rows"),
    "attend": ("sums", "squeeze", "squeeze_bias", "excite", "excite_bias", "factors", "rows",
               "voxels"),
}  # fmt: skip
"""Of each kernel, by name; a test compares them with the kernels themselves."""
NUMBERS = frozenset({"depth", "height", "width", "voxels", "rows"})
"""Those that are whole numbers; the others are pointers."""


@dataclass(frozen=True)
class Form:
    """How a convolution is cut for a GPU: it decides the speed, and nothing about the numbers.

    Parameters
    ----------
    rows, columns
        Voxels in Y and X of a program; their product a power of two.
    warps
        Groups of 32 threads that share these voxels.
    stages
        How many taps are under way from memory at once.
    """

    rows: int
    columns: int
    warps: int
    stages: int

    @property
    def options(self) -> dict[str, int | bool]:
        """Options of Triton's compiler."""
        return {"num_warps": self.warps, "num_stages": self.stages, "enable_fp_fusion": True}


FORMS = (Form(8, 16, 4, 3), Form(8, 16, 4, 4), Form(8, 32, 8, 3), Form(16, 16, 8, 3))
"""The first is used unless another is asked for; a GPU has to say which is the fastest."""
_SMALL = Form(1, VOXELS, 4, 3)
_RESULT = frozenset({"result"})


def padded(channels: int) -> int:
    """Return how many channels the kernels compute for so many."""
    return max(16, power_of_two(channels))


def power_of_two(least: int) -> int:
    """Return the smallest power of two that is not below ``least``."""
    return 1 << (least - 1).bit_length()


@dataclass(frozen=True)
class KernelSource:
    """A kernel with its constants, to be compiled.

    Parameters
    ----------
    kernel
        Its name: a key of ``ARGUMENTS``.
    constants
        By name.
    form
        Warps and stages.
    single
        Which of its pointers are to float32 though they are ordinarily to float16.
    """

    kernel: str
    constants: dict[str, Any]
    form: Form = _SMALL
    single: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Network:
    """A plan, and the kernels that are launched in it, by name."""

    plan: Plan
    kernels: dict[str, KernelSource]


def plan_of(config: RCANConfig, form: Form = FORMS[0]) -> Network:
    """Return a network's plan.

    Raises
    ------
    ValueError
        It has several image channels in or out.
    """
    if config.in_channels != 1 or config.out_channels != 1:
        raise ValueError("kernels take networks of one image channel in and out")
    planner = _Planner(config, form)
    planner.network()
    return Network(planner.plan(), planner.kernels)


@dataclass
class _Planner:
    config: RCANConfig
    form: Form
    kernels: dict[str, KernelSource] = field(default_factory=dict)
    _weights: list[Weight] = field(default_factory=list)
    _buffers: dict[str, Buffer] = field(default_factory=dict)
    _launches: list[Launch] = field(default_factory=list)
    _idle: list[str] = field(default_factory=list)
    _features: int = 0

    def plan(self) -> Plan:
        """Return what was planned."""
        fold, channels = self.config.lateral_shuffle, self.config.channels
        most = max(channels, fold**2)
        plane = Size(times=(self._folded("y"), self._folded("x"), most))
        return Plan(
            multiple_zyx=(1, fold, fold),
            given="given",
            made="made",
            weights=tuple(self._weights),
            buffers=tuple(self._buffers.values()),
            launches=tuple(self._launches),
            limits=(Limit(size=plane, below=LARGEST_PLANE), Limit(size=self._sums(), below=2**31)),
        )

    def network(self) -> None:
        """Plan all of it; steps in the order of ``RCAN.forward``."""
        config = self.config
        fold = config.lateral_shuffle**2
        stack = Size(times=("z", "y", "x"))
        given = self._buffer("given", "float32", stack)
        made = self._buffer("made", "float32", stack)
        folded = self._buffer("folded", "float16", self._voxels(fold))
        unfolded = self._buffer("unfolded", "float32", self._voxels(fold))
        self._fold("fold", given, folded)
        head = self._feature()
        self._convolve("head", folded, head, config.lateral_shuffle)
        y = head
        for group in range(config.groups):
            y = self._group(f"groups.{group}", y, keep=head)
        body = self._feature()
        self._convolve("body", y, body, earlier=head)
        self._convolve("tail", body, unfolded)
        self._fold("unfold", unfolded, made)

    def _group(self, name: str, x: str, keep: str) -> str:
        """Plan a group; return where its result is, and give back ``x`` unless it is ``keep``."""
        y = x
        for block in range(self.config.blocks):
            last = block == self.config.blocks - 1
            skips = self.config.block_skip == "every" or last
            made = self._block(f"{name}.blocks.{block}", y, skips)
            if y not in (x, keep):
                self._idle.append(y)
            y = made
        if self.config.has_group_tails:
            tail = self._feature()
            self._convolve(f"{name}.tail", y, tail, earlier=x)
            self._idle.append(y)
            y = tail
        if x != keep:
            self._idle.append(x)
        return y

    def _block(self, name: str, x: str, skips: bool) -> str:
        """Plan conv + ReLU, conv + sums, factors, scaling + skip; return where its result is."""
        channels, wide = self.config.channels, padded(self.config.channels)
        first, second = self._feature(), self._feature()
        self._convolve(f"{name}.conv1", x, first, relu=True)
        sums = self._buffer("sums", "float32", self._sums())
        self._convolve(f"{name}.conv2", first, second, sums=sums)
        self._idle.append(first)
        programs = Size(times=("z", self._down(), self._across()))
        fewer = Size(times=programs.times, over=ROWS)
        few = self._buffer("few_sums", "float32", Size(times=programs.times, over=ROWS, by=wide))
        self._launch(
            "add_up", "add_up", {"padded": wide, "many": ROWS}, (fewer, _one(), _one()),
            (sums, few, programs), single=_RESULT,
        )  # fmt: skip
        hidden = power_of_two(channels // self.config.reduction)
        factors = self._buffer("factors", "float32", Size(times=(wide,)))
        attention, scaling = f"{name}.attention", self.config.residual_scaling
        self._launch(
            "attend",
            "attend",
            {"padded": wide, "hidden": hidden, "many": ROWS,
             "scaling": 1.0 if scaling is None else float(scaling)},
            (_one(), _one(), _one()),
            (few, self._weight(f"{attention}.squeeze.weight", "matrix", (hidden, wide)),
             self._weight(f"{attention}.squeeze.bias", "vector", (hidden,)),
             self._weight(f"{attention}.excite.weight", "matrix", (wide, hidden)),
             self._weight(f"{attention}.excite.bias", "vector", (wide,)),
             factors, fewer, self._voxels()),
        )  # fmt: skip
        voxels = self._voxels()
        self._launch(
            "scale_and_add" if skips else "scale",
            "scale_and_add",
            {"channels": channels, "padded": wide, "block": VOXELS, "adds": skips},
            (Size(times=voxels.times, over=VOXELS), _one(), _one()),
            (second, factors, x, second, voxels),  # every voxel is read before it is written
        )
        return second

    def _convolve(
        self,
        name: str,
        volume: str,
        result: str,
        fold: int = 1,
        *,
        relu: bool = False,
        earlier: str | None = None,
        sums: str | None = None,
    ) -> None:
        channels, image = self.config.channels, self.config.lateral_shuffle**2
        inputs = image if name == "head" else channels
        outputs = image if name == "tail" else channels
        shape = (27, padded(inputs), padded(outputs))
        taps = self._weight(f"{name}.weight", "taps", shape, fold)
        bias = self._weight(f"{name}.bias", "vector", shape[2:])
        kind = {"head": "head", "tail": "tail"}.get(
            name, "with_relu" if relu else "with_sums" if sums else "with_skip"
        )
        constants = {
            "channels_in": inputs, "channels_out": outputs, "padded_in": shape[1],
            "padded_out": shape[2], "rows": self.form.rows, "columns": self.form.columns,
            "relu": relu, "adds": earlier is not None, "sums_up": sums is not None,
        }  # fmt: skip
        across, down = self._across(), self._down()
        self._launch(
            kind,
            "convolve",
            constants,
            (Size(times=(across,)), Size(times=(down,)), Size(times=("z",))),
            (volume, taps, bias, earlier, result, sums, Size(times=("z",)),
             Size(times=(self._folded("y"),)), Size(times=(self._folded("x"),))),
            self.form,
            _RESULT if name == "tail" else frozenset(),
        )  # fmt: skip

    def _fold(self, kernel: str, source: str, result: str) -> None:
        factor = self.config.lateral_shuffle
        constants = {
            "factor": factor, "padded": power_of_two(factor**2), "block": VOXELS,
            "standardise": self.config.standardise,
        }  # fmt: skip
        rows = Size(times=(self._folded("y"),))
        blocks = Size(times=(Part(of="x", over=factor * VOXELS),))
        self._launch(
            kernel, kernel, constants, (blocks, rows, Size(times=("z",))),
            (source, result, rows, Size(times=(self._folded("x"),))),
            single=_RESULT | {"volume"} if kernel == "unfold" else frozenset(),
        )  # fmt: skip

    def _launch(
        self,
        name: str,
        kernel: str,
        constants: dict[str, Any],
        grid: tuple[Size, Size, Size],
        arguments: Iterable[str | Size | None],
        form: Form = _SMALL,
        single: frozenset[str] = frozenset(),
    ) -> None:
        source = KernelSource(kernel, constants, form, single)
        assert self.kernels.setdefault(name, source) == source
        given = (*arguments, *SCRATCH)
        self._launches.append(Launch(program=name, grid=grid, arguments=given))

    def _weight(
        self,
        name: str,
        layout: Literal["taps", "matrix", "vector"],
        shape: tuple[int, ...],
        fold: int = 1,
    ) -> str:
        self._weights.append(
            Weight(name=name, initialiser=name, layout=layout, shape=shape, fold=fold)
        )
        return name

    def _feature(self) -> str:
        """Return a feature volume that nothing else is in."""
        if self._idle:
            return self._idle.pop()
        self._features += 1
        size = self._voxels(self.config.channels)
        return self._buffer(f"features.{self._features}", "float16", size)

    def _buffer(self, name: str, kind: Literal["float16", "float32"], size: Size) -> str:
        made = Buffer(name=name, type=kind, size=size)
        assert self._buffers.setdefault(name, made) == made
        return name

    def _folded(self, axis: Axis) -> Part:
        return Part(of=axis, over=self.config.lateral_shuffle)

    def _down(self) -> Part:
        """Return blocks of rows: programs of a convolution in Y."""
        return Part(of="y", over=self.config.lateral_shuffle * self.form.rows)

    def _across(self) -> Part:
        return Part(of="x", over=self.config.lateral_shuffle * self.form.columns)

    def _voxels(self, values: int = 1) -> Size:
        """Return the folded voxels of a tile, times the values of each."""
        return Size(times=("z", self._folded("y"), self._folded("x")), by=values)

    def _sums(self) -> Size:
        """Return the sums of a convolution: a row per program."""
        return Size(times=("z", self._down(), self._across()), by=padded(self.config.channels))


def _one() -> Size:
    return Size(times=(1,))
