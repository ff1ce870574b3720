"""Keras HDF5 files of TF1 and TF2, full models and bare weights, without TensorFlow.

Nothing stored in them is executed: the architecture is read from JSON, the weights are arrays.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from torch import Tensor

from live_restore.errors import CheckpointError
from live_restore_export.checkpoints.base import (
    MAX_PARAMETERS,
    ArchitectureFlags,
    Checkpoint,
    build_network,
    infer_config,
)
from live_restore_export.checkpoints.keras_config import NotThisNetwork, parse_config
from live_restore_export.checkpoints.keras_graph import Recognised, recognise

_MAX_CONFIG_BYTES = 16 << 20
_PORT = "3D-RCAN (Keras)"

Arrays = dict[str, tuple[Tensor, Tensor | None]]


def load_keras(path: Path, flags: ArchitectureFlags) -> Checkpoint:
    """Read a Keras HDF5 file.

    Raises
    ------
    CheckpointError
        Truncated, not Keras, another network, too large, or in contradiction to ``flags``.
    """
    try:
        with h5py.File(path, "r") as file:
            return _load(file, path, flags)
    except (OSError, RuntimeError, KeyError, ValueError, TypeError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        raise CheckpointError(
            "is damaged: truncated, or not written to its end", path, "copy it again"
        ) from error


def _load(file: h5py.File, path: Path, flags: ArchitectureFlags) -> Checkpoint:
    if "layers" in file and "layer_names" not in file.attrs and "model_weights" not in file:
        raise CheckpointError(
            "is a Keras 3 weights file, which does not keep the order of its layers",
            path,
            "save it as a full model: model.save('model.h5')",
        )
    config_text = file.attrs.get("model_config")
    weights = file.get("model_weights") if "model_weights" in file else file
    if not isinstance(weights, h5py.Group) or not _has_attribute(weights, "layer_names"):
        raise CheckpointError("is HDF5, but not written by Keras", path)
    arrays = dict(_convolutions(weights, path))
    if config_text is None:
        state, given, notes = _by_position(weights, arrays, path, flags)
        container, tile = "Keras HDF5, weights only", None
    else:
        graph = _graph(config_text, path)
        state, given, notes = _by_graph(graph, arrays, path, flags)
        tile = _tile(graph)
        container = "Keras HDF5, full model"
    config = infer_config(state, path, **given)
    flags.check(config, path)
    if config_text is not None and graph.input_shape[3:] not in (
        (config.in_channels,),
        (None,),
        (),
    ):
        raise CheckpointError(
            f"says {graph.input_shape[3]} input channels but its weights have {config.in_channels}",
            path,
        )
    version = file.attrs.get("keras_version")
    return Checkpoint(
        network=build_network(state, config, path),
        path=path,
        container=container,
        port=_PORT,
        tile_zyx=tile,
        training=None if version is None else {"keras_version": _text(version)[:40]},
        notes=tuple(notes),
    )


def _graph(config_text: Any, path: Path) -> Recognised:
    text = _text(config_text)
    if len(text) > _MAX_CONFIG_BYTES:
        raise CheckpointError("has a model configuration of absurd size", path)
    try:
        return recognise(parse_config(json.loads(text, object_hook=_tuple_as_list)))
    except NotThisNetwork as error:
        raise CheckpointError(f"is not a 3D RCAN: {error}", path) from error
    except (
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        ArithmeticError,
        RecursionError,
    ) as error:
        raise CheckpointError("has a model configuration that cannot be read", path) from error


def _tuple_as_list(value: dict[str, Any]) -> Any:
    """Some versions of Keras mark tuples, which JSON does not have."""
    return value["items"] if value.get("class_name") == "__tuple__" else value


def _by_graph(
    graph: Recognised, arrays: Arrays, path: Path, flags: ArchitectureFlags
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Return named weights, options and assumptions of a full model."""
    state: dict[str, Tensor] = {}
    for ours, theirs in graph.layers.items():
        if theirs not in arrays:
            raise CheckpointError(f"has no weights for its layer {theirs!r}", path)
        _put(state, ours, arrays[theirs])
    scaling, given, notes = graph.residual_scaling, flags.residual_scaling, list(graph.notes)
    if scaling is not None and math.isnan(scaling) and given is None:
        raise CheckpointError(
            "keeps its residual scaling only as code, which is never run here",
            path,
            "give it: --residual-scaling 0.1",
        )
    if scaling is not None and (math.isnan(scaling) or graph.scaling_in_code):
        if given is None:
            notes.append(f"residual scaling {scaling:g} is the only constant in its Lambda's code")
        else:
            scaling = None if given == 1.0 else given
    return state, {"residual_scaling": scaling, "standardise": graph.standardise}, notes


