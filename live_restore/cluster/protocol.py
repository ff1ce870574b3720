"""What watchers ask and workers answer. Pure: requests and answers to messages and back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from live_restore._version import __version__
from live_restore.cluster.message import Message
from live_restore.cluster.values import DamagedMessageError, made, plain
from live_restore.files.values import NotJsonError, json_object
from live_restore.inference.backends.session import Device, Floats
from live_restore.inference.device.check import TOLERANCE_FP32, relative_rms
from live_restore.inference.device.precision import ERROR_BOUND
from live_restore.inference.restored import Restored
from live_restore.settings.camera import CameraSettings, DefectVoxels
from live_restore.settings.model import InferenceSettings, Settings
from live_restore.settings.section import NO_PIXELS
from live_restore.stack import Mask, Units, Volume

SHOWN_DIGITS = 12
"""Of a digest: enough to tell models apart."""


@dataclass(frozen=True)
class Offer:
    """What a worker can do: restore with one model, exactly as this version of us does.

    Its text is the name of the worker's resource in Dask, by which tasks find it.
    """

    model: str
    digest: str
    version: str = __version__

    def __str__(self) -> str:
        return f"live-restore {self.version} {self.model} {self.digest[:SHOWN_DIGITS]}"


def is_offer(resource: str) -> bool:
    """Return whether a resource of a worker in Dask is an offer of some version of ours."""
    return resource.startswith("live-restore ")


@dataclass(frozen=True)
class Options:
    """Everything beside model and camera that can change a restored voxel."""

    inference: InferenceSettings
    units: Units = "camera"
    defects: DefectVoxels = "keep"
    error_bars: bool = False
    keep_flux: bool = False

    @classmethod
    def of(cls, settings: Settings) -> Options:
        """Return those of some settings."""
        keys = {
            name
            for name, each in InferenceSettings.model_fields.items()
            if each.json_schema_extra != NO_PIXELS
        }
        return cls(
            InferenceSettings(**settings.inference.model_dump(include=keys)),
            settings.output.units,
            settings.output.defects,
            settings.output.error_bars,
            settings.output.keep_flux,
        )


@dataclass(frozen=True)
class CameraNoise:
    """What is known of the camera that made a stack; its map of bad pixels travels beside it."""

    gain_adu_per_e: float
    offset_adu: float
    read_noise_e: float

    @classmethod
    def of(cls, camera: CameraSettings | None) -> CameraNoise | None:
        """Return that of a camera, without paths of this computer."""
        if camera is None:
            return None
        return cls(camera.gain_adu_per_e, camera.offset_adu, camera.read_noise_e)

    def settings(self) -> CameraSettings:
        """Return it as settings; raises ``DamagedMessageError``."""
        try:
            return CameraSettings.model_validate(asdict(self))
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise DamagedMessageError(f"its camera is damaged ({why})") from None


_OPTIONS = TypeAdapter(Options)


@dataclass(frozen=True)
class Request:
    """A raw stack to restore.

    Parameters
    ----------
    digest
        Of the model (SHA-256, hex).
    options
        As :class:`Options`, in JSON.
    stack
        (Z, Y, X) or (C, Z, Y, X), raw.
    camera
        What made it, where that is known.
    bad_pixels
        (Y, X), the camera's map, where there is one.
    estimate_gain
        Whether to estimate the gain over raw.
    estimate_less_light
        Whether to estimate what less light would cost, too.
    version
        Who asks.
    """

    digest: str
    options: str
    stack: Volume
    camera: CameraNoise | None = None
    bad_pixels: Mask | None = None
    estimate_gain: bool = False
    estimate_less_light: bool = False
    version: str = __version__

    def settings(self) -> Options:
        """Return the options; raises ``DamagedMessageError``."""
        try:
            return _OPTIONS.validate_json(self.options)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise DamagedMessageError(f"its options are damaged ({why})") from None


def options_text(settings: Settings) -> str:
    """Return the options of some settings as they travel."""
    return _OPTIONS.dump_json(Options.of(settings)).decode()


Outcome = Literal["restored", "refused", "failed", "unsuited"]


@dataclass(frozen=True)
class Answer:
    """What became of a request.

    Parameters
    ----------
    outcome
        "restored"; "refused": there is nothing to restore in it; "failed": the runtime or its
        device failed; "unsuited": this worker does not restore with that model, or as that version.
    restored
        The result.
    device
        Where it was computed, as its worker describes it.
    proof
        What the device made of the known tile right after the stack; ``None`` where it could not.
    error, what, remedy
        Class, sentence and remedy of an error.
    """

    outcome: str
    restored: Restored | None = None
    device: dict[str, str | float | int | bool] = field(default_factory=dict)
    proof: NDArray[np.float32] | None = None
    error: str = ""
    what: str = ""
    remedy: str = ""

    def device_of(self, scheduler: str) -> Device:
        """Return the device as reports describe it; raises ``DamagedMessageError``."""
        known = {each.name for each in fields(Device)}
        try:
            device = Device(**{k: v for k, v in self.device.items() if k in known})  # type: ignore[arg-type]
        except TypeError:
            raise DamagedMessageError("its device has no name") from None
        return Device(
            name=scheduler,
            provider=f"Dask: {device.provider}",
            hardware=str(device.hardware),
            warning=str(device.warning),
            precision=str(device.precision),
            reason=str(device.reason),
            memory_bytes=int(device.memory_bytes),
            mvoxel_per_s=float(device.mvoxel_per_s),
            on_gpu=True,
            elsewhere=True,
            form=str(device.form),
            known_answer_error=float(device.known_answer_error),
        )


def described(device: Device, host: str) -> dict[str, str | float | int | bool]:
    """Return a worker's device for an :class:`Answer`."""
    warning = f"{host}: {device.warning}" if device.warning else ""
    return {**asdict(device), "hardware": f"{device.hardware} of {host}", "warning": warning}


