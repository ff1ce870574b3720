"""Which backend runs a model on this computer, and which one takes over where it fails.

::

    request ("auto", "openvino" ...) ──> variants that could work ──> the fastest by a short
    measurement (measure.py) ──> its numbers agree with the known answer, on a small tile and on
    one of full size (check.py) ──> it runs the stacks
                            └── they do not: refused by name, and the next one is tried

A GPU's backend may know several forms of running a model. Which of them are worth comparing is
tried before all this (forms.py); which one a stack gets, ranking.py says.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, TypeVar

import numpy as np

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
from live_restore.inference.device.kept import Chosen, KeptSessions
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.precision import reduced_obstacle
from live_restore.inference.device.ranking import Ranking
from live_restore.inference.device.rates import Rates
from live_restore.inference.device.refusals import FAILURES, Failure, LostError
from live_restore.inference.model.card import ModelCard
from live_restore.settings.devices import BY_NAME_ONLY

_Session = TypeVar("_Session", Session, CountsSession)

# Of which it is known that nothing takes their grey values.
_MOST_SHAPES = 64


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
        asked = backend.name not in BY_NAME_ONLY if name == "auto" else backend.name == name
        if not asked:
            continue
        if why_not := backend.obstacle():
            obstacles[backend.name] = why_not
            continue
        ways = [Variant(backend, precision, index) for precision in backend.precisions()]
        if isinstance(backend, HasForms):
            ways += [Variant(f.backend, f.precision, index, f.name) for f in backend.forms()]
        why_nots = [_precision_obstacle(way.precision, request, card) for way in ways]
        found += [way for way, why_not in zip(ways, why_nots, strict=True) if not why_not]
        if all(why_nots):
            obstacles[backend.name] = why_nots[0]
    if not found:
        why_not = obstacles.get(name, "there is no such device")
        raise DeviceError(
            f'device "{request.device}" cannot be used: {why_not}', None, 'or set device = "auto"'
        )
    return Candidates(tuple(found), obstacles)


def _precision_obstacle(precision: str, request: DeviceRequest, card: ModelCard) -> str:
    if precision != "fp32" and not request.reduced:
        return f"{precision} is less than the settings allow"
    return reduced_obstacle(card, precision)


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
        self._checker = Checker(self._opener, device_cache, exact=not request.reduced)
        self._kept = KeptSessions()
        self._no_counts: set[Shape5] = set()
        self._without_counts: dict[Variant, str] = {}
        self._lock = threading.Lock()
        # Settled before the first stack: a device that cannot work is better known at the start.
        self._ranking = Ranking(
            self._opener,
            self._checker,
            device_cache,
            self._candidates.variants,
            self._kept.let_go,
        )
        self._device = self._open(small_shape(card), at_start=True).device

    @property
    def device(self) -> Device:
        """Where the last tile ran."""
        return self._device

    def run(self, tile: Floats) -> Floats:
        """Run one tile; the first one of a shape chooses and checks."""
        shape: Any = tile.shape
        # One tile at a time: sessions hold its tensors. Whoever waits has prepared its own.
        with self._lock:
            while True:
                chosen = self._open(shape)
                self._device = chosen.device
                try:
                    return np.asarray(chosen.session.run(tile))
                except DeviceMemoryError:
                    if not self._has_more_memory():
                        raise  # smaller tiles may do
                except RuntimeFailureError as error:
                    if not self._has_another(chosen.variant):
                        self._forget(chosen.variant)  # opened anew for the next tile
                        raise
                    lost = LostError(f"it failed ({error.what})")
                    self._refuse(chosen.variant, lost, shape)
                del chosen  # before another one is opened

    def run_counts(self, tile: Counts, scale: Scale) -> InCounts | None:
        """Run one tile of grey values where the device may gain by that, else return ``None``.

        It gains where tiles are carried to it and back. Nothing depends on that it works: where it
        does not, whoever asks scales the tile, and :meth:`run` decides what a failure means.
        """
        shape: Any = tile.shape
        with self._lock:
            while (chosen := self._open_counts(shape)) is not None:
                self._device = chosen.device
                try:
                    found: InCounts = chosen.session.run_counts(tile, scale)
                except DeviceMemoryError:
                    if not self._has_more_memory():
                        self._no_counts.add(shape)
                except InferenceError as error:
                    self._without_counts[chosen.variant] = error.what
                    self._kept.forget(chosen.variant)
                else:
                    return found
                del chosen
            return None

    def _has_more_memory(self) -> bool:
        """Let all sessions go where memory ran out; return whether there was more than that one.

        Those of other shapes hold memory, a recorded graph until it is let go. The one that failed
        goes, too: smaller tiles need its memory, and what it recorded may be broken.
        """
        others = len(self._kept) > 1
        self._kept.let_go()
        return others

    def _open_counts(self, shape: Shape5) -> Chosen | None:
        """Return what runs tiles of grey values of one shape, ``None`` where nothing does."""
        found = self._kept.get(shape, counts=True)
        if found is not None or shape in self._no_counts:
            return found
        found = self._choose_counts(shape)
        if found is not None:
            self._kept.put(shape, found, counts=True)
        else:
            if len(self._no_counts) >= _MOST_SHAPES:
                self._no_counts.clear()
            self._no_counts.add(shape)
        return found

    def _choose_counts(self, shape: Shape5) -> Chosen | None:
        order, rates = self._ranking.order(shape)
        if not order or order[0].backend.on_cpu or order[0] in self._without_counts:
            return None
        variant = order[0]
        # Both sessions of a shape at once might not fit into a GPU's memory.
        self._kept.drop(shape)
        self._kept.make_room()
        try:
            session = self._with_memory(partial(self._checker.checked_counts, variant, shape))
        except DeviceMemoryError:
            return None
        except FAILURES as error:
            self._without_counts[variant] = error.what
            return None
        return Chosen(variant, session, self._described(session.device, variant, rates))

    def _with_memory(self, opened: Callable[[], _Session]) -> _Session:
        """Open a session; where memory runs out, once more after all others were let go."""
        try:
            return opened()
        except DeviceMemoryError:
            if not self._kept.let_go():
                raise
        return opened()

    def _has_another(self, variant: Variant) -> bool:
        """Return whether another one takes over from a variant that failed on a tile."""
        if variant.form:
            return True  # it runs this very tile
        return self._request.device == "auto" and self._is_lost(variant)

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

    def _open(self, shape: Shape5, *, at_start: bool = False) -> Chosen:
        found = self._kept.get(shape)
        if found is None:
            self._kept.make_room()
            found = self._choose(shape, at_start=at_start)
            self._kept.put(shape, found)
        return found

    def _choose(self, shape: Shape5, *, at_start: bool) -> Chosen:
        while True:
            order, rates = self._ranking.order(shape)
            if not order:
                break
            variant = order[0]
            try:
                session = self._with_memory(partial(self._checker.checked, variant, shape))
            except FAILURES as error:
                short = isinstance(error, DeviceMemoryError)
                if short and not (variant.form or at_start):
                    raise  # smaller tiles on this device are better than another device
                self._refuse(variant, error, shape)
                continue
            return Chosen(variant, session, self._described(session.device, variant, rates))
        raise DeviceError(
            f'device "{self._request.device}" cannot be used: {self._ranking.refusals.summary()}',
            None,
            'or set device = "auto"',
        )

    def _refuse(self, variant: Variant, error: Failure, shape: Shape5) -> None:
        self._ranking.refuse(variant, error, shape)
        self._forget(variant)

    def _forget(self, variant: Variant) -> None:
        self._checker.forget(variant)
        self._kept.forget(variant)
        # Where nothing took grey values, another device may be the fastest now.
        self._no_counts.clear()

    def _described(self, device: Device, variant: Variant, rates: Rates) -> Device:
        """Return the device with the reason of the choice and what a person must know."""
        asked = self._request.device
        parts = [] if asked == "auto" else [f'device = "{asked}"']
        if rates.mvoxel_per_s:
            listed = ", ".join(f"{name} {rate:g}" for name, rate in rates.mvoxel_per_s.items())
            parts.append(f"measured on this computer, {rates.date} (Mvoxel/s): {listed}")
        elif asked == "auto":
            parts.append("nothing else works here")
        if tried := self._ranking.tried:
            parts.append(tried)
        if why := self._without_counts.get(variant):
            parts.append(f"scaled on the processor: {why}")
        if refused := self._ranking.refusals.summary():
            parts.append(f"not used: {refused}")
        warnings = self._ranking.refusals.warnings()
        if asked == "auto" and variant.backend.on_cpu:
            obstacle = self._candidates.obstacles.get("cuda", "it is faster here than the GPU")
            why_no_gpu = self._ranking.refusals.of_backend("cuda") or obstacle
            warnings.insert(0, f"running on the CPU: {why_no_gpu}")
        return replace(
            device,
            warning="; ".join(warnings),
            reason="; ".join(parts),
            mvoxel_per_s=rates.of(variant),
            precision=self._checker.precision_of(variant, device),
            form=variant.form,
            known_answer_error=float(f"{self._checker.error_of(variant):.2g}"),
        )