def _by_position(
    weights: h5py.Group, arrays: Arrays, path: Path, flags: ArchitectureFlags
) -> tuple[dict[str, Tensor], dict[str, Any], list[str]]:
    """Return named weights, options and assumptions of a weights-only file.

    The order of layers is the order in which the network was built: head; per block two
    convolutions, squeeze, excite; per group its tail; body; tail.
    """
    kinds = [pair[0].shape[2] for pair in arrays.values()]
    attention, total = kinds.count(1), kinds.count(3)
    blocks_in_all = attention // 2
    group_tails = total - 3 - 2 * blocks_in_all
    if attention % 2 or not blocks_in_all or group_tails < 0 or attention + total != len(kinds):
        raise CheckpointError("is not a 3D RCAN: its convolutions are not those of one", path)
    groups = max(1, group_tails)
    if blocks_in_all % groups:
        raise CheckpointError(
            f"is not a 3D RCAN: {blocks_in_all} blocks do not fill {groups} groups evenly", path
        )
    names = ["head"]
    for g in range(groups):
        for b in range(blocks_in_all // groups):
            block = f"groups.{g}.blocks.{b}"
            names += [f"{block}.conv1", f"{block}.conv2"]
            names += [f"{block}.attention.squeeze", f"{block}.attention.excite"]
        if group_tails:
            names.append(f"groups.{g}.tail")
    names += ["body", "tail"]
    state: dict[str, Tensor] = {}
    for ours, pair in zip(names, arrays.values(), strict=True):
        _put(state, ours, pair)
    # Layers without weights are listed too: two Lambdas map the intensities, any more scale, and
    # each attention multiplies once.
    layers = [name.lower() for name in _names(weights, "layer_names")]
    maps = [n for n in layers if n.startswith(("lambda", "tf.math.multiply", "tf_op_layer_mul"))]
    products = [n for n in layers if n.startswith("multiply")]
    scales = (
        len(maps) >= 2 + blocks_in_all
        or len(products) > blocks_in_all
        or any("scaling" in name for name in layers)
    )
    if scales and flags.residual_scaling is None:
        raise CheckpointError(
            "seems to scale its residuals but, without its architecture, does not say by how much",
            path,
            "give it: --residual-scaling 0.1 (or 1)",
        )
    notes = ["the graph is not in the file; assumed the reference"]
    if flags.residual_scaling is None:
        notes.append("assumed no residual scaling (--residual-scaling where there was)")
    scaling = None if flags.residual_scaling == 1.0 else flags.residual_scaling
    standardise = flags.standardise is not False
    return state, {"residual_scaling": scaling, "standardise": standardise}, notes


def _put(state: dict[str, Tensor], name: str, pair: tuple[Tensor, Tensor | None]) -> None:
    kernel, bias = pair
    state[f"{name}.weight"] = kernel
    state[f"{name}.bias"] = torch.zeros(kernel.shape[0]) if bias is None else bias


def _convolutions(
    weights: h5py.Group, path: Path
) -> Iterator[tuple[str, tuple[Tensor, Tensor | None]]]:
    """Yield layer names and (kernel, bias) in the file's order, kernels as torch has them."""
    budget = MAX_PARAMETERS
    for layer in _names(weights, "layer_names"):
        group = _child(weights, layer, path)
        if not isinstance(group, h5py.Group):
            raise CheckpointError(f"is damaged: layer {layer!r} is not a group", path)
        found: dict[str, dict[str, Tensor]] = {}
        for name in _names(group, "weight_names"):
            dataset = _child(group, name, path)
            owner, kind = _owner(name, layer)
            budget -= _check_dataset(dataset, name, budget, path)
            found.setdefault(owner, {})[kind] = _array(dataset)
        # A layer with more than one owner is a network inside the network (multi-GPU training).
        for owner, parts in found.items():
            kernel = parts.pop("kernel", None)
            bias = parts.pop("bias", None)
            if kernel is None or parts:
                raise CheckpointError(
                    f"is not a 3D RCAN: its layer {layer!r} is no convolution", path
                )
            if kernel.ndim != 5:
                raise CheckpointError(
                    f"is not a 3D RCAN: its layer {layer!r} is a {kernel.ndim - 2}-D convolution",
                    path,
                )
            key = layer if len(found) == 1 else owner
            yield key, (kernel.permute(4, 3, 0, 1, 2).contiguous(), bias)


def _owner(name: str, layer: str) -> tuple[str, str]:
    """Return the layer and the kind of a weight such as ``conv3d_1/kernel:0``."""
    parts = name.split("/")
    return (parts[-2] if len(parts) > 1 else layer), parts[-1].split(":")[0]


def _check_dataset(dataset: Any, name: str, budget: int, path: Path) -> int:
    """Return the size of a weight; refuses what would be too large or lie in other files."""
    if not isinstance(dataset, h5py.Dataset):
        raise CheckpointError(f"is damaged: weight {name!r} is missing", path)
    if dataset.is_virtual or dataset.external:
        raise CheckpointError(f"keeps its weight {name!r} in other files, which is refused", path)
    if dataset.dtype.kind != "f":
        raise CheckpointError(f"has a weight {name!r} that is not floating point", path)
    if dataset.size is None or dataset.size > budget:
        raise CheckpointError(f"claims more than {MAX_PARAMETERS:,} weights", path)
    return int(dataset.size)


def _array(dataset: h5py.Dataset) -> Tensor:
    return torch.from_numpy(np.asarray(dataset[()], dtype=np.float32))


def _child(group: h5py.Group, name: str, path: Path) -> Any:
    """Return ``group[name]``, never following a link out of the file."""
    node: Any = group
    for part in name.split("/"):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if not isinstance(link, h5py.HardLink):
            raise CheckpointError(f"is damaged: {name!r} is missing", path)
        node = node[part]
    return node


def _has_attribute(group: h5py.Group, name: str) -> bool:
    return name in group.attrs or f"{name}0" in group.attrs


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return a list of names; Keras cuts lists above 64 KB into ``name0``, ``name1`` ..."""
    if attribute in group.attrs:
        return [_text(n) for n in np.atleast_1d(group.attrs[attribute])]
    names: list[str] = []
    part = 0
    while f"{attribute}{part}" in group.attrs:
        names += [_text(n) for n in np.atleast_1d(group.attrs[f"{attribute}{part}"])]
        part += 1
    return names


def _text(value: Any) -> str:
    """TF1 wrote attributes as bytes, TF2 as text."""
    return value.decode("utf-8") if isinstance(value, bytes) else str(value)


def _tile(graph: Recognised) -> tuple[int, int, int] | None:
    sizes = graph.input_shape[:3]
    if len(sizes) == 3 and all(isinstance(size, int) for size in sizes):
        z, y, x = (int(size or 0) for size in sizes)
        return (z, y, x)
    return None
