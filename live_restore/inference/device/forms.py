"""Which of a GPU's ways to run a model is the fastest there: tried one by one, then remembered.

Every form is opened, asked the known answer on a small tile and on a large one, and timed on the
large one: the same for all of a model, whatever stacks come later. A form that fails, or answers
wrongly, is refused by name. They are tried one at a time, since several at once might not fit into
the GPU's memory; within a budget, since somebody waits for the program to start; and once: what was
found is in ``backends.json``.

A runtime that ends the whole process, or breaks the driver's context of it, cannot be survived this
way.
"""

from __future__ import annotations

import datetime
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from live_restore.errors import DeviceError, DeviceMemoryError
from live_restore.inference.backends.backend import Variant
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import Checker, known_tile, tile_shape
from live_restore.inference.device.hardware import nvidia_gpu
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.refusals import FAILURES, Failure

# A guess, not measured: opening one takes a second or two (the first one, with its libraries, ten),
# each is opened twice, and a GPU has 13 forms. What is left then was expected to be slower.
BUDGET_S = 60.0
_MEASURING_S = 0.3
# 8 million voxels, as for the choice between devices; what a small card may hold in its place.
_TILES_ZYX = ((32, 512, 512), (16, 256, 256))
# Of a device, as many are compared on the tiles of stacks: more at once might not fit.
_COMPARED = 2


@dataclass(frozen=True)
class Tried:
    """What trying gave.

    Parameters
    ----------
    mvoxel_per_s
        Million voxels per second on the large tile, by variant, ordinary ones included.
    failed
        Why a form is not used, by variant.
    tile, date
        On what, and when (ISO).
    out_of_memory
        Whether that was why one failed: another time there may be more.
    """

    mvoxel_per_s: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tile: str = ""
    date: str = ""
    out_of_memory: bool = False

    def of(self, variant: Variant) -> float:
        """Return the rate of a variant; 0: it has none."""
        return self.mvoxel_per_s.get(str(variant), 0.0)

    def __str__(self) -> str:
        rates = sorted(self.mvoxel_per_s.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name} {rate:g}" for name, rate in rates)
        return f"forms on {self.tile}, {self.date} (Mvoxel/s): {listed}"


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
        key = self._key([*ordinary, *forms])
        found = _read(self._cache.get(key))
        if found is None:
            found = self._try_all(ordinary, forms)
            if found.mvoxel_per_s and not found.out_of_memory:
                self._cache.put(
                    key,
                    {"mvoxel_per_s": found.mvoxel_per_s, "failed": found.failed,
                     "tile": found.tile, "date": found.date},
                )  # fmt: skip
        self._tried = found
        return {
            form: DeviceError(found.failed[str(form)])
            for form in forms
            if str(form) in found.failed
        }

    def compared(self, variants: Sequence[Variant]) -> list[Variant]:
        """Return what is worth comparing on a stack's own tile: of a device with forms, the best.

        None of the others is lost: it is compared when one of these was refused.
        """
        rated = sorted(
            (each for each in variants if self._tried.of(each)),
            key=self._tried.of,
            reverse=True,
        )
        by_device: dict[str, list[Variant]] = {}
        for each in rated:
            by_device.setdefault(each.device, []).append(each)
        kept = {each for group in by_device.values() for each in group[:_COMPARED]}
        return [
            each
            for each in variants
            if each in kept or (each.device not in by_device and not each.form)
        ]

    def _key(self, variants: Sequence[Variant]) -> str:
        limits = self._opener.limits
        cards = [nvidia_gpu(index)[0] for index in sorted({each.index for each in variants})]
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

    def _try_all(self, ordinary: Sequence[Variant], forms: Sequence[Variant]) -> Tried:
        until = self._clock() + BUDGET_S
        found = Tried(date=datetime.datetime.now(datetime.UTC).date().isoformat())
        for shape in (tile_shape(self._opener.card, zyx) for zyx in _TILES_ZYX):
            found = replace(found, tile=" x ".join(map(str, shape[2:])))
            ran_out = False
            for variant in ordinary:
                try:
                    found.mvoxel_per_s[str(variant)] = self._rate(variant, shape)
                except FAILURES as error:  # told where it is opened for a stack
                    ran_out |= isinstance(error, DeviceMemoryError)
            if found.mvoxel_per_s or not ran_out:
                break
        if not found.mvoxel_per_s:
            return replace(found, out_of_memory=True)
        for form in forms:
            if self._clock() > until:
                found.failed[str(form)] = f"not tried: {BUDGET_S:g} s were over"
                continue
            try:
                found.mvoxel_per_s[str(form)] = self._rate(form, shape)
            except FAILURES as error:
                found.failed[str(form)] = error.what
                if isinstance(error, DeviceMemoryError):
                    found = replace(found, out_of_memory=True)
        return found

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
                return round(tile.size / max(least, 1e-9) / 1e6, 4)


def _read(record: dict[str, Any] | None) -> Tried | None:
    """Return what the cache holds, if it can be used; the file is open to everybody's editor."""
    if record is None:
        return None
    rates, failed = record.get("mvoxel_per_s"), record.get("failed")
    if not (isinstance(rates, dict) and isinstance(failed, dict)):
        return None
    if not all(isinstance(rate, int | float) and rate > 0 for rate in rates.values()):
        return None
    if not all(isinstance(why, str) for why in failed.values()):
        return None
    return Tried(rates, failed, str(record.get("tile", "")), str(record.get("date", "")))
