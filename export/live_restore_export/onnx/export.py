"""From a trained network to an ONNX file with its card inside, and back."""

from __future__ import annotations

import difflib
import hashlib
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from pydantic import ValidationError

from live_restore.errors import ModelError, OutputError, SettingsError
from live_restore.files.publish import publishing
from live_restore.inference.model.card import CARD_KEY, ModelCard
from live_restore_export.network import RCAN, RCANConfig
from live_restore_export.onnx.graph import build_model

# A 3D RCAN of 100 million parameters is 400 MB; protobuf itself ends at 2 GiB.
MAX_MODEL_BYTES = 1 << 30

MEASURED = ("format", "precision", "weights_sha256", "architecture", "shape_multiple_zyx")
"""Card values that come from the network itself."""


def weights_digest(model: onnx.ModelProto) -> str:
    """Return the SHA-256 (hex) of all initialisers: names, types, shapes and values, by name.

    It does not depend on how the file was serialised, on metadata or on the order of nodes.
    """
    digest = hashlib.sha256()
    for tensor in sorted(model.graph.initializer, key=lambda t: t.name):
        array = np.ascontiguousarray(numpy_helper.to_array(tensor))
        digest.update(f"{tensor.name}|{array.dtype}|{array.shape}|".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def card_name(text: str) -> str:
    """Return ``text`` as a model name: letters, digits, ``_.-``, at most 60 of them.

    Examples
    --------
    >>> card_name("weights (best) #3")
    'weights-best-3'
    """
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", text).strip("-._")[:60] or "model"


def make_card(config: RCANConfig, name: str, **known: Any) -> ModelCard:
    """Return the card of a network, with what is ``known`` beyond its architecture.

    Raises
    ------
    ModelError
        What is known contradicts the network or is not what a card holds.
    """
    fold = config.lateral_shuffle
    facts: dict[str, Any] = {
        "name": name,
        "input_channels": config.in_channels,
        "output_channels": config.out_channels,
        "shape_multiple_zyx": (1, fold, fold),
        "architecture": config.as_dict(),
    }
    for key in facts.keys() & known.keys() - {"name"}:
        if known[key] != facts[key]:
            raise ModelError(f"the card says {key} {known[key]}, but the network has {facts[key]}")
    try:
        return ModelCard(**{**facts, **known})
    except ValidationError as error:
        raise ModelError(f"the card is not valid: {first_mistake(error)}") from error


def overlap_zyx(config: RCANConfig) -> tuple[int, int, int]:
    """Return tile overlaps (voxels): 4, 16, 16, up to whole multiples of the folding."""
    fold = config.lateral_shuffle
    lateral = -(-16 // fold) * fold
    return (4, lateral, lateral)


def check_card_values(values: dict[str, Any], path: Path) -> None:
    """Check the values that a person gives a card in ``path``, key by key.

    Raises
    ------
    SettingsError
        A value that no card holds, or a key that is not for a person to set.
    """
    for key in values:
        if key in MEASURED:
            raise SettingsError(f"{key} is measured, not said", path, "leave it out")
        if key not in ModelCard.model_fields:
            near = difflib.get_close_matches(key, ModelCard.model_fields, 1)
            remedy = f"did you mean {near[0]}?" if near else "docs/how-to/own-models.md lists them"
            raise SettingsError(f"{key} is no value of a card", path, remedy)
    try:
        ModelCard(**{"name": "model", **values})
    except ValidationError as error:
        raise SettingsError(f"is not a valid card: {first_mistake(error)}", path) from error


def first_mistake(error: ValidationError) -> str:
    """Return where the first mistake is and what it is."""
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    return f"{where}: {first['msg']}" if where else first["msg"]


def embed_card(model: onnx.ModelProto, card: ModelCard) -> ModelCard:
    """Write ``card``, with the digest of the model's weights, into the model; return it."""
    card = card.model_copy(update={"weights_sha256": weights_digest(model)})
    others = [p for p in model.metadata_props if p.key != CARD_KEY]
    del model.metadata_props[:]
    model.metadata_props.extend(others)
    model.metadata_props.add(key=CARD_KEY, value=card.model_dump_json())
    return card


def read_card(model: onnx.ModelProto) -> ModelCard:
    """Return the card inside ``model``; raises ``ModelError`` where there is none or a bad one."""
    for entry in model.metadata_props:
        if entry.key == CARD_KEY:
            try:
                return ModelCard.model_validate_json(entry.value)
            except ValidationError as error:
                raise ModelError(f"the card is not valid: {first_mistake(error)}") from error
    raise ModelError(
        "has no card",
        remedy="write it with `live-restore-export onnx CHECKPOINT -o MODEL.onnx`",
    )


def export_network(
    network: RCAN, card: ModelCard, *, half_weights: bool = False
) -> onnx.ModelProto:
    """Return the ONNX model of ``network`` (float32) with ``card`` inside; see ``build_model``."""
    model = build_model(network, half_weights=half_weights)
    embed_card(model, card)
    return model


def write_atomically(data: bytes, path: Path) -> None:
    """Write such that ``path`` is the old or the new file, never a part of one.

    Raises
    ------
    OutputError
        No space, no permission, no such folder.
    """
    try:
        with publishing(path) as temporary:
            temporary.write_bytes(data)
    except OutputError as error:  # its advice is for results of the daemon
        raise OutputError(error.what, path, "choose another place with -o") from error


def load_model(path: Path) -> onnx.ModelProto:
    """Read an ONNX file that keeps its weights inside.

    Raises
    ------
    ModelError
        Not there, too large, not ONNX, or with weights in other files.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise ModelError("is a device or a pipe, not a file", path)
        size = path.stat().st_size
        if size > MAX_MODEL_BYTES:
            raise ModelError(f"is larger than {MAX_MODEL_BYTES >> 20} MiB", path)
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot be read: {error.strerror}", path, "check the path") from error
    return parse_model(data, path)


def parse_model(data: bytes, path: Path | str) -> onnx.ModelProto:
    """Return the model in ``data``; ``path`` is what errors call it."""
    # protobuf's own errors are the only ones that onnx lets through here.
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

    try:
        model = onnx.load_model_from_string(data)
    except DecodeError as error:
        raise ModelError("is not an ONNX file", path, "is it complete?") from error
    if not model.graph.node:
        raise ModelError("is not an ONNX file", path, "is it complete?")
    if any(t.data_location == onnx.TensorProto.EXTERNAL for t in model.graph.initializer):
        raise ModelError("keeps its weights in other files, which is not supported", path)
    try:
        onnx.checker.check_model(model)
        for tensor in model.graph.initializer:
            numpy_helper.to_array(tensor)
    except (onnx.checker.ValidationError, ValueError, TypeError, KeyError) as error:
        raise ModelError("is a damaged ONNX file", path, "copy it again") from error
    return model
