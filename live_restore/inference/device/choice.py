"""Which backend runs a model on this computer: measured once, checked at every start.

::

    wish ("auto", "openvino" ...) ──> variants that could work ──> the fastest by a short
    measurement, remembered ──> its numbers agree with the known answer, on a small tile and on one
    of full size ──> it runs the stacks
                     └── they do not: refused by name, and the next one is tried
"""

from __future__ import annotations

import datetime
import hashlib
import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from live_restore.errors import (
    DeviceError,
    DeviceMemoryError,
    InferenceError,
    ModelError,
    RuntimeFailureError,
)
from live_restore.inference.backends.backend import Backend, Limits, ModelSource, Variant
from live_restore.inference.backends.session import Device, Floats, Session, Shape5
from live_restore.inference.backends.table import parse_device
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import (
    TOLERANCE_FP32,
    TOLERANCE_REDUCED,
    known_tile,
    relative_rms,
    trusted_shape,
    worst_error,
)
from live_restore.inference.device.hardware import available_cores, cpu_name
from live_restore.inference.device.precision import ERROR_BOUND, reduced_obstacle
from live_restore.inference.model.card import ModelCard

# Larger tiles are measured as this one: a slow processor would take minutes for theirs.
_SMALL_ZYX = (16, 64, 64)
_MEASURING_S = 0.4
# Stacks of one acquisition have one shape; a few more for channels with models of their own sizes.
_MOST_SHAPES = 4


@dataclass(frozen=True)
class DeviceRequest:
    """What the settings say: ``inference.device``, whether less than float32 is allowed, limits."""

    device: str = "auto"
    reduced: bool = True
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Candidates:
    """Variants that could serve a wish, and why other devices cannot."""

    variants: tuple[Variant, ...]
    obstacles: dict[str, str]


def candidates(request: DeviceRequest, card: ModelCard, backends: Sequence[Backend]) -> Candidates:
    """Return what there is to choose from.

    Raises
    ------
    DeviceError
        A device was asked for by name and cannot be used here.
    """
    name, index = parse_device(request.device)
    found: list[Variant] = []
    obstacles: dict[str, str] = {}
    for backend in backends:
        if name not in ("auto", backend.name):
            continue
        if why_not := backend.obstacle():
            obstacles[backend.name] = why_not
            continue
        found += [
            Variant(backend, precision, index)
            for precision in backend.precisions()
            if precision == "fp32" or (request.reduced and not reduced_obstacle(card, precision))
        ]
    if not found:
        why_not = obstacles.get(name, "there is no such device")
        raise DeviceError(
            f'device "{request.device}" cannot be used: {why_not}', None, 'or set device = "auto"'
        )
    return Candidates(tuple(found), obstacles)


@dataclass(frozen=True)
class _Chosen:
    """What runs tiles of one shape."""

    variant: Variant
    session: Session
    device: Device


