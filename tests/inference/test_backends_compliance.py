"""Every backend that ships keeps what a backend promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from live_restore.inference.backends.backend import Backend, Limits, ModelSource
from live_restore.inference.backends.onnx_cpu import OnnxCpu
from live_restore.inference.backends.plug_in import PlugIn
from live_restore.inference.backends.session import Floats, Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.testing import backends as suite
from live_restore.testing.backends import BackendCompliance

SHIPPED = [backend for backend in make_backends() if not isinstance(backend, PlugIn)]


class TestBackends(BackendCompliance):
    """Those with an obstacle on this computer skip what needs their device."""

    @pytest.fixture(params=SHIPPED, ids=lambda backend: backend.name)
    def backend(self, request: pytest.FixtureRequest) -> Backend:
        return request.param


class Odd(OnnxCpu):
    """A backend with something wrong; the suite must notice."""

    def open(self, *arguments: Any) -> Any:
        return self.spoilt(super().open(*arguments))

    def spoilt(self, session: Any) -> Any:
        return session


class ShoutingName(Odd):
    name = "CPU:0"


class SilentlyElsewhere(Odd):
    name = "npu"


class NoObstacleButNone(Odd):
    def obstacle(self) -> Any:
        return None


class TwoLines(Odd):
    def obstacle(self) -> str:
        return "a\nb"


class NarrowFirst(Odd):
    def precisions(self) -> tuple[str, ...]:
        return ("bf16", "fp32")


class NoVersion(Odd):
    def version(self) -> str:
        return ""


class OtherPrecision(Odd):
    def spoilt(self, session: Any) -> Any:
        session.device = replace(session.device, precision="bf16")
        return session


class Wrong(Odd):
    def spoilt(self, session: Any) -> Any:
        run = session.run
        session.run = lambda tile: run(tile) * np.float32(0.9)
        return session


class OneBuffer(Odd):
    def spoilt(self, session: Any) -> Any:
        run, buffer = session.run, {}

        def into_buffer(tile: Floats) -> Floats:
            out = buffer.setdefault(tile.shape, np.empty(tile.shape, np.float32))
            out[:] = run(tile)
            return out

        session.run = into_buffer
        return session


class WritesIntoTheTile(Odd):
    def spoilt(self, session: Any) -> Any:
        run = session.run

        def in_place(tile: Floats) -> Floats:
            tile[:] = run(tile)
            return tile.copy()

        session.run = in_place
        return session


class ForeignError(Odd):
    def spoilt(self, session: Any) -> Any:
        run = session.run

        def fussy(tile: Floats) -> Floats:
            if tile.shape[-1] != 64:
                raise RuntimeError("E_INVALIDARG")
            return run(tile)

        session.run = fussy
        return session


class SwallowsModels(Odd):
    def open(self, *arguments: Any) -> Any:
        return super().open(suite._source(), *arguments[1:])


class OneShape(Odd):
    """Not odd: a session refuses tiles of other shapes by name."""

    def open(
        self, source: ModelSource, shape: Shape5, precision: str, index: int, limits: Limits
    ) -> Any:
        session = super().open(source, shape, precision, index, limits)
        run = session.run

        def of_one_shape(tile: Floats) -> Floats:
            if tile.shape != shape:
                raise ValueError(f"a tile of {tile.shape} for a session of {shape}")
            return run(tile)

        session.run = of_one_shape
        return session


class TestOneShape(BackendCompliance):
    @pytest.fixture
    def backend(self) -> Backend:
        return OneShape()


@pytest.mark.parametrize(
    ("backend", "test"),
    [
        (ShoutingName, "test_its_name_is_a_word_of_the_settings"),
        (SilentlyElsewhere, "test_it_says_what_it_runs_on"),
        (NoObstacleButNone, "test_its_obstacle_is_one_line_or_empty"),
        (TwoLines, "test_its_obstacle_is_one_line_or_empty"),
        (NarrowFirst, "test_its_precisions_begin_with_float32"),
        (NoVersion, "test_its_version_is_one_line"),
        (OtherPrecision, "test_it_says_what_it_runs_on"),
        (Wrong, "test_sessions_of_several_shapes_live_side_by_side"),
        (OneBuffer, "test_a_result_belongs_to_its_caller"),
        (WritesIntoTheTile, "test_a_result_belongs_to_its_caller"),
        (ForeignError, "test_another_shape_is_run_or_refused_by_name"),
        (ForeignError, "test_a_tile_that_does_not_fit_the_model_is_refused"),
        (SwallowsModels, "test_what_is_no_model_is_refused_by_name"),
    ],
)
def test_the_suite_notices(backend: type[Odd], test: str) -> None:
    with pytest.raises((AssertionError, RuntimeError, pytest.fail.Exception)):
        getattr(BackendCompliance(), test)(backend())


def test_the_suite_notices_wrong_numbers() -> None:
    with pytest.raises(AssertionError, match=r"relative rms error 0\.1"):
        BackendCompliance().test_its_numbers_agree_with_the_trusted_ones(Wrong(), None)


def test_the_suite_measures_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less than any computation takes: how many threads really run depends on other programs."""
    monkeypatch.setattr(suite, "_ONE_THREAD", 0.01)
    with pytest.raises(AssertionError, match="with threads = 1 it kept"):
        BackendCompliance().test_one_thread_is_one_thread(OnnxCpu())
