"""Models from BioImage Model Zoo packages: the ONNX weights and a card, nothing unpacked.

A package is a zip (or a folder) with a description, ``bioimageio.yaml`` or ``rdf.yaml``, and the
files that it names; formats 0.4 and 0.5 (https://bioimage.io/docs). Only what the daemon can do
is accepted: one image in, one out, ONNX weights in the package, axes N, C, Z, Y, X, a percentile
scale. Anything else is refused by name and not approximated.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import ValidationError

from live_restore.errors import ModelError
from live_restore.files.archives import BAD_ZIP
from live_restore.files.reading import open_regular, read_regular
from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.plain_yaml import plain_yaml

DESCRIPTIONS = ("bioimageio.yaml", "rdf.yaml")
CARD_CONFIG = "live_restore"
"""Key under ``config`` of the description where our own packages keep their card."""

# Those of the zoo have 2 to 20 kB; its reader takes a second for 100 kB.
_MAX_DESCRIPTION_BYTES = 1 << 17
_MAX_WEIGHTS_BYTES = 1 << 29
_MAX_NODES = 100_000
_MAX_RATIO = 200
_AXES = ("batch", "channel", "z", "y", "x")
_SHORT_AXES = {"b": "batch", "c": "channel", "z": "z", "y": "y", "x": "x"}


def is_package(path: Path) -> bool:
    """Whether ``path`` is a zip or folder with a model description at its top."""
    if path.is_dir():
        return any((path / name).is_file() for name in DESCRIPTIONS)
    if not path.is_file() or not zipfile.is_zipfile(path):
        return False
    try:
        with open_regular(path) as file, zipfile.ZipFile(file) as archive:
            return any(name in archive.namelist() for name in DESCRIPTIONS)
    except BAD_ZIP:
        return True  # looks like one; what is wrong with it is read_package's to say


def read_package(path: Path) -> tuple[bytes, ModelCard]:
    """Return the ONNX file and the card of a package.

    The card is our own where we wrote the package, else made from the description: its percentile
    scale, its axes and step sizes, its name and licence. An ONNX file with a card of its own is
    the better witness; the caller decides.

    Raises
    ------
    ModelError
        Not a package, damaged, without ONNX weights inside, or with steps that the daemon does not
        do.
    """
    files = _Folder(path) if path.is_dir() else _Archive(path)
    description = _description(files, path)
    try:
        source, digest = _weights(description)
        card = _card(description)
    except _Refused as refusal:
        raise ModelError(f"this package {refusal}", path) from refusal
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise ModelError("has a description that cannot be understood", path) from error
    data = files.read(_safe_name(source, path), _MAX_WEIGHTS_BYTES)
    if digest and hashlib.sha256(data).hexdigest() != digest.lower():
        raise ModelError(
            "has damaged weights: their checksum is another", path, "download it again"
        )
    return data, card


class _Refused(Exception):  # noqa: N818 - a reason, turned into a ModelError where the path is known
    """Why a package is not accepted, to be read after 'this package'."""


class _Archive:
    """Files in a zip, read one by one and never unpacked."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int) -> bytes:
        try:
            with open_regular(self.path) as file, zipfile.ZipFile(file) as archive:
                entry = archive.getinfo(name)
                # Only of these does the standard library unpack no more than the declared size.
                if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    raise ModelError(
                        f"{name} is packed in another way than deflate", self.path, "zip it again"
                    )
                if entry.file_size > limit:
                    raise ModelError(f"{name} is larger than {limit >> 10:,} KiB", self.path)
                # It allocates what the archive declares before it reads.
                if entry.compress_size > os.fstat(file.fileno()).st_size:
                    raise zipfile.BadZipFile(f"{name} is larger than the file that holds it")
                # Trained weights hardly shrink, so that little that claims to be much is a bomb.
                if entry.file_size > _MAX_RATIO * entry.compress_size + _MAX_DESCRIPTION_BYTES:
                    raise ModelError(
                        f"{name} claims {entry.file_size} bytes in {entry.compress_size}", self.path
                    )
                return archive.read(entry)
        except KeyError:
            raise ModelError(f"this package holds no {name}", self.path) from None
        except BAD_ZIP as error:
            raise ModelError("is not a zip, or damaged", self.path, "download it again") from error
        except RuntimeError as error:
            raise ModelError(f"{name} is encrypted", self.path) from error

    def names(self) -> list[str]:
        try:
            with open_regular(self.path) as file, zipfile.ZipFile(file) as archive:
                return archive.namelist()
        except BAD_ZIP as error:
            raise ModelError("is not a zip, or damaged", self.path, "download it again") from error


