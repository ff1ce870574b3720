"""A float32 model made one in float16; and CUDA's forms, rehearsed on a processor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from live_restore.inference.backends import onnx_cuda
from live_restore.inference.backends.backend import Form, Limits, ModelSource
from live_restore.inference.backends.onnx import CPU, create
from live_restore.inference.backends.session import Shape5
from live_restore.inference.device.check import counts_of, known_tile, relative_rms, small_shape
from live_restore.inference.load import bundled_models, load_trusted
from live_restore.inference.model.counts_graph import UnsuitableModelError
from live_restore.inference.model.half_graph import with_half

FORMS = onnx_cuda.OnnxCuda().forms()


def types_of_convolutions(content: bytes) -> tuple[set[int], set[int]]:
    """Return in what the convolutions of images, and those of means, compute."""
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), strict_mode=True)
    kinds = {each.name: each.type.tensor_type.elem_type for each in model.graph.value_info}
    found: tuple[set[int], set[int]] = set(), set()
    for node in model.graph.node:
        if node.op_type == "Conv":
            found[".attention." in node.name].add(kinds[node.output[0]])
    return found


@pytest.mark.parametrize("name", bundled_models())
def test_bundled_models_in_float16_are_as_near_as_their_cards_say(name: str) -> None:
    source, card, trusted = load_trusted(bundled_models()[name], Limits(2))
    content = with_half(source.content)
    onnx.checker.check_model(onnx.load_from_string(content), full_check=True)
    assert types_of_convolutions(content) == ({TensorProto.FLOAT16}, {TensorProto.FLOAT})
    tile = known_tile((1, 1, 8, 32, 32), card)
    session = create(ModelSource(Path("m"), content, ""), [CPU], Limits(2))
    (found,) = session.run(None, {session.get_inputs()[0].name: tile})
    assert found.dtype == np.float32
    recorded = card.metrics["precision_errors"]["fp16"]["relative_rms"]
    # On a processor ONNX Runtime rounds to float16 less often than a GPU would.
    assert 1e-5 < relative_rms(found, trusted.run(tile)) < 1.5 * recorded


def small_model(nodes: list[onnx.NodeProto], weight: float = 1.0) -> bytes:
    kernel = numpy_helper.from_array(np.full((1, 1, 1, 1, 1), weight, np.float32), "w")
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1, 2, 4, 4])
        for name in ("x", "y")
    ]
    middle = [helper.make_tensor_value_info("c", TensorProto.FLOAT, [1, 1, 2, 4, 4])]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], [kernel], value_info=middle)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    return bytes(model.SerializeToString())


def run(content: bytes) -> Any:
    session = create(ModelSource(Path("m"), content, ""), [CPU], Limits(1))
    return session.run(None, {"x": np.full((1, 1, 2, 4, 4), 1 / 3, np.float32)})[0]


def test_a_model_that_ends_in_a_convolution_still_gives_float32() -> None:
    content = with_half(small_model([helper.make_node("Conv", ["x", "w"], ["y"])]))
    assert types_of_convolutions(content)[0] == {TensorProto.FLOAT16}
    assert run(content).dtype == np.float32


def test_operators_that_are_not_known_stay_in_float32() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Softplus", ["c"], ["s"]),
        helper.make_node("Conv", ["s", "w"], ["y"]),
    ]
    content = with_half(small_model(nodes))
    model = onnx.shape_inference.infer_shapes(onnx.load_from_string(content), strict_mode=True)
    kinds = {each.name: each.type.tensor_type.elem_type for each in model.graph.value_info}
    assert (kinds["c"], kinds["s"]) == (TensorProto.FLOAT16, TensorProto.FLOAT)
    np.testing.assert_allclose(run(content), np.log1p(np.exp(1 / 3)), rtol=2e-3)


def test_a_weight_that_does_not_fit_shows_in_the_numbers() -> None:
    found = run(with_half(small_model([helper.make_node("Conv", ["x", "w"], ["y"])], 1e6)))
    assert not np.isfinite(found).any()


@pytest.mark.parametrize("content", [b"", b"\x3a\x00", b"\x38\x05", b"\x3a\x7f", b"no model"])
def test_what_is_no_model_is_refused(content: bytes) -> None:
    with pytest.raises(UnsuitableModelError):
        with_half(content)


@pytest.fixture
def rehearsed(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """The processor in the place of the GPU: sessions are real, and what they are asked is kept."""
    asked: list[dict[str, Any]] = []

    def on_processor(source: ModelSource, providers: Any, limits: Limits, **rest: Any) -> Any:
        asked.append({**providers[0][1], **rest})
        return create(source, [CPU], limits, **rest)

    monkeypatch.setattr(onnx_cuda, "create", on_processor)
    monkeypatch.setattr(onnx_cuda, "_PROVIDER", CPU)
    monkeypatch.setattr(onnx_cuda, "_MEMORY", "cpu")
    return asked


@pytest.mark.parametrize("form", FORMS, ids=[f"{form.precision} {form.name}" for form in FORMS])
def test_a_form_of_cuda_rehearsed_on_a_processor(
    form: Form, rehearsed: list[dict[str, Any]]
) -> None:
    source, card, trusted = load_trusted(bundled_models()["fast"], Limits(2))
    shape: Shape5 = (*small_shape(card)[:2], 4, 32, 32)
    tile = known_tile(shape, card)
    backend: Any = form.backend
    session = backend.open(source, shape, form.precision, 0, Limits(2))
    assert session.device.precision == form.precision
    first = session.run(tile)
    kept = first.copy()
    error = relative_rms(first, trusted.run(tile))
    assert error < 2e-3 if form.precision == "fp16" else error < 1e-5
    session.run(tile * 2)
    np.testing.assert_array_equal(first, kept, "a result belongs to its caller")
    (asked,) = rehearsed
    graph = "graph" in form.name
    assert asked["use_tf32"] == (form.precision != "fp32")
    assert asked.get("enable_cuda_graph", 0) == graph
    assert asked["memory_pattern"] is not graph, "nothing is allocated while a graph is recorded"
    assert (asked["static"] == shape) == ("static" in form.name or graph)
    counts, scale = counts_of(tile)
    found = backend.open_counts(source, shape, form.precision, 0, Limits(2)).run_counts(
        counts, scale
    )
    low, factor, _ = scale
    assert relative_rms((found.volume - low) * factor, trusted.run(tile)) < 2e-3
