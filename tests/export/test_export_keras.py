"""Keras HDF5 files of every kind become models that compute what the file's network computes."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from deferred import deferred
from keras_files import KerasRCAN

from live_restore.errors import CheckpointError
from live_restore.inference.image.reference_tiling import apply_reference

checkpoints = deferred("live_restore_export.checkpoints")
onnx_graph = deferred("live_restore_export.onnx.graph")
onnx_verify = deferred("live_restore_export.onnx.verify")

REFERENCE_FILES = ("g1b3c16", "tiny_g2b2c8")

NETWORKS: dict[str, dict[str, Any]] = {
    "TF2": {},
    "TF1": {"tf1": True},
    "TF1, pooled by a Lambda": {"tf1": True, "pool_as": "lambda"},
    "Keras 3 in HDF5": {"keras3": True, "scaling": 0.1},
    "one group": {"groups": 1, "blocks": 3},
    "one group of one block": {"groups": 1, "blocks": 1},
    "three channels in, two out": {"inputs": 3, "outputs": 2},
    "free size": {"tile": (None, None, None)},
    "odd reduction": {"channels": 7, "reduction": 3},
    **{
        f"residual scaling as {how}": {"scaling": 0.1, "scaling_as": how, "tf1": tf1}
        for how, tf1 in [
            ("closure", True),
            ("closure", False),
            ("constant", True),
            ("operator", False),
            ("tensor operator", True),
            ("defaults", False),
            ("rescaling", False),
        ]
    },
    "everything": {
        "groups": 1, "blocks": 2, "inputs": 2, "outputs": 2, "scaling": 0.3, "tf1": True,
        "pool_as": "lambda", "channels": 6, "reduction": 3,
    },
}  # fmt: skip


def difference(keras: KerasRCAN, path: Path, **flags: Any) -> float:
    """Return by how much ONNX Runtime differs from the file's network on one image."""
    checkpoint = checkpoints.load_checkpoint(path, checkpoints.ArchitectureFlags(**flags))
    image = np.random.default_rng(1).normal(0.3, 0.4, (5, 7, 6, keras.inputs)).astype("f4")
    first = np.ascontiguousarray(np.moveaxis(image, -1, 0)[None])
    got = onnx_verify.run_session(
        onnx_verify.cpu_session(onnx_graph.build_model(checkpoint.network)), first
    )
    return float(np.abs(np.moveaxis(got[0], 0, -1) - keras.run(image.astype("f8"))).max())


@pytest.mark.parametrize("network", NETWORKS)
def test_a_full_model_converts_exactly(network: str, tmp_path: Path) -> None:
    keras = KerasRCAN(**NETWORKS[network])
    assert difference(keras, keras.write(tmp_path / "net.hdf5")) < 1e-5


@pytest.mark.parametrize("network", ["TF2", "TF1", "one group", "three channels in, two out"])
@pytest.mark.parametrize("chunked", [False, True])
def test_bare_weights_convert_exactly(network: str, chunked: bool, tmp_path: Path) -> None:
    keras = KerasRCAN(**NETWORKS[network])
    path = keras.write(tmp_path / "w.h5", full=False, chunked=chunked)
    assert difference(keras, path, groups=keras.groups, blocks=keras.blocks) < 1e-5


def test_what_the_file_tells(tmp_path: Path) -> None:
    keras = KerasRCAN(scaling=0.2, inputs=2, outputs=2, reduction=4)
    checkpoint = checkpoints.load_checkpoint(keras.write(tmp_path / "weights_034_0.0125.hdf5"))
    config = checkpoint.network.config
    assert (config.groups, config.blocks, config.channels, config.reduction) == (2, 2, 8, 4)
    assert (config.in_channels, config.out_channels, config.residual_scaling) == (2, 2, 0.2)
    assert (checkpoint.epoch, checkpoint.loss) == (34, 0.0125)
    assert checkpoint.tile_zyx == (8, 32, 32)
    assert not checkpoint.notes, "both intensity maps show their constants"


