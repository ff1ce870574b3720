"""What every backend promises, as tests: of those that ship, and of those of other packages.

Imports pytest, as nothing else in this package does. In the tests of a backend::

    import pytest
    from live_restore.testing.backends import BackendCompliance
    from live_restore_npu import Npu

    class TestNpu(BackendCompliance):
        @pytest.fixture
        def backend(self):
            return Npu()

On a computer on which the backend has an obstacle, what needs its device is skipped, with the
obstacle as the reason. With ``pytest.register_assert_rewrite("live_restore.testing.backends")`` in
the conftest.py, pytest shows the values behind a failure.
"""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import DeviceError, InferenceError, ModelError
from live_restore.files.values import json_object
from live_restore.inference.backends.backend import Backend, Limits, ModelSource
from live_restore.inference.backends.onnx_cpu import TrustedSession
from live_restore.inference.backends.session import Device, Session, Shape5
from live_restore.inference.backends.table import parse_device
from live_restore.inference.device.check import (
    TOLERANCE_FP32,
    TOLERANCE_REDUCED,
    known_tile,
    relative_rms,
    small_shape,
)
from live_restore.inference.load import find_model
from live_restore.inference.model.card import CARD_KEY, ModelCard
from live_restore.settings.devices import is_device_name

_PRECISIONS = ("fp32", "tf32", "bf16", "fp16")
_OTHER_SHAPE: Shape5 = (1, 1, 5, 48, 70)
# Of the processor's time over the clock's while one thread computes. Two that share the work come
# to 1.8 and more; other programs on the computer only lower it.
_ONE_THREAD = 1.5
_BUSY_S = 0.5


