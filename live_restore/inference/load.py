"""Loading: from a name or a path, bundled or the user's own, to a warm model on a device."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from pathlib import Path

from pydantic import ValidationError

from live_restore.errors import ModelError
from live_restore.files.reading import read_regular
from live_restore.files.values import NotJsonError, json_object
from live_restore.inference.backends.backend import Backend, Limits, ModelSource
from live_restore.inference.backends.onnx_cpu import TrustedSession
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.choice import ChosenSession, DeviceRequest
from live_restore.inference.model.card import CARD_KEY, ModelCard
from live_restore.inference.model.model import Model
from live_restore.inference.model.onnx_content import HostileModelError, require_self_contained
from live_restore.inference.model.zoo_package import is_package, read_package

# Far above any 3D RCAN (a G 10, B 20, C 64 network has 90 MB); keeps a wrong path from filling RAM.
_MAX_MODEL_BYTES = 2**29


def bundled_models() -> dict[str, Path]:
    """Return the models that ship with live-restore, by name."""
    folder = Path(str(resources.files("live_restore") / "models"))
    return {path.stem: path for path in sorted(folder.glob("*.onnx"))}


def find_model(name_or_path: str) -> Path:
    """Return the file of a model named by its bundled name or by its path.

    Raises
    ------
    ModelError
        There is no such model.
    """
    bundled = bundled_models()
    if name_or_path in bundled:
        return bundled[name_or_path]
    path = Path(name_or_path)
    try:
        there = path.is_file() or is_package(path)
    except (OSError, ValueError) as error:  # too long a name, no permission, a zero byte in it
        why = getattr(error, "strerror", None) or error
        raise ModelError(f"cannot be looked at ({why})", name_or_path, "check the path") from None
    if not there:
        raise ModelError(
            "is neither a file nor a bundled model",
            name_or_path,
            f"bundled are: {', '.join(bundled) or 'none'}",
        )
    return path


def load_model(
    path: Path,
    device: str = "auto",
    threads: int = 0,
    *,
    reduced: bool = True,
    gpu_memory_gb: float | None = None,
    backends: Sequence[Backend] | None = None,
) -> Model:
    """Load a model, an .onnx file or a BioImage Model Zoo package, onto a device.

    Parameters
    ----------
    path
        The file or folder.
    device, threads, gpu_memory_gb
        As in the settings; ``"cpu"`` loads without measuring anything.
    backends
        What to choose from; ``None``: all there are.
    reduced
        Whether less than float32 is allowed where ``device/precision.py`` allows it.

    Raises
    ------
    ModelError
        Not a model, no card, or a model that gives more or fewer channels than it takes.
    DeviceError
        The device was asked for by name and does not work.
    """
    request = DeviceRequest(device, reduced, Limits(threads, gpu_memory_gb))
    source, card, trusted = load_trusted(path, request.limits)
    session = ChosenSession(
        replace(source, precision=card.precision),
        card,
        trusted,
        request,
        backends or make_backends(),
        DeviceCache(),
    )
    return Model(path, source.digest, card, session)


def load_trusted(path: Path, limits: Limits) -> tuple[ModelSource, ModelCard, TrustedSession]:
    """Return a model's bytes, its card, and the session that others must agree with.

    Raises
    ------
    ModelError
        As :func:`load_model`.
    """
    content, package_card = _content(path)
    try:
        require_self_contained(content)
    except HostileModelError as error:
        raise ModelError(
            str(error), path, "export it again with live-restore-export onnx"
        ) from error
    source = ModelSource.of(path, content)
    trusted = TrustedSession(source, limits)
    # A card inside the weights is the better witness: a package's description can be edited.
    if package_card is not None and CARD_KEY not in trusted.metadata:
        card = package_card
    else:
        card = _card(path, trusted.metadata)
    if card.input_channels != card.output_channels:
        raise ModelError(
            f"maps {card.input_channels} channels to {card.output_channels}, "
            "but a restored file has the channels of its raw file",
            path,
            "use a model with as many channels out as in",
        )
    return source, card, trusted


def model_bytes(path: Path) -> bytes:
    """Return the ONNX model of a file or a package; raises ``ModelError``."""
    return _content(path)[0]


def model_digest(path: Path) -> str:
    """Return the digest (SHA-256, hex) of a model's bytes; raises ``ModelError``."""
    return hashlib.sha256(model_bytes(path)).hexdigest()


def _content(path: Path) -> tuple[bytes, ModelCard | None]:
    return read_package(path) if is_package(path) else (_read(path), None)


def _read(path: Path) -> bytes:
    try:
        return read_regular(path, _MAX_MODEL_BYTES)
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ModelError("is larger than any 3D RCAN", path, "check the path") from None
        raise ModelError(f"cannot be read ({error.strerror})", path, "check the path") from None


def _card(path: Path, metadata: dict[str, str]) -> ModelCard:
    if CARD_KEY not in metadata:
        raise ModelError(
            "has no live-restore card, so its intensity scale is unknown",
            path,
            "export it with live-restore-export onnx, which embeds one",
        )
    try:
        return ModelCard.model_validate(json_object(metadata[CARD_KEY]))
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        why = f"{key}: {first['msg']}" if key else first["msg"]
    except NotJsonError as error:
        why = str(error)
    raise ModelError(f"has a damaged card ({why[:200]})", path, "export it again")
