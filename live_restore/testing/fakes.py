"""Fakes behind the seam of inference: a session and a backend that need no runtime."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.inference.backends.backend import Form, Limits, ModelSource
from live_restore.inference.backends.session import Device, Floats, Shape5
from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.model import Model


def halve(tile: Floats) -> Floats:
    """Return half of every voxel: a result that is neither raw nor empty."""
    return tile * np.float32(0.5)


class FakeSession:
    """A session that runs a function on (N, C, Z, Y, X) and records the shapes it was given."""

    def __init__(self, function: Callable[[Floats], Floats] = lambda tile: tile) -> None:
        self.function = function
        self.device = Device("cpu", "fake CPUExecutionProvider", "fake processor")
        self.metadata: dict[str, str] = {}
        self.shapes: list[tuple[int, ...]] = []

    def run(self, tile: Floats) -> Floats:
        """Run one tile."""
        self.shapes.append(tile.shape)
        return self.function(tile)


class FakeBackend:
    """A backend that runs a function, takes its time, and records what it was opened for.

    Parameters
    ----------
    name
        As in ``inference.device``; "cpu" and "openvino" are on the CPU.
    function
        What its model does to a tile.
    seconds
        How long each tile takes.
    precisions, obstacle
        What its methods return.
    """

    def __init__(
        self,
        name: str,
        function: Callable[[Floats], Floats] = halve,
        seconds: float = 0.0,
        precisions: tuple[str, ...] = ("fp32",),
        obstacle: str = "",
    ) -> None:
        self.name = name
        self.on_cpu = name in ("cpu", "openvino")
        self.opened: list[tuple[Shape5, str]] = []
        self._function = function
        self._seconds = seconds
        self._precisions = precisions
        self._obstacle = obstacle

    def obstacle(self) -> str:
        """Return what it was made with."""
        return self._obstacle

    def precisions(self) -> tuple[str, ...]:
        """Return what it was made with."""
        return self._precisions

    def version(self) -> str:
        """Return its name and a number."""
        return f"{self.name} 1.0"

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> FakeSession:
        """Return a session of the function; it takes tiles of any shape."""
        del source, index, limits
        self.opened.append((shape, precision))

        def run(tile: Floats) -> Floats:
            time.sleep(self._seconds)
            return self._function(tile)

        session = FakeSession(run)
        session.device = Device(
            self.name, self.name, "fake", precision=precision, on_gpu=not self.on_cpu
        )
        return session


class FakeFormsBackend(FakeBackend):
    """The same, with other forms of running the model.

    Parameters
    ----------
    others
        Fake backends by the name of their form; each has one precision.
    """

    def __init__(self, name: str, others: dict[str, FakeBackend], seconds: float = 0.0) -> None:
        super().__init__(name, seconds=seconds)
        self.others = others

    def forms(self) -> tuple[Form, ...]:
        """Return what it was made with."""
        return tuple(Form(o, o.precisions()[0], name) for name, o in self.others.items())


def fake_model(function: Callable[[Floats], Floats] = halve, **card: Any) -> Model:
    """Return a model that needs no file; ``card`` are fields of its card."""
    described = ModelCard(**{"name": "fake", **card})
    return Model(Path("fake.onnx"), "0" * 64, described, FakeSession(function))