class BackendCompliance:
    """Tests that a backend has to pass; a subclass names it in a fixture called ``backend``.

    What they cannot see: whether a session runs on the device that it names, if that name is a
    guess. Take it from what the runtime reports, and refuse with ``DeviceError`` where it fell
    back to another device.

    Attributes
    ----------
    limits_threads
        Whether ``Limits.threads`` bounds what it takes of the processor; ``None``: of backends on
        the CPU.
    """

    limits_threads: bool | None = None

    @pytest.fixture
    def backend(self) -> Backend:
        """Return the backend; to be overridden."""
        raise NotImplementedError("return your backend from a fixture called `backend`")

    @pytest.fixture
    def usable(self, backend: Backend) -> Backend:
        """Return the backend where its device is here; else the test is skipped."""
        if why_not := backend.obstacle():
            pytest.skip(why_not)
        return backend

    def test_its_name_is_a_word_of_the_settings(self, backend: Backend) -> None:
        assert is_device_name(backend.name), backend.name
        assert parse_device(backend.name) == (backend.name, 0)
        assert isinstance(backend.on_cpu, bool), "on_cpu says where it computes"

    def test_its_obstacle_is_one_line_or_empty(self, backend: Backend) -> None:
        why_not = backend.obstacle()
        assert isinstance(why_not, str), 'no obstacle is ""'
        assert why_not.isprintable(), "one line"
        assert why_not == why_not.strip()
        assert backend.obstacle() == why_not, "and the same when it is asked again"

    def test_where_there_is_no_obstacle_it_opens(self, usable: Backend) -> None:
        session = _opened(usable, small_shape(_card()))
        assert callable(session.run)

    def test_its_version_is_one_line(self, usable: Backend) -> None:
        version = usable.version()
        assert version, "measurements are repeated when it changes"
        assert version.isprintable()
        assert version == usable.version()

    def test_its_precisions_begin_with_float32(self, usable: Backend) -> None:
        precisions = usable.precisions()
        assert precisions[0] == "fp32"
        assert set(precisions) <= set(_PRECISIONS), f"what there is: {_PRECISIONS}"
        assert len(set(precisions)) == len(precisions)

    def test_it_says_what_it_runs_on(self, usable: Backend) -> None:
        for precision in usable.precisions():
            device = _opened(usable, small_shape(_card()), precision).device
            assert isinstance(device, Device)
            assert parse_device(device.name)[0] == usable.name, "so that a person can ask for it"
            assert device.precision == precision
            assert device.provider
            assert device.hardware
            assert device.on_gpu is not usable.on_cpu
            assert device.memory_bytes >= 0

    @pytest.mark.parametrize("shape", [None, _OTHER_SHAPE], ids=["small", "odd"])
    def test_its_numbers_agree_with_the_trusted_ones(
        self, usable: Backend, shape: Shape5 | None
    ) -> None:
        shape = shape or small_shape(_card())
        tile, right = known_tile(shape, _card()), _right(shape)
        for precision in usable.precisions():
            out = _opened(usable, shape, precision).run(tile)
            assert out.shape == shape
            error = relative_rms(out, right)
            bound = TOLERANCE_FP32 if precision == "fp32" else TOLERANCE_REDUCED
            assert error <= bound, f"{precision}: relative rms error {error:.2g}, allowed {bound}"

    def test_a_result_belongs_to_its_caller(self, usable: Backend) -> None:
        shape = small_shape(_card())
        tile = known_tile(shape, _card())
        given = tile.copy()
        session = _opened(usable, shape)
        out = session.run(tile)
        assert out.dtype == np.float32
        assert np.array_equal(tile, given), "the tile is not written into"
        assert out.flags.writeable, "the caller finishes it in place"
        first = out.copy()
        session.run(tile * np.float32(2))
        assert np.array_equal(out, first), "the next tile is not written into it"

    def test_sessions_of_several_shapes_live_side_by_side(self, usable: Backend) -> None:
        shapes = (small_shape(_card()), _OTHER_SHAPE)
        sessions = [_opened(usable, shape) for shape in shapes]
        for _ in range(2):
            for session, shape in zip(sessions, shapes, strict=True):
                out = session.run(known_tile(shape, _card()))
                assert relative_rms(out, _right(shape)) <= TOLERANCE_FP32

    def test_another_shape_is_run_or_refused_by_name(self, usable: Backend) -> None:
        own = small_shape(_card())
        session, refusal = _opened(usable, own), ""
        try:
            out = session.run(known_tile(_OTHER_SHAPE, _card()))
        except (InferenceError, ValueError) as error:
            refusal = str(error)
        if refusal:
            assert str(_OTHER_SHAPE) in refusal, "which shape it was"
        else:
            assert relative_rms(out, _right(_OTHER_SHAPE)) <= TOLERANCE_FP32
        out = session.run(known_tile(own, _card()))
        assert relative_rms(out, _right(own)) <= TOLERANCE_FP32, "its own shape goes on"

    def test_a_tile_that_does_not_fit_the_model_is_refused(self, usable: Backend) -> None:
        session = _opened(usable, small_shape(_card()))
        with pytest.raises((InferenceError, ValueError)):
            session.run(np.zeros((1, 3, 4, 16, 16), np.float32))

    def test_what_is_no_model_is_refused_by_name(self, usable: Backend) -> None:
        broken = ModelSource(Path("broken.onnx"), b"no model", "0" * 64)
        with pytest.raises((ModelError, DeviceError)) as caught:
            usable.open(broken, small_shape(_card()), "fp32", 0, Limits(1))
        assert str(caught.value).isprintable(), "one line"
        if isinstance(caught.value, ModelError):
            assert "broken.onnx" in str(caught.value)

    def test_one_thread_is_one_thread(self, usable: Backend) -> None:
        limits = usable.on_cpu if self.limits_threads is None else self.limits_threads
        if not limits:
            pytest.skip("it does not promise to")
        if len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else [0, 1]) < 2:
            pytest.skip("one core cannot tell")
        shape = small_shape(_card())
        session, tile = _opened(usable, shape), known_tile(shape, _card())
        session.run(tile)
        began, processor = time.perf_counter(), time.process_time()
        while time.perf_counter() - began < _BUSY_S:
            session.run(tile)
        used = (time.process_time() - processor) / (time.perf_counter() - began)
        assert used <= _ONE_THREAD, f"with threads = 1 it kept {used:.1f} cores busy"


def _opened(backend: Backend, shape: Shape5, precision: str = "fp32") -> Session:
    return backend.open(_source(), shape, precision, 0, Limits(threads=1))


@functools.cache
def _source() -> ModelSource:
    path = find_model("fast")
    return ModelSource.of(path, path.read_bytes())


@functools.cache
def _trusted() -> TrustedSession:
    return TrustedSession(_source(), Limits(threads=1))


@functools.cache
def _card() -> ModelCard:
    return ModelCard.model_validate(json_object(_trusted().metadata[CARD_KEY]))


@functools.cache
def _right(shape: Shape5) -> np.ndarray:
    return _trusted().run(known_tile(shape, _card()))
