"""What is claimed of an NVIDIA GPU, held on one; and rehearsed with sessions of the processor.

``pytest -m gpu tests/inference`` runs it where there is a GPU. What the runtime does with options
is seen there alone.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import DeviceMemoryError, LiveRestoreError
from live_restore.inference.backends import onnx_cuda
from live_restore.inference.backends.backend import Form, Limits
from live_restore.inference.backends.cuda_options import PLAIN
from live_restore.inference.backends.onnx import CPU, create
from live_restore.inference.backends.onnx_cuda import OnnxCuda, cuda_obstacle
from live_restore.inference.backends.session import Shape5
from live_restore.inference.device import forms, measure
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import (
    FLOAT32_ERROR,
    counts_of,
    known_tile,
    relative_rms,
)
from live_restore.inference.device.choice import ChosenSession, DeviceRequest
from live_restore.inference.device.precision import ERROR_BOUND
from live_restore.inference.load import bundled_models, load_trusted

SHAPE: Shape5 = (1, 1, 16, 64, 64)
LIMITS = Limits(threads=2)
FORMS = (Form(OnnxCuda(PLAIN), "fp32", "plain"), *OnnxCuda().forms())


def everywhere(form: Form, where: str) -> Any:
    marks = [pytest.mark.gpu] if where == "gpu" else []
    return pytest.param(form, where, id=f"{where}: {form.precision} {form.name}", marks=marks)


# Two of them are enough of a rehearsal; all of them open in test_half_graph.py.
EACH_FORM = pytest.mark.parametrize(
    ("form", "place"),
    [everywhere(form, "gpu") for form in FORMS]
    + [everywhere(form, "processor") for form in FORMS[:2]],
    indirect=["place"],
)
PLACES = [
    pytest.param("processor", marks=pytest.mark.slow),
    pytest.param("gpu", marks=pytest.mark.gpu),
]


@pytest.fixture
def place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where it runs: on the GPU, or with sessions of the processor in its place."""
    if request.param == "gpu":
        if obstacle := cuda_obstacle():
            pytest.skip(obstacle)
        return "gpu"

    def on_processor(source: Any, _: Any, limits: Limits, **rest: Any) -> Any:
        return create(source, [CPU], limits, **rest)

    monkeypatch.setattr(onnx_cuda, "create", on_processor)
    monkeypatch.setattr(onnx_cuda, "_PROVIDER", CPU)
    monkeypatch.setattr(onnx_cuda, "_MEMORY", "cpu")
    monkeypatch.setattr(onnx_cuda, "cuda_obstacle", lambda: "")
    monkeypatch.setattr(measure, "_MEASURING_S", 0.01)
    monkeypatch.setattr(forms, "_MEASURING_S", 0.0)
    monkeypatch.setattr(forms, "_TILES_ZYX", ((8, 64, 64), (8, 32, 32)))
    return "processor"


def opened(form: Form, shape: Shape5 = SHAPE, limits: Limits = LIMITS) -> Any:
    """Return a session; a form that cannot be had says why, in words, and is skipped."""
    source, _, _ = load_trusted(bundled_models()["fast"], LIMITS)
    try:
        return form.backend.open(source, shape, form.precision, 0, limits)
    except LiveRestoreError as error:
        if form.name == "plain" and form.precision == "fp32":
            raise
        pytest.skip(f"this form cannot be had here: {error}")


@EACH_FORM
def test_a_form_is_right_in_the_precision_that_it_names(form: Form, place: str) -> None:
    _, card, trusted = load_trusted(bundled_models()["fast"], LIMITS)
    session, tile = opened(form), known_tile(SHAPE, card)
    error = relative_rms(session.run(tile), trusted.run(tile))
    assert error < (FLOAT32_ERROR if form.precision == "fp32" else ERROR_BOUND)
    assert session.device.on_gpu
    if place == "gpu" and form.precision != "fp32":
        assert error > 1e-5, "what is called less than float32 is"