def test_a_scaling_hidden_in_code_has_to_be_said(tmp_path: Path) -> None:
    keras = KerasRCAN(scaling=0.1, scaling_as="global")
    path = keras.write(tmp_path / "net.h5")
    with pytest.raises(CheckpointError, match="--residual-scaling"):
        checkpoints.load_checkpoint(path)
    assert difference(keras, path, residual_scaling=0.1) < 1e-5


def test_bare_weights_that_scale_have_to_say_by_how_much(tmp_path: Path) -> None:
    keras = KerasRCAN(scaling=0.1)
    path = keras.write(tmp_path / "net.h5", full=False)
    with pytest.raises(CheckpointError, match="seems to scale its residuals"):
        checkpoints.load_checkpoint(path)
    assert difference(keras, path, residual_scaling=0.1) < 1e-5


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"groups": 5}, "groups is 2 in the file, not 5"),
        ({"in_channels": 2}, "in channels is 1 in the file, not 2"),
        ({"residual_scaling": 0.5}, "residual scaling is None in the file, not 0.5"),
    ],
)
def test_contradictions_are_refused_by_name(
    flags: dict[str, Any], message: str, tmp_path: Path
) -> None:
    path = KerasRCAN().write(tmp_path / "net.h5")
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load_checkpoint(path, checkpoints.ArchitectureFlags(**flags))


def test_multi_gpu_models_are_unwrapped(tmp_path: Path) -> None:
    """Keras' multi-GPU training puts the network, with all its weights, into one layer."""
    keras = KerasRCAN()
    inner = keras.config()
    inner["name"] = "model_1"
    inner["inbound_nodes"] = [[["input_2", 0, 0, {}]]]
    outer = {
        "class_name": "Model",
        "config": {
            "layers": [
                {"class_name": "InputLayer", "config": {"name": "input_2"}, "name": "input_2"},
                inner,
            ],
            "output_layers": [["model_1", 1, 0]],
        },
    }
    path = tmp_path / "net.h5"
    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(outer)
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = ["input_2", "model_1"]
        root.create_group("input_2").attrs["weight_names"] = np.array([], "S1")
        group = root.create_group("model_1")
        names = []
        for layer, (kernel, bias) in keras.weights.items():
            for kind, array in (("kernel", kernel), ("bias", bias)):
                names.append(f"{layer}/{kind}:0")
                group.create_dataset(names[-1], data=array)
        group.attrs["weight_names"] = names
    assert difference(keras, path) < 1e-5


def test_a_folder_gives_its_best_or_newest(tmp_path: Path, command: Callable[..., Any]) -> None:
    for name in ("weights_010_0.0500.hdf5", "weights_200_0.0312.hdf5", "weights_300_0.0410.hdf5"):
        KerasRCAN().write(tmp_path / name)
    (tmp_path / "notes.txt").write_text("not a checkpoint")
    best = json.loads(command("inspect", tmp_path, "--json").out)
    newest = json.loads(command("inspect", tmp_path, "--newest", "--json").out)
    assert (best["epoch"], best["loss"]) == (200, 0.0312)
    assert (newest["epoch"], newest["loss"]) == (300, 0.041)


def test_no_code_of_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import marshal
    import pickle

    path = KerasRCAN(scaling=0.1, pool_as="lambda").write(tmp_path / "net.h5")
    for module, name in ((marshal, "loads"), (marshal, "load"), (pickle, "loads")):
        monkeypatch.setattr(module, name, lambda *_: pytest.fail("unmarshalled"))
    checkpoints.load_checkpoint(path)


@pytest.mark.parametrize("folder", REFERENCE_FILES)
def test_a_call_of_the_reference_network_is_reproduced(folder: str, keras_reference: Path) -> None:
    model = onnx_graph.build_model(checkpoints.load_checkpoint(keras_reference / folder).network)
    for row in onnx_verify.compare_with_record(model, keras_reference / folder / "io.npz"):
        assert row.largest < 1e-5, row


