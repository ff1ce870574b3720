"""Which of a GPU's ways to run a model is the fastest there: tried one by one, then remembered.

Every form is opened, asked the known answer on a small tile and on a large one, and timed on the
large one: the same for all of a model, whatever stacks come later. A form that fails, or answers
wrongly, is refused by name. They are tried one at a time, since several at once might not fit into
the GPU's memory; and within a budget, since somebody waits for the program to start: the next start
goes on where this one stopped. What was found is in ``backends.json`` after each of them, so that
it is found once.

A runtime that ends the whole process, or breaks the driver's context of it, cannot be survived this
way. A form that was being tried when that happened is refused after the second time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from live_restore.errors import DeviceError, DeviceMemoryError
from live_restore.inference.backends.backend import Variant
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import Checker, known_tile, tile_shape
from live_restore.inference.device.hardware import nvidia_card, nvidia_gpu
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.rates import today
from live_restore.inference.device.refusals import FAILURES, Failure
from live_restore.inference.device.tried import Tried

# A guess, not measured: opening one takes a second or two (the first one, with its libraries, ten),
# each is opened twice, and a GPU has 13 forms. What is left then was expected to be slower.
BUDGET_S = 60.0
# Of each start after that, until all were tried; one is, whatever it takes.
LATER_S = 15.0
_MEASURING_S = 0.3
# 8 million voxels, as for the choice between devices; what a small card may hold in its place.
_TILES_ZYX = ((32, 512, 512), (16, 256, 256))
# Memory that is free differs from start to start; so much more is worth another try.
_MORE_MEMORY = 1.25
_MOST_ENDS = 2
# Of a device, as many are compared on the tiles of stacks: more at once might not fit.
_COMPARED = 2


class FormTrials:
    """Tries the forms of one model's variants.

    Parameters
    ----------
    clock
        Seconds, for the budget.
    """

    def __init__(
        self,
        opener: Opener,
        checker: Checker,
        cache: DeviceCache,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._opener = opener
        self._checker = checker
        self._cache = cache
        self._clock = clock
        self._tried = Tried()
        self._rated: list[Variant] = []

    @property
    def tried(self) -> Tried:
        """What there is to know of them; nothing where no device has any."""
        return self._tried

    def run(self, variants: Sequence[Variant]) -> dict[Variant, Failure]:
        """Try those that were not tried here before; return the forms that are not used, and why.

        Where no ordinary one runs, what stops it stops the forms, too, and they are passed over.
        """
        forms = [each for each in variants if each.form]
        if not forms:
            return {}
        names = {each.backend.name for each in forms}
        ordinary = [v for v in variants if not v.form and v.backend.name in names]
        self._go_on(ordinary, forms)
        self._rated = [each for each in (*ordinary, *forms) if self._tried.of(each)]
        if not self._tried.mvoxel_per_s:
            return {}
        return {
            form: DeviceError(self._tried.why_not(form))
            for form in forms
            if not self._tried.of(form)
        }

    def compared(self, variants: Sequence[Variant]) -> list[Variant]:
        """Return what is worth comparing on a stack's own tile: of a device with forms, the best.

        They are compared in pairs, by what trying gave: where one of the fastest two is refused,
        the other one needs no other; where both are, the next two are compared.
        """
        by_device: dict[str, list[Variant]] = {}
        for each in sorted(self._rated, key=self._tried.of, reverse=True):
            by_device.setdefault(each.device, []).append(each)
        kept: set[Variant] = set()
        for rated in by_device.values():
            pairs = (rated[i : i + _COMPARED] for i in range(0, len(rated), _COMPARED))
            kept.update(next(filter(None, (set(pair) & set(variants) for pair in pairs)), ()))
        return [
            each
            for each in variants
            if each in kept or (each.device not in by_device and not each.form)
        ]

    def _key(self, variants: Sequence[Variant]) -> str:
        limits = self._opener.limits
        cards = [nvidia_card(index) for index in sorted({each.index for each in variants})]
        versions = dict.fromkeys(each.backend.version() for each in variants)
        return " | ".join(
            [
                "forms",
                *cards,
                *versions,
                f"model {self._opener.source.digest[:16]}",
                f"memory {limits.gpu_memory_gb or 'free'}",
                ", ".join(map(str, variants)),
            ]
        )

    def _go_on(self, ordinary: Sequence[Variant], forms: Sequence[Variant]) -> None:
        """Try what was not tried yet, as far as time allows, and remember each."""
        began = self._clock()
        key = self._key([*ordinary, *forms])
        shapes = [tile_shape(self._opener.card, zyx) for zyx in _TILES_ZYX]
        free = self._opener.limits.gpu_bytes(nvidia_gpu(forms[0].index)[1]) >> 20
        known = self._remembered(key, shapes, free)
        tried = known or self._first(ordinary, shapes)
        self._tried = tried
        if not tried.mvoxel_per_s:
            return
        tried.free_mib = max(tried.free_mib, free)
        shape = next(shape for shape in shapes if shape[2:] == tried.tile_zyx)
        until = began + (LATER_S if known else BUDGET_S)
        left = [each for each in (*ordinary, *forms) if tried.is_left(each)]
        for number, each in enumerate(left):
            if self._clock() > until and not (known and number == 0):
                break
            self._try(each, shape, key)
        if not known:  # there may have been no time for any
            self._cache.put(key, tried.as_record())

    def _remembered(self, key: str, shapes: Sequence[Shape5], free: int) -> Tried | None:
        """Return what earlier starts found, without what more memory may change now."""
        tried = Tried.of_record(self._cache.get(key))
        if tried is None or tried.tile_zyx not in [shape[2:] for shape in shapes]:
            return None
        if tried.short and free > _MORE_MEMORY * tried.free_mib:
            if tried.tile_zyx != shapes[0][2:]:
                return None  # the large tile may fit
            tried.forget_short()
        for name, times in tried.begun.items():
            if times >= _MOST_ENDS:
                tried.failed.setdefault(name, f"the process ended {times} times while it was tried")
        return tried

    def _first(self, ordinary: Sequence[Variant], shapes: Sequence[Shape5]) -> Tried:
        """Return the rates of the ordinary ones, on the first tile that fits."""
        tried = Tried()
        for shape in shapes:
            short = tried.short  # of the tile before
            tried = Tried(tile_zyx=shape[2:], date=today(), short=set(short))
            for each in ordinary:
                try:
                    tried.mvoxel_per_s[str(each)] = self._rate(each, shape)
                except FAILURES as error:
                    self._failed(tried, each, error)
            if tried.mvoxel_per_s or not tried.short:
                break
        return tried

    def _try(self, each: Variant, shape: Shape5, key: str) -> None:
        tried, name = self._tried, str(each)
        tried.begun[name] = tried.begun.get(name, 0) + 1
        self._cache.put(key, tried.as_record())
        try:
            tried.mvoxel_per_s[name] = self._rate(each, shape)
        except FAILURES as error:
            self._failed(tried, each, error)
        finally:  # also where somebody stops the program
            del tried.begun[name]
            tried.date = today()
            self._cache.put(key, tried.as_record())

    @staticmethod
    def _failed(tried: Tried, each: Variant, error: Failure) -> None:
        tried.failed[str(each)] = error.what
        if isinstance(error, DeviceMemoryError):
            tried.short.add(str(each))

    def _rate(self, variant: Variant, shape: Shape5) -> float:
        """Return million voxels per second of a variant whose numbers are right."""
        session: Session = self._checker.checked(variant, shape)
        tile = known_tile(shape, self._opener.card)
        least, began = math.inf, time.perf_counter()
        while True:
            started = time.perf_counter()
            session.run(tile)
            now = time.perf_counter()
            least = min(least, now - started)
            if now - began > _MEASURING_S:
                return max(1e-4, round(tile.size / max(least, 1e-9) / 1e6, 4))