@EACH_FORM
def test_runs_are_repeated_with_other_voxels_other_shapes_and_other_threads(
    form: Form, place: str
) -> None:
    """A recorded graph repeats addresses: what it gives must be of the tile that it was given."""
    rng = np.random.default_rng(3)
    shapes: tuple[Shape5, ...] = (SHAPE, (1, 1, 8, 32, 96))
    sessions = {shape: opened(form, shape) for shape in shapes}
    tiles = [rng.random(shapes[i % 2], dtype=np.float32) for i in range(6)]
    first = [sessions[tile.shape].run(tile) for tile in tiles]  # type: ignore[index]
    kept = [each.copy() for each in first]
    with ThreadPoolExecutor(1) as other:
        again = [other.submit(sessions[t.shape].run, t).result() for t in tiles]  # type: ignore[index]
    for a, b, c in zip(first, kept, again, strict=True):
        np.testing.assert_array_equal(a, b)
        np.testing.assert_allclose(a, c, atol=1e-2)
    assert relative_rms(first[0], first[2]) > 0.1, "each of its own tile"


@EACH_FORM
def test_grey_values_are_those_of_the_host_path(form: Form, place: str) -> None:
    source, card, _ = load_trusted(bundled_models()["fast"], LIMITS)
    tile, scale = counts_of(known_tile(SHAPE, card))
    low, factor, divisor = scale
    session = opened(form)
    network = session.run((tile.astype(np.float32) - low) * factor)
    del session
    backend: Any = form.backend
    try:
        found = backend.open_counts(source, SHAPE, form.precision, 0, LIMITS)
    except LiveRestoreError as error:
        pytest.skip(f"this form cannot be had here: {error}")
    wanted = np.clip(np.rint(network * divisor + low), 0, 65535).astype(np.uint16)
    np.testing.assert_array_equal(found.run_counts(tile, scale).volume, wanted)


@pytest.mark.parametrize("place", PLACES, indirect=True)
def test_forms_are_tried_and_the_best_one_is_used_and_remembered(
    place: str, tmp_path: Path
) -> None:
    source, card, trusted = load_trusted(bundled_models()["fast"], LIMITS)

    def start() -> ChosenSession:
        return ChosenSession(
            source, card, trusted, DeviceRequest("cuda", limits=LIMITS), [OnnxCuda()],
            DeviceCache(tmp_path / "backends.json"),
        )  # fmt: skip

    session = start()
    tile = known_tile(SHAPE, card)
    assert relative_rms(session.run(tile), trusted.run(tile)) < ERROR_BOUND
    assert session.device.mvoxel_per_s > 0
    assert "forms on" in session.device.reason
    kept = of_forms(tmp_path)
    start()
    assert "not tried yet" in session.device.reason or of_forms(tmp_path) == kept


def of_forms(folder: Path) -> list[dict[str, Any]]:
    """Return what is remembered of forms."""
    entries = DeviceCache(folder / "backends.json").entries()
    found = [entry for key, entry in entries.items() if key.startswith("forms")]
    assert len(found) == 1
    return found


@pytest.mark.gpu
def test_memory_that_runs_out_on_the_gpu_is_told_and_smaller_tiles_run() -> None:
    if obstacle := cuda_obstacle():
        pytest.skip(obstacle)
    limits = Limits(threads=2, gpu_memory_gb=0.5)
    large: Shape5 = (1, 1, 32, 1024, 1024)
    source, _, _ = load_trusted(bundled_models()["standard"], LIMITS)
    with pytest.raises(DeviceMemoryError):
        OnnxCuda().open(source, large, "fp32", 0, limits).run(np.zeros(large, np.float32))
    small = OnnxCuda().open(source, SHAPE, "fp32", 0, limits)
    assert np.isfinite(small.run(np.zeros(SHAPE, np.float32))).all()
