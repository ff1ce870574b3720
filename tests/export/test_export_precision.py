"""Reduced precision: what is kept in float32, what it costs, and that too much is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from deferred import deferred
from onnx import TensorProto

from live_restore.errors import ModelError
from live_restore.inference.device.precision import recorded_error, reduced_obstacle

if TYPE_CHECKING:
    from live_restore_export.network import RCAN

onnx_evaluate = deferred("live_restore_export.onnx.evaluate")
onnx_export = deferred("live_restore_export.onnx.export")
onnx_graph = deferred("live_restore_export.onnx.graph")
onnx_precision = deferred("live_restore_export.onnx.precision")
onnx_verify = deferred("live_restore_export.onnx.verify")
precision_error = deferred("live_restore_export.quality.precision_error")
torch = deferred("torch")

REDUCED = ("fp16", "bf16", "mixed")


@pytest.mark.parametrize("fold", [1, 2])
@pytest.mark.parametrize("precision", REDUCED)
def test_the_error_is_small_and_the_ends_stay_float32(
    precision: str, fold: int, make_network: Callable[..., RCAN]
) -> None:
    network = make_network(blocks=1, lateral_shuffle=fold, residual_scaling=0.5)
    exact = onnx_graph.build_model(network)
    reduced = onnx_precision.convert(exact, network.config, precision)
    assert len(reduced.SerializeToString()) < 0.8 * len(exact.SerializeToString())
    for value in (*reduced.graph.input, *reduced.graph.output):
        assert value.type.tensor_type.elem_type == TensorProto.FLOAT
    error = precision_error.measure(
        reduced, exact, network.config, precision_error.ERROR_BOUNDS[precision]
    )
    assert 0 < error.relative_rms < precision_error.ERROR_BOUNDS[precision]


def test_the_daemon_reads_what_the_export_records(make_network: Callable[..., RCAN]) -> None:
    network = make_network()
    model = onnx_graph.build_model(network)
    record = {"precision_errors": precision_error.precision_errors(model, network.config)}
    card = onnx_export.make_card(network.config, "x", metrics=record)
    expected = precision_error.measure(
        onnx_precision.convert(model, network.config, "bf16"), model, network.config, 1
    )
    assert recorded_error(card, "bf16") == expected.relative_rms
    with torch.no_grad():
        network.head.weight[0] = 1e6
    record = {
        "precision_errors": precision_error.precision_errors(
            onnx_graph.build_model(network), network.config
        )
    }
    card = onnx_export.make_card(network.config, "x", metrics=record)
    assert "records an error of inf" in reduced_obstacle(card, "fp16")


@pytest.mark.parametrize("precision", REDUCED)
def test_types_of_the_graph_are_what_was_promised(
    precision: str, make_network: Callable[..., RCAN]
) -> None:
    network = make_network()
    model = onnx.shape_inference.infer_shapes(
        onnx_precision.convert(onnx_graph.build_model(network), network.config, precision),
        strict_mode=True,
    )
    types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
    low = TensorProto.BFLOAT16 if precision == "bf16" else TensorProto.FLOAT16
    assert types["groups.0.blocks.0.conv1"] == low
    assert types["groups.1.blocks.1.sum"] == low
    assert types["groups.0.blocks.0.attention.pool"] == TensorProto.FLOAT
    assert types["groups.0.blocks.0.attention.sigmoid"] == TensorProto.FLOAT
    assert types["standardised"] == TensorProto.FLOAT
    assert types["head"] == (TensorProto.FLOAT if precision == "mixed" else low)
    assert types["tail"] == (TensorProto.FLOAT if precision == "mixed" else low)


def test_a_network_without_intensity_maps_ends_in_float32(
    make_network: Callable[..., RCAN],
) -> None:
    network = make_network(standardise=False)
    reduced = onnx_precision.convert(onnx_graph.build_model(network), network.config, "fp16")
    image = np.random.default_rng(0).random((1, 1, 4, 8, 8)).astype("f4")
    got = onnx_verify.run_session(onnx_verify.cpu_session(reduced), image)
    assert got.dtype == np.float32
    assert np.abs(got - onnx_evaluate.evaluate(onnx_graph.build_model(network), image)).max() < 2e-3


def test_half_precision_runs_in_onnx_runtime(make_network: Callable[..., RCAN]) -> None:
    network = make_network()
    image = np.random.default_rng(0).random((2, 1, 5, 9, 8)).astype("f4")
    reduced = onnx_precision.convert(onnx_graph.build_model(network), network.config, "mixed")
    assert (
        np.abs(
            onnx_verify.run_session(onnx_verify.cpu_session(reduced), image)
            - onnx_evaluate.evaluate(reduced, image)
        ).max()
        < 2e-3
    )
    assert {v.name for v in reduced.graph.input} == {onnx_graph.INPUT}
    assert {v.name for v in reduced.graph.output} == {onnx_graph.OUTPUT}


def test_pooling_survives_large_activations(make_network: Callable[..., RCAN]) -> None:
    """A sum over a tile would overflow half precision; row means and float32 do not."""
    network = make_network()
    with torch.no_grad():
        network.groups[0].blocks[0].conv2.bias.fill_(900.0)
        network.groups[0].blocks[0].attention.excite.bias.fill_(-6.0)
    exact = onnx_graph.build_model(network)
    image = np.random.default_rng(0).random((1, 1, 8, 24, 24)).astype("f4")
    got = onnx_evaluate.evaluate(onnx_precision.convert(exact, network.config, "fp16"), image)
    want = onnx_evaluate.evaluate(exact, image)
    assert np.isfinite(got).all()
    assert np.abs(got - want).max() < 0.02 * np.abs(want).max()


def test_too_large_an_error_is_refused_and_nothing_written(
    tmp_path: Path, make_network: Callable[..., RCAN], command: Callable[..., Any]
) -> None:
    network = make_network()
    with torch.no_grad():
        # Hidden values of 1e6 overflow half precision and cancel exactly in float32.
        network.groups[0].blocks[0].conv1.bias.fill_(1e6)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    done = command(
        "onnx", tmp_path / "net.pt", "-o", tmp_path / "net.onnx", "--precision", "fp16",
        "--no-verify",
    )  # fmt: skip
    assert done.code == 2
    assert "half precision" in done.err or "differs by" in done.err
    assert not (tmp_path / "net.onnx").exists()


def test_the_bound_can_be_said(make_network: Callable[..., RCAN]) -> None:
    network = make_network()
    model = onnx_graph.build_model(network)
    card = onnx_export.make_card(network.config, "net")
    with pytest.raises(ModelError, match=r"bf16 differs by .* more than 1e-06"):
        precision_error.reduce_precision(model, card, network.config, "bf16", 1e-6)


@pytest.mark.parametrize("precision", REDUCED)
def test_the_card_states_the_measured_error(
    precision: str, tmp_path: Path, make_network: Callable[..., RCAN], command: Callable[..., Any]
) -> None:
    torch.save(make_network().state_dict(), tmp_path / "net.pt")
    path = tmp_path / "net.onnx"
    done = command("onnx", tmp_path / "net.pt", "-o", path, "--precision", precision)
    assert done.code == 0, done.err
    card = onnx_export.read_card(onnx.load(path))
    assert card.precision == precision
    stated = card.metrics["precision_error"]
    assert (
        0
        < stated["relative_rms"]
        <= stated["bound_relative_rms"]
        == precision_error.ERROR_BOUNDS[precision]
    )
    assert command("verify", path).code == 0
    rows = json.loads(command("verify", path, "--against", tmp_path / "net.pt", "--json").out)
    assert all(row["passed"] for row in rows)


def test_fp32_is_left_alone(make_network: Callable[..., RCAN]) -> None:
    network = make_network()
    model = onnx_graph.build_model(network)
    onnx_export.embed_card(model, onnx_export.make_card(network.config, "net"))
    assert onnx_precision.convert(model, network.config, "fp32") is model


def test_bfloat16_on_a_cpu_is_a_clear_refusal(make_network: Callable[..., RCAN]) -> None:
    """The day ONNX Runtime's CPU provider learns it, ``runner`` can use it."""
    network = make_network()
    with pytest.raises(ModelError, match="ONNX Runtime cannot run it on the CPU"):
        onnx_verify.cpu_session(
            onnx_precision.convert(onnx_graph.build_model(network), network.config, "bf16")
        )