class ChosenSession:
    """A session on the fastest backend whose numbers are right.

    Where a device fails on a tile of a stack it is asked the known answer again. If it cannot give
    it any more (a driver that was reset, a card that is gone), "auto" refuses it, loudly, and the
    next one takes over; if it can, the failure is the tile's.

    Parameters
    ----------
    source, card
        The model.
    trusted
        Float32 on the CPU, takes any shape; the last resort of "auto".
    wish
        What the settings say.
    backends
        All there are, in the order in which equals are preferred.
    remembered
        Measurements of earlier starts.

    Raises
    ------
    DeviceError
        The device that was asked for by name cannot be used, or computes wrong numbers.
    """

    def __init__(
        self,
        source: ModelSource,
        card: ModelCard,
        trusted: Session,
        request: DeviceRequest,
        backends: Sequence[Backend],
        device_cache: DeviceCache,
    ) -> None:
        self._source = source
        self._card = card
        self._trusted = trusted
        self._request = request
        self._device_cache = device_cache
        self._candidates = candidates(request, card, backends)
        self._refused: dict[Variant, DeviceError | ModelError | InferenceError] = {}
        self._approved: set[Variant] = set()
        self._sessions: dict[Shape5, _Chosen] = {}
        self._lock = threading.Lock()
        # Settled before the first stack: a device that cannot work is better known at the start.
        self._current = self._open(small_shape(card))

    @property
    def device(self) -> Device:
        """Where the last tile ran."""
        return self._current.device

    def run(self, tile: Floats) -> Floats:
        """Run one tile; the first one of a shape chooses and checks."""
        shape: Any = tile.shape
        # One tile at a time: sessions hold its tensors. Whoever waits has prepared its own.
        with self._lock:
            while True:
                chosen = self._current = self._open(shape)
                try:
                    return chosen.session.run(tile)
                except DeviceMemoryError:
                    raise  # smaller tiles may do
                except RuntimeFailureError as error:
                    if self._request.device != "auto" or not self._is_lost(chosen.variant):
                        self._forget(chosen.variant)  # opened anew for the next tile
                        raise
                    self._refuse(chosen.variant, _LostError(f"it failed ({error.what})"))

    def _is_lost(self, variant: Variant) -> bool:
        """Return whether a device that failed cannot do any more what it once could."""
        if self._is_trusted(variant):
            return False  # there is nothing behind it
        self._forget(variant)
        try:
            self._checked(variant, small_shape(self._card))
        except (DeviceError, ModelError, InferenceError):
            return True
        return False

    def _open(self, shape: Shape5) -> _Chosen:
        found = self._sessions.get(shape)
        if found is None:
            found = self._choose(shape)
            while len(self._sessions) >= _MOST_SHAPES:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[shape] = found
        return found

    def _choose(self, shape: Shape5) -> _Chosen:
        order, record = self._order(shape)
        for variant in order:
            if variant in self._refused:
                continue
            try:
                session = self._checked(variant, shape)
            except DeviceMemoryError:
                raise  # smaller tiles on this device are better than another device
            except (DeviceError, ModelError, InferenceError) as error:
                self._refuse(variant, error)
                continue
            return _Chosen(variant, session, self._described(session.device, variant, record))
        raise DeviceError(
            f'device "{self._request.device}" cannot be used: {self._told_refusals()}',
            None,
            'or set device = "auto"',
        )

    def _refuse(self, variant: Variant, error: DeviceError | ModelError | InferenceError) -> None:
        """Use a variant no more, for tiles of no shape."""
        self._refused[variant] = error
        self._forget(variant)

    def _forget(self, variant: Variant) -> None:
        self._approved.discard(variant)
        self._sessions = {k: v for k, v in self._sessions.items() if v.variant != variant}

    def _told_refusals(self) -> str:
        kinds: dict[str, list[str]] = {}
        for variant, error in self._refused.items():
            kinds.setdefault(error.reason, []).append(str(variant))
        return "; ".join(f"{', '.join(who)}: {why}" for why, who in kinds.items())

    def _order(self, shape: Shape5) -> tuple[list[Variant], dict[str, Any]]:
        """Return the variants, fastest first, and the record of their measurement.

        One alone is measured, too: how large its tiles may be depends on its rate.
        """
        variants = [v for v in self._candidates.variants if v not in self._refused]
        if all(map(self._is_trusted, variants)):
            return variants, {}
        measured: Any = (*shape[:2], *map(min, shape[2:], small_shape(self._card)[2:]))
        key = self._key(variants, measured)
        known = self._device_cache.get(key)
        record = known if known is not None and _is_record(known) else None
        if record is None:
            record = self._measure(variants, measured)
            self._device_cache.put(key, record)
        rates = record["mvoxel_per_s"]
        return sorted(variants, key=lambda v: -rates.get(str(v), 0.0)), record

    def _key(self, variants: Sequence[Variant], shape: Shape5) -> str:
        # Everything that makes another choice right: computer, runtimes, model, tile, limits.
        versions = dict.fromkeys(v.backend.version() for v in variants)
        cores = self._request.limits.threads or available_cores()
        return " | ".join(
            [
                f"{cpu_name()}, {cores} threads",
                *versions,
                f"model {self._source.digest[:16]}",
                f"tile {'x'.join(map(str, shape))}",
                ", ".join(map(str, variants)),
            ]
        )

    def _measure(self, variants: Sequence[Variant], shape: Shape5) -> dict[str, Any]:
        """Run every variant for a moment, in turn: other work slows down all of them alike."""
        tile = known_tile(shape, self._card)
        sessions: dict[Variant, Session] = {}
        least: dict[Variant, float] = {}
        for variant in variants:
            try:
                sessions[variant] = self._session(variant, shape)
                sessions[variant].run(tile)  # warm
                least[variant] = math.inf
            except (DeviceError, ModelError, InferenceError) as error:
                self._refuse(variant, error)
        began = time.perf_counter()
        while least and time.perf_counter() - began < _MEASURING_S * len(least):
            for variant in list(least):
                started = time.perf_counter()
                try:
                    sessions[variant].run(tile)
                except InferenceError as error:
                    self._refuse(variant, error)
                    del least[variant]
                else:
                    least[variant] = min(least[variant], time.perf_counter() - started)
        rates = {str(variant): round(tile.size / s / 1e6, 4) for variant, s in least.items()}
        return {
            "mvoxel_per_s": rates,
            "tile": list(shape),
            "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        }

    def _session(self, variant: Variant, shape: Shape5) -> Session:
        if self._is_trusted(variant):
            return self._trusted
        return variant.backend.open(
            self._source, shape, variant.precision, variant.index, self._request.limits
        )

    def _is_trusted(self, variant: Variant) -> bool:
        return variant.backend.name == self._trusted.device.name

    def _checked(self, variant: Variant, shape: Shape5) -> Session:
        """Return a session whose numbers are right on a small tile and at full size."""
        session = self._session(variant, shape)
        if self._is_trusted(variant):
            return session
        small = small_shape(self._card)
        if variant not in self._approved:
            checked = session if shape == small else self._session(variant, small)
            found = checked.run(known_tile(small, self._card))
            error = relative_rms(found, self._answer(small))
            bound = TOLERANCE_FP32 if variant.precision == "fp32" else ERROR_BOUND
            _require(error, bound, small)
            self._approved.add(variant)
        if shape != small:
            found = session.run(known_tile(shape, self._card))
            error = worst_error(found, self._answer(trusted_shape(shape, self._card)), self._card)
            bound = TOLERANCE_FP32 if variant.precision == "fp32" else TOLERANCE_REDUCED
            _require(error, bound, shape)
        return session

    def _answer(self, shape: Shape5) -> Floats:
        """Return the right result for the known tile of ``shape``."""
        tile = known_tile(shape, self._card)
        # Named after the question, too: a later version may ask another one.
        name = f"{self._source.digest[:16]}-{hashlib.sha256(tile.tobytes()).hexdigest()[:16]}"
        kept = self._device_cache.array(name, shape)
        if kept is not None:
            return kept
        answer = self._trusted.run(tile)
        self._device_cache.keep_array(name, answer)
        return answer

    def _why_no_gpu(self) -> str:
        failed = [e.reason for v, e in self._refused.items() if v.backend.name == "cuda"]
        obstacle = self._candidates.obstacles.get("cuda", "it is faster here than the GPU")
        return failed[0] if failed else obstacle

    def _described(self, device: Device, variant: Variant, record: dict[str, Any]) -> Device:
        """Return the device with the reason of the choice and what a person must know."""
        rates = record.get("mvoxel_per_s", {})
        parts = [] if self._request.device == "auto" else [f'device = "{self._request.device}"']
        if rates:
            told = ", ".join(f"{name} {rate:g}" for name, rate in rates.items())
            parts.append(f"measured on this computer, {record['date']} (Mvoxel/s): {told}")
        elif self._request.device == "auto":
            parts.append("nothing else works here")
        if self._refused:
            parts.append(f"not used: {self._told_refusals()}")
        warnings = []
        if self._request.device == "auto" and variant.backend.on_cpu:
            warnings.append(f"running on the CPU: {self._why_no_gpu()}")
        warnings += [
            f"{refused} is not used: {error.what}"
            for refused, error in self._refused.items()
            if isinstance(error, (_WrongNumbersError, _LostError))
        ]
        return replace(
            device,
            warning="; ".join(warnings),
            reason="; ".join(parts),
            mvoxel_per_s=rates.get(str(variant), 0.0),
        )


class _WrongNumbersError(DeviceError):
    """A device that works, but computes something else."""


class _LostError(DeviceError):
    """A device that worked, and does not any more."""


def _require(error: float, bound: float, shape: Shape5) -> None:
    if not error <= bound:
        raise _WrongNumbersError(
            f"it computes wrong numbers (error {error:.2g} on a tile of "
            f"{' x '.join(map(str, shape[2:]))}, allowed {bound:g})"
        )


def small_shape(card: ModelCard) -> Shape5:
    """Return the shape of the tile that every device is measured and first checked with."""
    z, y, x = (
        -(-size // multiple) * multiple
        for size, multiple in zip(_SMALL_ZYX, card.shape_multiple_zyx, strict=True)
    )
    return (1, card.input_channels, z, y, x)


def _is_record(record: dict[str, Any]) -> bool:
    """Whether what was remembered can be used; the file is open to everybody's editor."""
    rates = record.get("mvoxel_per_s")
    return (
        isinstance(rates, dict)
        and "date" in record
        and all(isinstance(rate, int | float) for rate in rates.values())
    )
