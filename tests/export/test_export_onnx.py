"""The ONNX graph computes what torch computes, for every option, and carries its card."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from deferred import deferred
from hypothesis import given, settings
from hypothesis import strategies as st

from live_restore.errors import ModelError, OutputError

if TYPE_CHECKING:
    from live_restore_export.network import RCAN, RCANConfig

onnx_evaluate = deferred("live_restore_export.onnx.evaluate")
onnx_export = deferred("live_restore_export.onnx.export")
onnx_graph = deferred("live_restore_export.onnx.graph")
onnx_verify = deferred("live_restore_export.onnx.verify")
rcan = deferred("live_restore_export.network")
torch = deferred("torch")


@st.composite
def networks(draw: st.DrawFn) -> tuple[RCANConfig, tuple[int, ...]]:
    """Draw an architecture and an input shape that it accepts."""
    reduction = draw(st.integers(1, 4))
    fold = draw(st.sampled_from([1, 1, 1, 2, 3]))
    config = rcan.RCANConfig(
        groups=draw(st.integers(1, 3)),
        blocks=draw(st.integers(1, 3)),
        channels=draw(st.integers(reduction, 9)),
        reduction=reduction,
        in_channels=draw(st.integers(1, 3)),
        out_channels=draw(st.integers(1, 3)),
        residual_scaling=draw(st.none() | st.floats(0.01, 2)),
        single_group_tail=draw(st.booleans()),
        lateral_shuffle=fold,
        block_skip=draw(st.sampled_from(["every", "last"])),
        standardise=draw(st.booleans()),
    )
    n, z = draw(st.integers(1, 2)), draw(st.integers(1, 6))
    y, x = (fold * draw(st.integers(1, 9)) for _ in "yx")
    return config, (n, config.in_channels, z, y, x)


@settings(max_examples=40, deadline=None)
@given(drawn=networks(), seed=st.integers(0, 2**16))
def test_torch_and_onnx_agree(drawn: tuple[RCANConfig, tuple[int, ...]], seed: int) -> None:
    config, shape = drawn
    torch.manual_seed(seed)
    network = rcan.RCAN(config).eval()
    image = torch.randn(shape)
    with torch.inference_mode():
        want = network(image).numpy()
    model = onnx_graph.build_model(network)
    scale = max(1.0, float(np.abs(want).max()))
    assert (
        np.abs(onnx_verify.run_session(onnx_verify.cpu_session(model), image.numpy()) - want).max()
        < 1e-5 * scale
    )
    assert np.abs(onnx_evaluate.evaluate(model, image.numpy()) - want).max() < 1e-5 * scale
    again = onnx_graph.network_of(model, config.as_dict()).state_dict()
    assert all(torch.equal(value, again[name]) for name, value in network.state_dict().items())


def test_folding_weights_is_undone() -> None:
    weight = np.random.default_rng(0).random((5, 12, 3, 3, 3))
    assert np.array_equal(onnx_graph.unfolded_head(onnx_graph.folded_head(weight, 2), 2), weight)


def test_the_graph_is_small_and_free_in_size(make_network: Callable[..., RCAN]) -> None:
    model = onnx_graph.build_model(make_network(lateral_shuffle=2))
    assert len(model.graph.node) < 70
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {
        "Conv", "Relu", "ReduceMean", "Sigmoid", "Mul", "Add", "Sub", "Shape", "Concat", "Reshape",
        "DepthToSpace",
    }  # fmt: skip
    for value in (*model.graph.input, *model.graph.output):
        sizes = [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]
        assert sizes == ["N", 1, "Z", "Y", "X"]


def test_the_card_travels_in_the_file(make_network: Callable[..., RCAN]) -> None:
    network = make_network(in_channels=2, lateral_shuffle=2)
    card = onnx_export.make_card(
        network.config, "two", description="a model", trained_patch_zyx=(8, 32, 32)
    )
    model = onnx_export.export_network(network, card)
    read = onnx_export.read_card(onnx.load_model_from_string(model.SerializeToString()))
    assert read.shape_multiple_zyx == (1, 2, 2)
    assert (read.input_channels, read.output_channels) == (2, 1)
    assert read.weights_sha256 == onnx_export.weights_digest(model)
    assert read.architecture == network.config.as_dict()
    assert read.model_copy(update={"weights_sha256": ""}) == card


def test_the_digest_is_of_the_weights_alone(make_network: Callable[..., RCAN]) -> None:
    network = make_network()
    model = onnx_export.export_network(network, onnx_export.make_card(network.config, "a"))
    before = onnx_export.weights_digest(model)
    onnx_export.embed_card(model, onnx_export.make_card(network.config, "b"))
    model.graph.initializer.sort(key=lambda t: t.name)
    assert onnx_export.weights_digest(model) == before
    other = onnx_export.export_network(
        make_network(seed=1), onnx_export.make_card(network.config, "a")
    )
    assert onnx_export.weights_digest(other) != before


def test_a_model_of_others_is_refused(make_network: Callable[..., RCAN]) -> None:
    model = onnx_graph.build_model(make_network())
    with pytest.raises(ModelError, match="has no card"):
        onnx_export.read_card(model)
    with pytest.raises(ModelError, match="not one of ours"):
        onnx_graph.network_of(model, {"layers": 3})
    with pytest.raises(ModelError, match="no weights named"):
        onnx_graph.network_of(model, {"groups": 3, "blocks": 2, "channels": 8, "reduction": 2})
    with pytest.raises(ModelError, match="but by its card"):
        onnx_graph.network_of(model, {"groups": 2, "blocks": 2, "channels": 8, "reduction": 4})


def test_an_unwritable_place_leaves_nothing(tmp_path: Path) -> None:
    from live_restore_export.onnx.export import write_atomically

    (tmp_path / "taken.onnx").mkdir()
    with pytest.raises(OutputError):
        write_atomically(b"x", tmp_path / "taken.onnx")
    assert [p.name for p in tmp_path.iterdir()] == ["taken.onnx"]


def test_nan_is_never_a_pass() -> None:
    bad = onnx_verify.compare("case", np.array([np.nan, 1.0]), np.array([0.0, 1.0]), 1e-4)
    assert not bad.passed
    assert not onnx_verify.compare("case", np.zeros((1, 2)), np.zeros((2, 1)), 1e-4).passed


COMMANDS = (
    "inspect", "onnx", "verify", "train", "degrade", "gain", "limits", "bioimageio", "kernels",
)  # fmt: skip


def test_help_has_examples(command: Callable[..., Any]) -> None:
    listed = command("--help")
    assert listed.code == 0
    for name in COMMANDS:
        assert f"\n    {name} " in listed.out or f"\n    {name}\n" in listed.out
        done = command(name, "--help")
        assert (done.code, done.err) == (0, "")
        assert f"examples:\n  live-restore-export {name} " in done.out


def test_help_is_quick() -> None:
    """torch and ONNX Runtime are loaded by the commands that need them, not by --help."""
    probe = (
        "import sys\n"
        "from live_restore_export.cli.main import main\n"
        "try:\n"
        "    main(['train', '--help'])\n"
        "except SystemExit as end:\n"
        "    heavy = {'torch', 'onnx', 'onnxruntime', 'numpy', 'rich'}\n"
        "    print(end.code, sorted(heavy & set(sys.modules)))\n"
    )
    started = time.monotonic()
    done = subprocess.run([sys.executable, "-c", probe], capture_output=True, text=True, check=True)
    assert time.monotonic() - started < 5
    assert done.stdout.splitlines()[-1] == "0 []"
