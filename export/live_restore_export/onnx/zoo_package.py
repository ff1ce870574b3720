"""Pack one of our ONNX models for the BioImage Model Zoo (model description 0.5).

The description is written as JSON, which is YAML too, so that packing needs no library.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx

from live_restore.errors import UsageError
from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.zoo_package import CARD_CONFIG
from live_restore_export.onnx.evaluate import evaluate
from live_restore_export.onnx.export import read_card
from live_restore_export.onnx.verify import structured_image

FORMAT_VERSION = "0.5.4"

_PAPER = {
    "text": "Chen, J. et al. Three-dimensional residual channel attention networks denoise and "
    "sharpen fluorescence microscopy image volumes. Nature Methods 18, 678-687 (2021)",
    "doi": "10.1038/s41592-021-01155-x",
}

# A fixed time makes equal models equal packages.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def package(
    model: onnx.ModelProto,
    *,
    authors: Sequence[str],
    licence: str | None = None,
    documentation: str | None = None,
) -> bytes:
    """Return the package of a model as a zip.

    Parameters
    ----------
    authors
        Who trained it.
    licence
        SPDX name; the card's where not given.
    documentation
        Markdown; written from the card where not given.

    Raises
    ------
    UsageError
        No author or no licence.
    ModelError
        The model has no card.
    """
    card = read_card(model)
    licence = licence or card.licence
    if not authors:
        raise UsageError("a package needs an author", remedy="--author 'A. Person'")
    if not licence:
        raise UsageError("a package needs a licence", remedy="--licence CC-BY-4.0")
    card = card.model_copy(update={"licence": licence})
    patch = card.trained_patch_zyx or (8, 32, 32)
    sizes = [-(-p // m) * m for p, m in zip(patch, card.shape_multiple_zyx, strict=True)]
    sizes = [min(s, 16 // m * m or m) for s, m in zip(sizes, card.shape_multiple_zyx, strict=True)]
    example = structured_image((1, card.input_channels, *sizes), np.random.default_rng(0))
    scaled = _as_preprocessed(example, card)
    weights = model.SerializeToString()
    files = {
        "bioimageio.yaml": json.dumps(
            _description(model, card, weights, authors, licence, sizes), indent=2
        ).encode(),
        "model.onnx": weights,
        "test_input.npy": _npy(example),
        "test_output.npy": _npy(evaluate(model, scaled)),
        "README.md": (documentation or _readme(card)).encode(),
    }
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name, _ZIP_TIME), data, zipfile.ZIP_DEFLATED)
    return buffer.getvalue()


def _npy(array: np.ndarray[Any, Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def _as_preprocessed(image: np.ndarray[Any, Any], card: ModelCard) -> np.ndarray[Any, Any]:
    """Scale as the description's ``scale_range`` does: one pair of percentiles for the image."""
    low, high = np.percentile(image, card.percentiles)
    return np.asarray((image - low) / (high - low + 1e-6), np.float32)


def _axes(card: ModelCard, sizes: Sequence[int], *, output: bool) -> list[dict[str, Any]]:
    channels = card.output_channels if output else card.input_channels
    meaning = card.channel_meaning
    names = list(meaning) if len(meaning) == channels else [f"channel{c}" for c in range(channels)]
    axes: list[dict[str, Any]] = [
        {"type": "batch"},
        {"type": "channel", "id": "channel", "channel_names": names},
    ]
    for name, size, multiple in zip("zyx", sizes, card.shape_multiple_zyx, strict=True):
        if output:
            length: dict[str, Any] = {"tensor_id": "input", "axis_id": name, "offset": 0}
        else:
            length = {"min": size, "step": multiple}
        axes.append({"type": "space", "id": name, "size": length})
    return axes


def _description(
    model: onnx.ModelProto,
    card: ModelCard,
    weights: bytes,
    authors: Sequence[str],
    licence: str,
    sizes: Sequence[int],
) -> dict[str, Any]:
    low, high = card.percentiles
    scale = {
        "id": "scale_range",
        "kwargs": {
            "axes": ["channel", "z", "y", "x"],
            "min_percentile": low,
            "max_percentile": high,
            "eps": 1e-6,
        },
    }
    opset = next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx"))
    return {
        "type": "model",
        "format_version": FORMAT_VERSION,
        # The zoo wants at least five characters, and no full stops.
        "name": f"{card.name.replace('.', '_')} 3D RCAN",
        "description": card.description or "3D RCAN for fluorescence microscopy stacks",
        "authors": [{"name": name} for name in authors],
        "cite": [_PAPER],
        "license": licence,
        "tags": ["3d", "denoising", "restoration", "fluorescence-microscopy", "rcan", "onnx"],
        "documentation": "README.md",
        "inputs": [
            {
                "id": "input",
                "description": "raw stack",
                "axes": _axes(card, sizes, output=False),
                "data": {"type": "float32"},
                "preprocessing": [scale],
                "test_tensor": {"source": "test_input.npy"},
            }
        ],
        "outputs": [
            {
                "id": "output",
                "description": "restored stack, in units of the input's two percentiles",
                "axes": _axes(card, sizes, output=True),
                "data": {"type": "float32"},
                "test_tensor": {"source": "test_output.npy"},
            }
        ],
        "weights": {
            "onnx": {
                "source": "model.onnx",
                "sha256": hashlib.sha256(weights).hexdigest(),
                "opset_version": int(opset),
            }
        },
        "config": {CARD_CONFIG: {"card": card.model_dump(mode="json")}},
    }


def _readme(card: ModelCard) -> str:
    voxels = "; ".join(
        f"{axis} {low:g} to {high:g} um" for axis, (low, high) in card.trained_voxel_um.items()
    )
    return (
        f"# {card.name}\n\n{card.description or 'A 3D RCAN for fluorescence stacks.'}\n\n"
        f"Input: one stack, scaled so that its percentiles {card.percentiles[0]:g} and "
        f"{card.percentiles[1]:g} are 0 and 1. Output: the restored stack on the same scale.\n\n"
        f"Voxel sizes in training: {voxels or 'not recorded'}. Precision: {card.precision}.\n\n"
        "## Validation\n\nCompare restored stacks with ground truth of your own microscope before "
        "you rely on them: a network invents structure where it was not trained.\n"
    )