class _Folder:
    """Files in a folder; links out of it are not followed."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def read(self, name: str, limit: int) -> bytes:
        try:
            target = (self.path / name).resolve()
            if not target.is_relative_to(self.path.resolve()):
                raise ModelError(f"{name} lies outside the package", self.path)
            return read_regular(target, limit)
        except FileNotFoundError:
            raise ModelError(f"this package holds no {name}", self.path) from None
        except (OSError, RuntimeError) as error:  # a loop of links is a RuntimeError
            if getattr(error, "errno", 0) == errno.EFBIG:
                raise ModelError(f"{name} is larger than {limit >> 10:,} KiB", self.path) from error
            why = getattr(error, "strerror", "") or error
            raise ModelError(f"{name} cannot be read: {why}", self.path) from error

    def names(self) -> list[str]:
        try:
            return [entry.name for entry in self.path.iterdir()]
        except OSError as error:
            raise ModelError(f"cannot be read: {error.strerror}", self.path) from error


def _description(files: _Archive | _Folder, path: Path) -> Mapping[str, Any]:
    present = files.names()
    name = next((n for n in DESCRIPTIONS if n in present), None)
    if name is None:
        raise ModelError("is not a BioImage Model Zoo package: it has no bioimageio.yaml", path)
    try:
        description = plain_yaml(files.read(name, _MAX_DESCRIPTION_BYTES))
    except ValueError as error:
        raise ModelError(f"its {name} is not YAML", path) from error
    if _nodes(description, _MAX_NODES) > _MAX_NODES:
        raise ModelError(f"its {name} unfolds to more than any description has", path)
    if not isinstance(description, dict) or description.get("type") != "model":
        raise ModelError("does not describe a model", path)
    return description


def _nodes(value: Any, limit: int) -> int:
    """Count what ``value`` holds, aliases as often as they are used, up to just above ``limit``.

    A kilobyte of nested aliases unfolds to terabytes as soon as somebody turns it into text.
    """
    count, waiting = 0, [value]
    while waiting and count <= limit:
        each = waiting.pop()
        count += 1
        if isinstance(each, dict):
            waiting += each.values()
        elif isinstance(each, (list, tuple, set)):
            waiting += each
    return count


def _weights(description: Mapping[str, Any]) -> tuple[str, str]:
    weights = description["weights"]
    if not isinstance(weights.get("onnx"), dict):
        kinds = ", ".join(map(str, weights)) or "none"
        raise _Refused(f"has no ONNX weights (it has {kinds})")
    if weights["onnx"].get("external_data"):
        raise _Refused("keeps its ONNX weights in a second file, which is not supported")
    return str(weights["onnx"]["source"]), str(weights["onnx"].get("sha256") or "")


def _safe_name(source: str, path: Path) -> str:
    """Return the name of a file inside the package, or refuse."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        raise ModelError(
            "keeps its weights on the internet", path, "download the whole package as a zip"
        )
    name = PurePosixPath(source)
    if name.is_absolute() or ".." in name.parts or "\\" in source or ":" in source:
        raise ModelError(f"names a file outside the package: {source}", path)
    return str(name)


def _card(description: Mapping[str, Any]) -> ModelCard:
    ours = (description.get("config") or {}).get(CARD_CONFIG)
    try:
        if isinstance(ours, dict) and "card" in ours:
            return ModelCard.model_validate(ours["card"])
        return _card_from_description(description)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise _Refused(f"has values that no card can hold: {where} {first['msg']}") from error


