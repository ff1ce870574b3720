"""Damaged, foreign and hostile files: one clear line, exit code 2, nothing written."""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from deferred import deferred
from keras_files import KerasRCAN
from port_graphs import PORT_GRAPHS, Sizes

rcan = deferred("live_restore_export.network")
torch = deferred("torch")


def _torch_state(**changes: Any) -> dict[str, Any]:
    return PORT_GRAPHS["gently-deabe"].state(Sizes(blocks=1, channels=4)) | changes


def truncated_hdf5(path: Path) -> None:
    KerasRCAN().write(path)
    os.truncate(path, path.stat().st_size // 2)


def hdf5_cut_in_the_header(path: Path) -> None:
    KerasRCAN().write(path)
    os.truncate(path, 60)


def unet(path: Path) -> None:
    keras = KerasRCAN()
    keras.layers.insert(
        3,
        {
            "class_name": "MaxPooling3D",
            "config": {"name": "max_pooling3d"},
            "name": "max_pooling3d",
            "inbound_nodes": [[["conv3d", 0, 0, {}]]],
        },
    )
    keras.write(path)


def unet_weights_only(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = ["down", "up", "out"]
        for name, shape in (
            ("down", (3, 3, 3, 1, 8)),
            ("up", (2, 2, 2, 8, 8)),
            ("out", (1, 1, 1, 8, 1)),
        ):
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/kernel:0"]
            group[f"{name}/kernel:0"] = np.zeros(shape, "f4")


def other_hdf5(path: Path) -> None:
    with h5py.File(path, "w") as file:
        file["images"] = np.zeros((3, 3))


def rewired_keras(path: Path) -> None:
    """A block that adds the network's first features and not its own input."""
    keras = KerasRCAN()
    sums = [layer for layer in keras.layers if layer["class_name"] == "Add"]
    sums[1]["inbound_nodes"][0][1][0] = "conv3d"
    keras.write(path)


def nan_keras(path: Path) -> None:
    keras = KerasRCAN()
    keras.weights["conv3d_2"][0][0, 0, 0, 0, 0] = np.nan
    keras.write(path)


def missing_weights(path: Path) -> None:
    KerasRCAN().write(path)
    with h5py.File(path, "a") as file:
        del file["model_weights/conv3d_3/conv3d_3"]


def weights_in_another_file(path: Path) -> None:
    KerasRCAN().write(path)
    with h5py.File(path, "a") as file:
        del file["model_weights/conv3d_3"]
        file["model_weights/conv3d_3"] = h5py.ExternalLink("/etc/passwd", "/x")


def absurd_dataset(path: Path) -> None:
    """Claims a terabyte and stores nothing."""
    KerasRCAN().write(path)
    with h5py.File(path, "a") as file:
        group = file["model_weights/conv3d_3"]
        del group["conv3d_3/kernel:0"]
        group.create_dataset(
            "conv3d_3/kernel:0",
            shape=(3, 3, 3, 100_000, 100_000),
            chunks=(1, 1, 1, 64, 64),
            dtype="f4",
        )


def wrong_channels_keras(path: Path) -> None:
    keras = KerasRCAN(inputs=2)
    keras.layers[0]["config"]["batch_input_shape"][-1] = 1
    keras.write(path)


def nested_json(path: Path) -> None:
    KerasRCAN().write(path)
    with h5py.File(path, "a") as file:
        file.attrs["model_config"] = "[" * 20_000


def pickled_code(path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {path.parent}/executed",)

    torch.save({"state_dict": _torch_state(), "extra": Hostile()}, path)


def whole_module(path: Path) -> None:
    torch.save(torch.nn.Conv3d(1, 1, 3), path)


def bare_pickle(path: Path) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {path.parent}/executed",)

    path.write_bytes(pickle.dumps(Hostile()))


def text_file(path: Path) -> None:
    path.write_text("the weights are on the other computer\n")


def empty_file(path: Path) -> None:
    path.touch()


def other_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a.txt", "hello")


def truncated_torch(path: Path) -> None:
    torch.save(_torch_state(), path)
    os.truncate(path, path.stat().st_size // 2)


def torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("net/code/__torch__.py", "")
        archive.writestr("net/data.pkl", "")


def nan_torch(path: Path) -> None:
    state = _torch_state()
    state["body_conv.bias"][1] = float("inf")
    torch.save(state, path)


def other_torch_network(path: Path) -> None:
    torch.save(torch.nn.Sequential(torch.nn.Conv3d(1, 2, 3)).state_dict(), path)


def two_dimensional(path: Path) -> None:
    state = {k: v[..., 0] if v.ndim == 5 else v for k, v in _torch_state().items()}
    torch.save(state, path)


def missing_block(path: Path) -> None:
    torch.save({k: v for k, v in _torch_state().items() if "attn.conv2" not in k}, path)


def extra_weights(path: Path) -> None:
    torch.save(_torch_state(**{"batch_norm.weight": torch.ones(3)}), path)


def wrong_shape(path: Path) -> None:
    torch.save(_torch_state(**{"groups.1.blocks.0.conv1.weight": torch.ones(5, 4, 3, 3, 3)}), path)


def expanded_tensor(path: Path) -> None:
    """One stored number, a terabyte of shape."""
    torch.save(_torch_state(**{"head_conv.weight": torch.zeros(1).expand(10**6, 10**6)}), path)


def unfinished_run(path: Path) -> None:
    torch.save({"model": _torch_state(), "average": {}, "optimiser": {}, "step": 3}, path)


def lists_only(path: Path) -> None:
    torch.save([1, 2], path)


def _changed(path: Path, **changes: Any) -> None:
    torch.save(_torch_state(**changes), path)


def sparse_tensor(path: Path) -> None:
    _changed(path, **{"body_conv.weight": torch.ones(4, 4, 3, 3, 3).to_sparse()})


def whole_numbers(path: Path) -> None:
    _changed(path, **{"body_conv.weight": torch.ones(4, 4, 3, 3, 3, dtype=torch.int8)})


def tensor_without_data(path: Path) -> None:
    _changed(path, **{"body_conv.weight": torch.empty(4, 4, 3, 3, 3, device="meta")})


def eight_bit_tensor(path: Path) -> None:
    _changed(path, **{"body_conv.weight": torch.ones(4, 4, 3, 3, 3).to(torch.float8_e4m3fn)})


def too_large_for_float32(path: Path) -> None:
    _changed(path, **{"body_conv.bias": torch.full((4,), 1e300, dtype=torch.float64)})


def a_hundred_million_groups(path: Path) -> None:
    _changed(path, **{"groups.99999999.blocks.0.conv1.bias": torch.ones(4)})


def two_ports_mixed(path: Path) -> None:
    other = PORT_GRAPHS["HD2Net (BasicSR)"].state(Sizes(blocks=1, channels=4))
    torch.save(other | _torch_state(), path)


def two_tails_of_one_group(path: Path) -> None:
    state = PORT_GRAPHS["fluoresfm"].state(Sizes(blocks=1, channels=4))
    torch.save(state | {"res_groups.0.blocks.7.conv.weight": torch.ones(4, 4, 3, 3, 3)}, path)


def no_weights_at_all(path: Path) -> None:
    torch.save({"state_dict": {}}, path)


def _ours(path: Path, **architecture: Any) -> None:
    state = rcan.RCAN(rcan.RCANConfig(groups=1, blocks=1, channels=4, reduction=2)).state_dict()
    torch.save(
        {"format": "live-restore-rcan", "architecture": architecture, "state_dict": state}, path
    )


def recorded_as_a_list(path: Path) -> None:
    _ours(path, lateral_shuffle=[2])


def recorded_as_nothing(path: Path) -> None:
    _ours(path, lateral_shuffle=0)


def recorded_as_no_number(path: Path) -> None:
    _ours(path, residual_scaling=float("nan"))


def damaged_zip_directory(path: Path) -> None:
    torch.save(_torch_state(), path)
    data = bytearray(path.read_bytes())
    data[data.rindex(b"PK\x01\x02")] = 0
    path.write_bytes(data)


def truncated_old_format(path: Path) -> None:
    torch.save(_torch_state(), path, _use_new_zipfile_serialization=False)
    os.truncate(path, path.stat().st_size - 50)


def unpacks_to_gigabytes(path: Path) -> None:
    torch.save(_torch_state(), path)
    data = bytearray(path.read_bytes())
    entry = data.index(b"PK\x01\x02")
    data[entry + 24 : entry + 28] = (4_000_000_000).to_bytes(4, "little")
    path.write_bytes(data)


def a_pipe(path: Path) -> None:
    if not hasattr(os, "mkfifo"):
        pytest.skip("this system has no named pipes")
    os.mkfifo(path)


def strange_layer_name(path: Path) -> None:
    KerasRCAN().write(path)
    with h5py.File(path, "a") as file:
        names = [name.encode() for name in file["model_weights"].attrs["layer_names"]]
        file["model_weights"].attrs["layer_names"] = [b"\xcc\xfe", *names]


CASES: dict[Callable[[Path], None], str] = {
    truncated_hdf5: "is damaged: truncated",
    hdf5_cut_in_the_header: "is damaged: truncated",
    unet: "is not a 3D RCAN: it has a MaxPooling3D layer ('max_pooling3d')",
    unet_weights_only: "is not a 3D RCAN",
    other_hdf5: "not written by Keras",
    rewired_keras: "does not add its own input",
    nan_keras: "NaN",
    missing_weights: "is damaged",
    weights_in_another_file: "is damaged",
    absurd_dataset: "claims more than",
    wrong_channels_keras: "says 1 input channels but its weights have 2",
    nested_json: "cannot be read",
    pickled_code: "contains pickled code",
    whole_module: "contains pickled code",
    bare_pickle: "a bare pickle, which is never run here",
    text_file: "is neither a torch file nor HDF5",
    empty_file: "is empty",
    other_zip: "is not a torch file",
    truncated_torch: "is not a torch file, or damaged",
    torchscript: "TorchScript",
    nan_torch: "NaN or infinite",
    other_torch_network: "is not a 3D RCAN of a kind that we know",
    two_dimensional: "2-D",
    missing_block: "attention.excite",
    extra_weights: "unknown weights, such as batch_norm.weight",
    wrong_shape: "has the shape (5, 4, 3, 3, 3), not (4, 4, 3, 3, 3)",
    expanded_tensor: "claims",
    unfinished_run: "has not ended",
    lists_only: "not a dictionary",
    sparse_tensor: "weight body_conv.weight that is not a plain floating-point tensor",
    whole_numbers: "not a plain floating-point tensor",
    tensor_without_data: "not a plain floating-point tensor",
    eight_bit_tensor: "not a plain floating-point tensor",
    too_large_for_float32: "NaN or infinite",
    a_hundred_million_groups: "numbered up to 100000000 groups",
    two_ports_mixed: "looks like gently-deabe but has",
    two_tails_of_one_group: "two weights in one place",
    no_weights_at_all: "holds no weights",
    recorded_as_a_list: "lateral_shuffle must be a whole number",
    recorded_as_nothing: "lateral_shuffle must be a whole number",
    recorded_as_no_number: "residual_scaling must be a number",
    damaged_zip_directory: "is not a torch file, or damaged",
    truncated_old_format: "is not a torch file, or damaged",
    unpacks_to_gigabytes: "unpacks to more than",
    a_pipe: "is a device or a pipe",
    strange_layer_name: "is damaged",
}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_one_clear_line_exit_2_and_nothing_written(
    make: Callable[[Path], None], tmp_path: Path, command: Callable[..., Any]
) -> None:
    source = tmp_path / "net.pth"
    make(source)
    before = sorted(tmp_path.iterdir())
    for arguments in (("onnx", source, "-o", tmp_path / "net.onnx"), ("inspect", source)):
        done = command(*arguments)
        assert done.code == 2
        assert done.out == ""
        assert CASES[make] in done.err
        assert str(source) in done.err
        assert done.err.count("\n") == 1
        assert "Traceback" not in done.err
    assert sorted(tmp_path.iterdir()) == before, "nothing is written, nothing is executed"
