"""A float32 model made one in float16; and CUDA's forms, rehearsed on a processor."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from live_restore.errors import ModelError
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


def stranger(opset: int) -> bytes:
    """Return a network as other programs export it: a U-Net with weights in every place."""
    rng = np.random.default_rng(1)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        values = rng.standard_normal(shape, dtype=np.float32) / np.sqrt(np.prod(shape[1:]))
        return numpy_helper.from_array(values.astype(np.float32), name)

    node = helper.make_node
    around = {"pads": [1] * 6, "kernel_shape": [3] * 3}
    twice = {"kernel_shape": [2] * 3, "strides": [2] * 3}
    in_node = weight("in_node", 4, 4, 3, 3, 3)
    nodes = [
        node("Conv", ["x", "w0", "b0"], ["a0"], **around),
        node("Elu", ["a0"], ["a1"]),
        node("Constant", [], ["in_node"], value=in_node),
        node("Constant", [], ["slope"], value_float=0.2),
        node("Conv", ["a1", "in_node"], ["a2"], **around),
        node("InstanceNormalization", ["a2", "ones", "zeros"], ["a3"]),
        node("PRelu", ["a3", "slope"], ["a4"]),
        node("MaxPool", ["a4"], ["b0_"], **twice),
        node("Identity", ["w1"], ["tied"]),
        node("Conv", ["b0_", "w1"], ["b1"], **around),
        node("Relu", ["b1"], ["b2"]),
        node("Conv", ["b2", "tied"], ["b3"], **around),
        node("Add", ["b2", "b3"], ["b4"]),
        node("ConvTranspose", ["b4", "up"], ["c0"], **twice),
        node("Shape", ["a4"], ["size"]),
        node("Reshape", ["c0", "size"], ["c1"]),
        node("Concat", ["a4", "c1"], ["c2"], axis=1),
        node("Constant", [], ["half"], value=numpy_helper.from_array(np.float32(0.5), "half")),
        node("Greater", ["c2", "half"], ["over"]),
        node("Where", ["over", "c2", "half"], ["c3"]),
        node("Clip", ["c3", "", "most"], ["c4"]),
        node("Dropout", ["c4"], ["c5", "mask"]),
        node("Conv", ["c5", "last"], ["c6"]),
        node("Add", ["c6", "x"], ["c7"]),
        node("Sigmoid", ["c7"], ["y"]),
    ]
    weights = [
        weight("w0", 4, 1, 3, 3, 3), weight("b0", 4), weight("w1", 4, 4, 3, 3, 3),
        weight("up", 4, 4, 2, 2, 2), weight("last", 1, 8, 1, 1, 1),
        numpy_helper.from_array(np.ones(4, np.float32), "ones"),
        numpy_helper.from_array(np.zeros(4, np.float32), "zeros"),
        numpy_helper.from_array(np.float32(3), "most"),
    ]  # fmt: skip
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 1, "Z", "Y", "X"])
        for name in ("x", "y")
    ]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    opsets = [helper.make_opsetid("", opset)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8 if opset < 21 else 10)
    return bytes(model.SerializeToString())


@pytest.mark.parametrize("opset", range(13, 24))
def test_a_strangers_network_runs_in_float16(opset: int) -> None:
    content = stranger(opset)
    tile = np.random.default_rng(2).random((1, 1, 4, 16, 16), np.float32)

    def made(of: bytes) -> Any:
        session = create(ModelSource(Path("m"), of, ""), [CPU], Limits(1))
        return session.run(None, {"x": tile})[0]

    narrowed = with_half(content)
    assert types_of_convolutions(narrowed)[0] == {TensorProto.FLOAT16}
    assert 0 < relative_rms(made(narrowed), made(content)) < 0.01


def nested() -> bytes:
    """A network with a graph within its graph."""
    inner = helper.make_graph(
        [helper.make_node("Identity", ["c"], ["z"])],
        "inner",
        [],
        [helper.make_tensor_value_info("z", TensorProto.FLOAT, None)],
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    return small_model(
        [
            helper.make_node("Conv", ["x", "w"], ["c"]),
            helper.make_node("Constant", [], ["if"], value=yes),
            helper.make_node("If", ["if"], ["y"], then_branch=inner, else_branch=inner),
        ]
    )


def without_convolution() -> bytes:
    return small_model([helper.make_node("Relu", ["x"], ["y"])])


def of_its_own_operators() -> bytes:
    """A convolution of another maker, of whose types nothing is known."""
    return small_model([
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Conv", ["c", "w", "w", "c"], ["y"], domain="someone.else"),
    ])  # fmt: skip


def elsewhere() -> bytes:
    """A network whose weights are in another file."""
    model = onnx.load_from_string(small_model([helper.make_node("Conv", ["x", "w"], ["y"])]))
    weight = model.graph.initializer[0]
    onnx.external_data_helper.set_external_data(weight, "weights.bin")
    weight.ClearField("raw_data")
    return bytes(model.SerializeToString())


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (nested(), "graphs within its graph"),
        (without_convolution(), "no convolution"),
        (of_its_own_operators(), "cannot be|not a model that ONNX Runtime can load"),
        (elsewhere(), "not a model that ONNX Runtime can load"),
    ],
    ids=["nested", "without", "others", "elsewhere"],
)
def test_what_cannot_run_in_float16_is_told_in_words(
    content: bytes, why: str, rehearsed: list[dict[str, Any]]
) -> None:
    """Of all forms in float16 that is all that happens: the next one is tried."""
    backend: Any = FORMS[0].backend
    source = ModelSource(Path("m.onnx"), content, "0")
    with pytest.raises(ModelError, match=why):
        backend.open(source, (1, 1, 2, 4, 4), "fp16", 0, Limits(1))


@pytest.mark.parametrize("seed", range(4))
def test_damage_is_refused_or_passed_on_and_nothing_else(seed: int) -> None:
    rng = np.random.default_rng(seed)
    whole = stranger(18)
    for _ in range(150):
        hurt = bytearray(whole)
        for at in rng.integers(0, len(hurt), rng.integers(1, 6)):
            hurt[at] = rng.integers(256)
        if rng.random() < 0.3:
            hurt = hurt[: rng.integers(len(hurt))]
        with contextlib.suppress(UnsuitableModelError):
            assert with_half(bytes(hurt))


@pytest.mark.parametrize("operator", ["Cast", "Conv", "Reshape"])
def test_a_node_without_tensors_is_no_accident(operator: str) -> None:
    """A file may say so; it must not end in an error that nobody expects."""
    last = helper.make_node("Conv", ["x", "w"], ["y"])
    for inputs, outputs in (([], ["q"]), (["x"], [])):
        odd = helper.make_node(operator, inputs, outputs)
        with pytest.raises(UnsuitableModelError, match="takes or gives nothing"):
            with_half(small_model([odd, last]))


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