@pytest.mark.parametrize("folder", REFERENCE_FILES)
def test_the_reference_program_is_reproduced(folder: str, keras_reference: Path) -> None:
    checkpoint = checkpoints.load_checkpoint(keras_reference / folder)
    session = onnx_verify.cpu_session(onnx_graph.build_model(checkpoint.network))
    record = np.load(keras_reference / folder / "io.npz")
    raw = np.moveaxis(record["raw"], -1, 0)
    assert checkpoint.tile_zyx is not None
    got = apply_reference(
        raw, lambda tile: onnx_verify.run_session(session, tile), checkpoint.tile_zyx
    )
    assert np.abs(got[0] - record["applied"]).max() < 1e-4


def test_verify_against_a_record(
    keras_reference: Path, tmp_path: Path, command: Callable[..., Any]
) -> None:
    source = shutil.copytree(keras_reference / "tiny_g2b2c8", tmp_path / "run")
    model = tmp_path / "net.onnx"
    assert command("onnx", source, "-o", model).code == 0
    assert command("verify", model, "--io", source / "io.npz", "--tolerance", "1e-5").code == 0
    worse = dict(np.load(source / "io.npz"))
    worse["direct_out"] = worse["direct_out"] + 1e-3
    np.savez(tmp_path / "worse.npz", **worse)
    done = command("verify", model, "--io", tmp_path / "worse.npz")
    assert done.code == 1
    assert "TOO LARGE" in done.out


def edited(keras: KerasRCAN, kind: str, **config: Any) -> KerasRCAN:
    """Change the configuration of every layer of a kind."""
    for layer in keras.layers:
        if layer["class_name"] == kind:
            layer["config"] = {**layer["config"], **config}
    return keras


def appended(keras: KerasRCAN, kind: str, config: dict[str, Any]) -> KerasRCAN:
    """Put one more layer behind the output."""
    behind = [[[keras.output, 0, 0, {}]]]
    keras.layers.append(
        {"class_name": kind, "config": config, "name": "last", "inbound_nodes": behind}
    )
    keras.output = "last"
    return keras


def test_a_half_precision_policy_changes_no_numbers_of_the_file(tmp_path: Path) -> None:
    policy = {"class_name": "Policy", "config": {"name": "mixed_float16"}}
    keras = edited(KerasRCAN(), "Conv3D", dtype=policy)
    for kind, config in (
        ("Activation", {"activation": "linear", "dtype": "float32"}),
        ("TFOpLambda", {"function": "cast"}),
    ):
        path = appended(keras, kind, config).write(tmp_path / f"{kind}.h5")
        assert difference(keras, path) < 1e-5
        keras = KerasRCAN()


def test_optimiser_weights_and_marked_tuples_do_no_harm(tmp_path: Path) -> None:
    keras = KerasRCAN()
    for layer in keras.layers:
        if layer["class_name"] == "Conv3D":
            size = keras.weights[layer["name"]][0].shape[0]
            layer["config"]["kernel_size"] = {"class_name": "__tuple__", "items": [size] * 3}
    path = keras.write(tmp_path / "net.h5")
    with h5py.File(path, "a") as file:
        group = file.create_group("optimizer_weights")
        group.attrs["weight_names"] = ["Adam/iterations:0"]
        group["Adam/iterations:0"] = 3
        file.attrs["training_config"] = '{"loss": "mae"}'
    assert difference(keras, path) < 1e-5


def test_a_pool_in_code_is_an_assumption(tmp_path: Path) -> None:
    path = KerasRCAN(pool_as="lambda").write(tmp_path / "net.h5")
    assert any("attention average" in note for note in checkpoints.load_checkpoint(path).notes)