def _card_from_description(description: Mapping[str, Any]) -> ModelCard:
    inputs, outputs = description["inputs"], description["outputs"]
    if len(inputs) != 1 or len(outputs) != 1:
        raise _Refused(f"has {len(inputs)} inputs and {len(outputs)} outputs, not one of each")
    multiple, channels = _input_shape(inputs[0])
    if outputs[0].get("postprocessing"):
        raise _Refused("has postprocessing steps, which live-restore does not do")
    name = re.sub(r"[^A-Za-z0-9_.-]+", "-", str(description["name"])).strip("-._")[:60]
    return ModelCard(
        name=name or "model",
        version=str(description.get("version") or "1")[:40],
        description=str(description.get("description") or ""),
        licence=str(description.get("license") or ""),
        input_channels=channels,
        output_channels=_channels(outputs[0]),
        percentiles=_percentiles(inputs[0].get("preprocessing") or []),
        shape_multiple_zyx=multiple,
    )


def _axis_names(tensor: Mapping[str, Any]) -> tuple[str, ...]:
    axes = tensor["axes"]
    if isinstance(axes, str):
        return tuple(_SHORT_AXES.get(a, a) for a in axes)
    return tuple(str(a.get("id", a["type"])) for a in axes)


def _check_axes(tensor: Mapping[str, Any]) -> None:
    names = _axis_names(tensor)
    if names != _AXES:
        raise _Refused(f"has the axes {' '.join(names)}, not {' '.join(_AXES)}")


def _channels(tensor: Mapping[str, Any]) -> int:
    _check_axes(tensor)
    axes = tensor["axes"]
    if isinstance(axes, str):
        shape = tensor["shape"]
        sizes = shape.get("min") if isinstance(shape, dict) else shape
        return int(sizes[1]) if sizes else 1
    return len(axes[1]["channel_names"])


def _input_shape(tensor: Mapping[str, Any]) -> tuple[tuple[int, int, int], int]:
    """Return the multiples of Z, Y, X and the number of channels."""
    _check_axes(tensor)
    axes = tensor["axes"]
    if isinstance(axes, str):
        shape = tensor["shape"]
        if not isinstance(shape, dict):
            raise _Refused(f"accepts only stacks of exactly {shape[2:]} voxels")
        sizes: Iterable[Any] = [
            {"min": m, "step": s} for m, s in zip(shape["min"][2:], shape["step"][2:], strict=True)
        ]
    else:
        sizes = [axis["size"] for axis in axes[2:]]
    multiples = []
    for name, size in zip(_AXES[2:], sizes, strict=True):
        if not isinstance(size, dict) or "step" not in size or not size["step"]:
            raise _Refused(f"accepts only one size along {name}")
        if size["min"] % size["step"]:
            raise _Refused(f"accepts sizes along {name} that are not multiples of {size['step']}")
        multiples.append(int(size["step"]))
    return (multiples[0], multiples[1], multiples[2]), _channels(tensor)


def _percentiles(steps: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the percentiles of the one scale that the daemon does."""
    found: tuple[float, float] | None = None
    for step in steps:
        name = str(step.get("id") or step.get("name"))
        options = step.get("kwargs") or {}
        if name == "ensure_dtype":
            continue
        if name != "scale_range" or found is not None:
            raise _Refused(f"has a preprocessing step {name!r}, which live-restore does not do")
        axes = options.get("axes")
        wanted = {"channel", "z", "y", "x"} if not isinstance(axes, str) else set("czyx")
        if axes is not None and not wanted <= set(axes):
            raise _Refused("scales each channel or plane by itself, which live-restore does not do")
        if options.get("mode") not in (None, "per_sample"):
            raise _Refused("scales by a whole data set, which live-restore does not do")
        if options.get("reference_tensor") not in (None, "", "input") and axes is None:
            raise _Refused("scales by another tensor, which live-restore does not do")
        found = (float(options.get("min_percentile", 0)), float(options.get("max_percentile", 100)))
    if found is None:
        raise _Refused("expects raw intensities, but live-restore scales stacks by percentiles")
    return found
