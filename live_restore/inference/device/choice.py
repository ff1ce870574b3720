"""Which backend runs a model on this computer, and which one takes over where it fails.

::

    request ("auto", "openvino" ...) ──> variants that could work ──> the fastest by a short
    measurement (measure.py) ──> its numbers agree with the known answer, on a small tile and on
    one of full size (check.py) ──> it runs the stacks
                            └── they do not: refused by name, and the next one is tried

A GPU's backend may know several forms of running a model. Which of them are worth comparing is
tried once, before all this (forms.py).
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Generic, TypeVar

from live_restore.errors import (
    DeviceError,
    DeviceMemoryError,
    InferenceError,
    RuntimeFailureError,
)
from live_restore.inference.backends.backend import (
    Backend,
    HasForms,
    Limits,
    ModelSource,
    Variant,
)
from live_restore.inference.backends.session import (
    Counts,
    CountsSession,
    Device,
    Floats,
    InCounts,
    Scale,
    Session,
    Shape5,
)
from live_restore.inference.backends.table import parse_device
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import Checker, small_shape
from live_restore.inference.device.forms import FormTrials
from live_restore.inference.device.measure import Measurement
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.precision import reduced_obstacle
from live_restore.inference.device.rates import Rates
from live_restore.inference.device.refusals import FAILURES, Failure, LostError, Refusals
from live_restore.inference.model.card import ModelCard

_Session_co = TypeVar("_Session_co", covariant=True)

# Stacks of one acquisition have one shape; a few more for channels with models of their own sizes.
_MOST_SHAPES = 4


@dataclass(frozen=True)
class DeviceRequest:
    """What the settings ask for: a device, whether less than float32 is allowed, limits."""

    device: str = "auto"
    reduced: bool = True
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True)
class Candidates:
    """Variants that could serve a request, and why other devices cannot."""

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
        ways = [Variant(backend, precision, index) for precision in backend.precisions()]
        if isinstance(backend, HasForms):
            ways += [Variant(f.backend, f.precision, index, f.name) for f in backend.forms()]
        found += [
            way
            for way in ways
            if way.precision == "fp32"
            or (request.reduced and not reduced_obstacle(card, way.precision))
        ]
    if not found:
        why_not = obstacles.get(name, "there is no such device")
        raise DeviceError(
            f'device "{request.device}" cannot be used: {why_not}', None, 'or set device = "auto"'
        )
    return Candidates(tuple(found), obstacles)


@dataclass(frozen=True)
class _Chosen(Generic[_Session_co]):
    """What runs tiles of one shape, as float32 or as grey values."""

    variant: Variant
    session: _Session_co
    device: Device


class ChosenSession:
    """A session on the fastest backend whose numbers are right.

    Where a device fails on a tile of a stack it is asked the known answer again. If it cannot give
    it any more (a driver that was reset, a card that is gone), "auto" refuses it, loudly, and the
    next one takes over; if it can, the failure is the tile's.

    Threads may share it: it runs one tile at a time.

    Parameters
    ----------
    source, card
        The model.
    trusted
        Float32 on the CPU, takes any shape; the last resort of "auto".
    request
        What the settings ask for.
    backends
        All there are, in the order in which equals are preferred.
    device_cache
        Measurements and answers of earlier starts.

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
        self._request = request
        self._candidates = candidates(request, card, backends)
        self._opener = Opener(source, card, trusted, request.limits)
        self._measurement = Measurement(self._opener, device_cache)
        self._checker = Checker(self._opener, device_cache, exact=not request.reduced)
        self._refusals = Refusals()
        self._forms = FormTrials(self._opener, self._checker, device_cache)
        self._sessions: dict[Shape5, _Chosen[Session]] = {}
        self._counts: dict[Shape5, _Chosen[CountsSession] | None] = {}
        self._without_counts: dict[Variant, str] = {}
        self._lock = threading.Lock()
        # Settled before the first stack: a device that cannot work is better known at the start.
        for form, why in self._forms.run(self._candidates.variants).items():
            self._refuse(form, why)
        self._current: _Chosen[Session | CountsSession] = self._open(small_shape(card))

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
                chosen = self._open(shape)
                self._current = chosen
                try:
                    return chosen.session.run(tile)
                except DeviceMemoryError:
                    raise  # smaller tiles may do
                except RuntimeFailureError as error:
                    if chosen.variant.form:  # another one runs this very tile
                        self._refuse(chosen.variant, LostError(f"it failed ({error.what})"))
                        continue
                    if self._request.device != "auto" or not self._is_lost(chosen.variant):
                        self._forget(chosen.variant)  # opened anew for the next tile
                        raise
                    self._refuse(chosen.variant, LostError(f"it failed ({error.what})"))

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts | None:
        """Run one tile of grey values where the device may gain by that, else return ``None``.

        It gains where tiles are carried to it and back. Nothing depends on that it works: where it
        does not, whoever asks scales the tile, and :meth:`run` decides what a failure means.
        """
        shape: Any = tile.shape
        with self._lock:
            chosen = self._open_counts(shape)
            if chosen is None:
                return None
            self._current = chosen
            try:
                return chosen.session.run_counts(tile, scale)
            except InferenceError as error:
                self._without_counts[chosen.variant] = error.what
                self._counts.clear()
                return None

    def _open_counts(self, shape: Shape5) -> _Chosen[CountsSession] | None:
        """Return what runs tiles of grey values of one shape, ``None`` where nothing does."""
        if shape not in self._counts:
            found = self._choose_counts(shape)
            while len(self._counts) >= _MOST_SHAPES:
                del self._counts[next(iter(self._counts))]
            self._counts[shape] = found
        return self._counts[shape]

    def _choose_counts(self, shape: Shape5) -> _Chosen[CountsSession] | None:
        order, rates = self._order(shape)
        if not order or order[0].backend.on_cpu or order[0] in self._without_counts:
            return None
        variant = order[0]
        # Both sessions of a shape at once might not fit into a GPU's memory.
        self._sessions.pop(shape, None)
        try:
            session = self._checker.checked_counts(variant, shape)
        except FAILURES as error:
            self._without_counts[variant] = error.what
            return None
        return _Chosen(variant, session, self._described(session.device, variant, rates))

    def _is_lost(self, variant: Variant) -> bool:
        """Return whether a device that failed cannot do any more what it once could."""
        if self._opener.is_trusted(variant):
            return False  # there is nothing behind it
        self._forget(variant)
        try:
            self._checker.checked(variant, small_shape(self._opener.card))
        except FAILURES:
            return True
        return False

    def _open(self, shape: Shape5) -> _Chosen[Session]:
        found = self._sessions.get(shape)
        if found is None:
            found = self._choose(shape)
            while len(self._sessions) >= _MOST_SHAPES:
                del self._sessions[next(iter(self._sessions))]
            self._sessions[shape] = found
        return found

    def _choose(self, shape: Shape5) -> _Chosen[Session]:
        while True:
            order, rates = self._order(shape)
            if not order:
                break
            variant = order[0]
            try:
                session = self._checker.checked(variant, shape)
            except FAILURES as error:
                if isinstance(error, DeviceMemoryError) and not variant.form:
                    raise  # smaller tiles on this device are better than another device
                self._refuse(variant, error)
                continue
            return _Chosen(variant, session, self._described(session.device, variant, rates))
        raise DeviceError(
            f'device "{self._request.device}" cannot be used: {self._refusals.summary()}',
            None,
            'or set device = "auto"',
        )

    def _order(self, shape: Shape5) -> tuple[list[Variant], Rates]:
        """Return the variants that are not refused, fastest first, and their rates.

        One alone is measured, too: how large its tiles may be depends on its rate.
        """
        while True:
            left = [v for v in self._candidates.variants if v not in self._refusals]
            variants = self._forms.compared(left)
            if all(map(self._opener.is_trusted, variants)):
                return variants, Rates()
            rates, failures = self._measurement.rates(variants, shape)
            for variant, error in failures.items():
                self._refuse(variant, error)
            # In the place of a form that failed here another one is compared.
            if not any(variant.form for variant in failures):
                found = [v for v in variants if v not in self._refusals]
                return sorted(found, key=rates.of, reverse=True), rates

    def _refuse(self, variant: Variant, error: Failure) -> None:
        """Use a variant no more, for tiles of no shape."""
        self._refusals.add(variant, error)
        self._forget(variant)

    def _forget(self, variant: Variant) -> None:
        self._checker.forget(variant)
        self._sessions = {k: v for k, v in self._sessions.items() if v.variant != variant}
        # Where nothing took grey values, another device may be the fastest now.
        self._counts = {
            k: v for k, v in self._counts.items() if v is not None and v.variant != variant
        }

    def _described(self, device: Device, variant: Variant, rates: Rates) -> Device:
        """Return the device with the reason of the choice and what a person must know."""
        asked = self._request.device
        parts = [] if asked == "auto" else [f'device = "{asked}"']
        if rates.mvoxel_per_s:
            listed = ", ".join(f"{name} {rate:g}" for name, rate in rates.mvoxel_per_s.items())
            parts.append(f"measured on this computer, {rates.date} (Mvoxel/s): {listed}")
        elif asked == "auto":
            parts.append("nothing else works here")
        if self._forms.tried.mvoxel_per_s:
            parts.append(str(self._forms.tried))
        if why := self._without_counts.get(variant):
            parts.append(f"scaled on the processor: {why}")
        if refused := self._refusals.summary():
            parts.append(f"not used: {refused}")
        warnings = self._refusals.warnings()
        if asked == "auto" and variant.backend.on_cpu:
            warnings.insert(0, f"running on the CPU: {self._why_no_gpu()}")
        return replace(
            device,
            warning="; ".join(warnings),
            reason="; ".join(parts),
            mvoxel_per_s=rates.of(variant),
            precision=self._checker.precision_of(variant, device),
            form=variant.form,
            known_answer_error=float(f"{self._checker.error_of(variant):.2g}"),
        )

    def _why_no_gpu(self) -> str:
        obstacle = self._candidates.obstacles.get("cuda", "it is faster here than the GPU")
        return self._refusals.of_backend("cuda") or obstacle
