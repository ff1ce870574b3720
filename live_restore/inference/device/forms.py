"""Which of a GPU's ways to run a model is the fastest there: tried one by one, then remembered.

Every form is opened, asked the known answer on a small tile and on a large one, and timed on the
large one: the same for all of a model, whatever stacks come later. A form that fails, or answers
wrongly, is refused by name. They are tried one at a time, since several at once might not fit into
the GPU's memory; and within a budget, since somebody waits for the program to start: the next start
goes on where this one stopped. What was found is in ``backends.json`` after each of them, so that
it is found once.

A runtime that ends the whole process, or breaks the driver's context of it, cannot be survived this
way. After a failure that may have done so an ordinary way is asked the small answer anew; where it
has none, this start tries no more, and holds it against the form that was being tried alone. That
one is refused after the second time.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from live_restore.errors import DeviceMemoryError
from live_restore.inference.backends.backend import Variant
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import Checker, known_tile, small_shape, tile_shape
from live_restore.inference.device.hardware import nvidia_card, nvidia_gpu
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.process import Process
from live_restore.inference.device.rates import today
from live_restore.inference.device.refusals import FAILURES, Failure, WrongNumbersError
from live_restore.inference.device.tried import Tried

# A guess, not measured: opening one takes a second or two (the first one, with its libraries, ten),
# each is opened twice, and a GPU has 13 forms. What is left then was expected to be slower.
BUDGET_S = 60.0
# Of each start after that, until all were tried; one is, whatever it takes.
LATER_S = 15.0
_MEASURING_S = 0.3
# 8 million voxels, as for the choice between devices; what a small card may hold in its place.
_TILES_ZYX = ((32, 512, 512), (16, 256, 256))
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
        self._free_mib = 0
        self._ordinary: list[Variant] = []
        self._rated: list[Variant] = []

    @property
    def tried(self) -> Tried:
        """What there is to know of them; nothing where no device has any."""
        return self._tried

    def run(self, variants: Sequence[Variant]) -> dict[Variant, Failure]:
        """Try those that were not tried here before; return those that are not used, and why.

        Where no ordinary one runs, what stops it stops the forms, too, and they are passed over.
        """
        forms = [each for each in variants if each.form]
        if not forms:
            return {}
        names = {each.backend.name for each in forms}
        self._ordinary = [v for v in variants if not v.form and v.backend.name in names]
        self._go_on(forms)
        tried, everyone = self._tried, (*self._ordinary, *forms)
        self._rated = [each for each in everyone if tried.of(each)]
        if not tried.mvoxel_per_s:
            return {}
        return {each: tried.why_not(each) for each in everyone if not tried.of(each)}

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

    def _go_on(self, forms: Sequence[Variant]) -> None:
        """Try what was not tried yet, as far as time allows, and remember each."""
        began = self._clock()
        everyone = [*self._ordinary, *forms]
        key = self._key(everyone)
        shapes = [tile_shape(self._opener.card, zyx) for zyx in _TILES_ZYX]
        if free_bytes := nvidia_gpu(forms[0].index)[1]:  # a limit alone says nothing of what is
            self._free_mib = self._opener.limits.gpu_bytes(free_bytes) >> 20
        known = self._remembered(key, shapes)
        tried = self._tried = known or self._first(shapes)
        if not tried.mvoxel_per_s:
            return
        # Those that were never tried come first: no other may take all the time of every start.
        left = [each for each in everyone if tried.is_left(each)]
        if known:
            left += [e for e in everyone if tried.is_worth_another_try(e, self._free_mib)]
        else:
            self._cache.put(key, tried.as_record())  # there may be no time for any
            if tried.is_unclear() and not self._works():
                tried.left_because = "the GPU failed while an ordinary way was tried"
                return
        shape = next(shape for shape in shapes if shape[2:] == tried.tile_zyx)
        until = began + (LATER_S if known else BUDGET_S)
        for number, each in enumerate(left):
            if self._clock() > until and not (known and number == 0):
                break
            if not self._try(each, shape, key):
                break

    def _remembered(self, key: str, shapes: Sequence[Shape5]) -> Tried | None:
        """Return what earlier starts found, unless with more memory all may be different now."""
        tried = Tried.of_record(self._cache.get(key))
        if tried is None or tried.tile_zyx not in [shape[2:] for shape in shapes]:
            return None
        if not any(map(tried.of, self._ordinary)):
            return None
        if tried.tile_zyx != shapes[0][2:] and tried.larger_may_fit(self._free_mib):
            return None
        # Another process that is there still is trying by itself, and says how that went.
        for name in [name for name, process in tried.begun.items() if process.is_gone()]:
            tried.end(name)
        tried.begun.clear()
        return tried

    def _first(self, shapes: Sequence[Shape5]) -> Tried:
        """Return the rates of the ordinary ones, on the first tile that fits."""
        tried = Tried()
        for shape in shapes:
            larger_mib = self._free_mib if tried.short else 0
            tried = Tried(tile_zyx=shape[2:], date=today(), larger_mib=larger_mib)
            for each in self._ordinary:
                try:
                    tried.succeed(each, self._rate(each, shape))
                except FAILURES as error:
                    tried.fail(each, error, self._free_mib)
            if tried.mvoxel_per_s or not tried.short:
                break
        return tried

    def _try(self, each: Variant, shape: Shape5, key: str) -> bool:
        """Try one, and remember how that went; return whether the GPU can go on."""
        tried, name = self._tried, str(each)
        tried.begun[name] = Process.this()
        self._cache.put(key, tried.as_record())
        try:
            tried.succeed(each, self._rate(each, shape))
        except FAILURES as error:
            its_own = isinstance(error, WrongNumbersError | DeviceMemoryError)
            if not (its_own or self._works()):
                tried.forget(each)
                tried.end(name)
                tried.left_because = f"the GPU failed while {name} was tried ({error.what})"
                return False
            tried.fail(each, error, self._free_mib)
        finally:  # also where somebody stops the program
            del tried.begun[name]
            tried.date = today()
            self._cache.put(key, tried.as_record())
        return True

    def _works(self) -> bool:
        """Return whether the GPU still runs an ordinary way, as it did before another failed."""
        ordinary = max(self._ordinary, key=self._tried.of)
        self._checker.forget(ordinary)
        try:
            self._checker.checked(ordinary, small_shape(self._opener.card))
        except FAILURES:
            return False
        return True

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