@pytest.mark.parametrize(
    ("function", "closure", "believed"),
    [
        (lambda residual_scaling: lambda x: residual_scaling * x, 2.5, 2.5),
        (lambda steps: lambda x: x / steps, 10, None),
        (lambda _: lambda x: x / 10, None, None),
        (lambda _: lambda x: x * 0.123456789, None, None),
    ],
)
def test_a_lambda_that_may_divide_is_not_guessed(
    function: Any, closure: float | None, believed: float | None, tmp_path: Path
) -> None:
    import base64
    import marshal

    keras = KerasRCAN(scaling=believed or 0.1)
    code = base64.b64encode(marshal.dumps(function(closure).__code__)).decode()
    for layer in keras.layers:
        told = layer["config"].get("function")
        if told and told[2] is not None:
            layer["config"]["function"] = [code, None, None if closure is None else [closure]]
    path = keras.write(tmp_path / "net.h5")
    if believed is None:
        with pytest.raises(CheckpointError, match="only as code"):
            checkpoints.load_checkpoint(path)
    assert difference(keras, path, residual_scaling=believed or 0.1) < 1e-5


def test_a_constant_in_code_gives_way_to_what_is_said(tmp_path: Path) -> None:
    path = KerasRCAN(scaling=0.5, scaling_as="constant").write(tmp_path / "net.h5")
    assert checkpoints.load_checkpoint(path).network.config.residual_scaling == 0.5
    said = checkpoints.load_checkpoint(path, checkpoints.ArchitectureFlags(residual_scaling=2.0))
    assert said.network.config.residual_scaling == 2.0


def test_what_a_file_cannot_tell_apart_is_no_contradiction(tmp_path: Path) -> None:
    as_float32 = float(np.float32(0.1))
    keras = KerasRCAN(channels=32, reduction=8, blocks=1, scaling=as_float32)
    path = keras.write(tmp_path / "net.h5")
    checkpoints.load_checkpoint(
        path, checkpoints.ArchitectureFlags(reduction=7, residual_scaling=0.1)
    )
    with pytest.raises(CheckpointError, match="reduction is 8 in the file, not 4"):
        checkpoints.load_checkpoint(path, checkpoints.ArchitectureFlags(reduction=4))


@pytest.mark.parametrize("name", ["residual_scaling", "multiply_4"])
def test_bare_weights_whose_layer_names_tell_of_scaling(name: str, tmp_path: Path) -> None:
    path = KerasRCAN().write(tmp_path / "net.h5", full=False)
    with h5py.File(path, "a") as file:
        file.attrs["layer_names"] = [*file.attrs["layer_names"], name]
        file.create_group(name).attrs["weight_names"] = np.array([], "S1")
    with pytest.raises(CheckpointError, match="seems to scale its residuals"):
        checkpoints.load_checkpoint(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"max_value": 6.0}, "clipped"),
        ({"negative_slope": 0.1}, "clipped, leaky"),
    ],
)
def test_other_rectifiers_are_refused(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    keras = appended(KerasRCAN(), "ReLU", change)
    with pytest.raises(CheckpointError, match=message):
        checkpoints.load_checkpoint(keras.write(tmp_path / "net.h5"))


def test_layers_in_a_circle_are_refused(tmp_path: Path) -> None:
    keras = KerasRCAN()
    keras.layers[-1]["inbound_nodes"] = [[[keras.output, 0, 0, {}]]]
    with pytest.raises(CheckpointError, match="run in a circle"):
        checkpoints.load_checkpoint(keras.write(tmp_path / "net.h5"))


def test_numbers_that_are_none_are_refused(tmp_path: Path) -> None:
    """JSON in Python holds NaN and Infinity."""
    for value, message in ((float("nan"), "maps its output"), (float("inf"), "maps its output")):
        keras = appended(KerasRCAN(), "Rescaling", {"scale": value})
        keras.layers = [
            {**layer, "class_name": "Rescaling", "config": {"scale": 0.5, "offset": 0.5}}
            if layer["name"] == "lambda_1"
            else layer
            for layer in keras.layers
        ]
        with pytest.raises(CheckpointError, match=message):
            checkpoints.load_checkpoint(keras.write(tmp_path / "net.h5"))
    keras = edited(KerasRCAN(), "Conv3D", kernel_size=[float("inf")] * 3)
    with pytest.raises(CheckpointError, match="cannot be read"):
        checkpoints.load_checkpoint(keras.write(tmp_path / "net.h5"))