def proof_of(answer: Floats) -> Floats:
    """Return the part of the known tile's result that is sent: one voxel in eight.

    A device that computes wrong does so in more than every other voxel, plane and row; and the
    whole would be the greater part of a small stack's message.
    """
    return np.ascontiguousarray(answer[..., ::2, ::2, ::2])


def wrong_numbers(proof: Floats | None, right: Floats, device: Device | None) -> str:
    """Return what is wrong with a device by its proof, "" where it computes rightly.

    Parameters
    ----------
    proof, right
        What it made of the known tile, and what is right, as :func:`proof_of` gives them; ``None``:
        it made nothing.
    device
        Which; of one that is not known, as much is allowed as of float32.
    """
    bound = TOLERANCE_FP32 if device is None or device.precision == "fp32" else ERROR_BOUND
    off = float("inf")
    if proof is not None and proof.shape == right.shape:
        off = relative_rms(proof, right)
    return "" if off <= bound else f"it computes wrong numbers (error {off:.2g}, allowed {bound:g})"


def to_message(value: Request | Answer) -> Message:
    """Return what travels."""
    arrays: list[NDArray[Any]] = []
    text = json.dumps(plain(value, arrays))
    return Message(text, tuple(arrays))


def _content(message: Message) -> Mapping[str, Any]:
    try:
        return json_object(message.text)
    except NotJsonError as error:
        raise DamagedMessageError(f"it is no JSON ({error})") from None


def request_of(message: Message) -> Request:
    """Return what is asked; raises ``DamagedMessageError``."""
    return made(Request, _content(message), message.arrays)


def version_of(message: Message) -> str:
    """Return who asks, also of a request that only another version understands."""
    return str(_content(message).get("version", "?"))


def answer_of(message: Message, raw: Volume) -> Answer:
    """Return the answer to a request for ``raw``; raises ``DamagedMessageError``."""
    answer = made(Answer, _content(message), message.arrays)
    if answer.restored is not None and answer.restored.volume.shape != raw.shape:
        raise DamagedMessageError(
            f"a result of {answer.restored.volume.shape} for a stack of {raw.shape}"
        )
    if answer.outcome == "restored" and answer.restored is None:
        raise DamagedMessageError("a result without a stack")
    return answer
