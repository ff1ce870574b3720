"""Which variants may run tiles of a shape, the fastest first.

A form that fails on tiles of one size is not used for those and larger ones, and is asked again for
smaller ones; another variant that fails is not used any more.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from live_restore.errors import DeviceMemoryError
from live_restore.inference.backends.backend import Variant
from live_restore.inference.backends.session import Shape5
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import Checker
from live_restore.inference.device.forms import FormTrials
from live_restore.inference.device.measure import Measurement
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.rates import Rates
from live_restore.inference.device.refusals import (
    Failure,
    LostError,
    Refusals,
    WrongNumbersError,
)

# Each costs seconds while a stack waits. After so many of a device its ordinary ways run the tiles.
_MOST_FORMS_THAT_FAIL = 4


class Ranking:
    """Ranks the variants of one model.

    Parameters
    ----------
    variants
        All there are; their forms are tried at once, before the first stack.
    let_go
        Lets sessions go that are kept; returns whether there were any.
    """

    def __init__(
        self,
        opener: Opener,
        checker: Checker,
        cache: DeviceCache,
        variants: Sequence[Variant],
        let_go: Callable[[], bool],
    ) -> None:
        self._opener = opener
        self._checker = checker
        self._variants = variants
        self._measurement = Measurement(opener, cache, let_go)
        self._forms = FormTrials(opener, checker, cache)
        self.refusals = Refusals()
        for form, why in self._forms.run(variants).items():
            self.refusals.add(form, why)

    @property
    def tried(self) -> str:
        """What trying forms gave, in words; empty where no device has any."""
        return str(self._forms.tried) if self._forms.tried.mvoxel_per_s else ""

    def order(self, shape: Shape5) -> tuple[list[Variant], Rates]:
        """Return the variants that are not refused, fastest first, and their rates.

        One alone is measured, too: how large its tiles may be depends on its rate.
        """
        while True:
            variants = self._forms.compared(self._left(shape))
            if all(map(self._opener.is_trusted, variants)):
                return variants, Rates()
            rates, failures = self._measurement.rates(variants, shape)
            for variant, error in failures.items():
                self._add(variant, error, math.prod(shape) if variant.form else 0)
            # In the place of forms that failed here others are compared.
            if not any(variant.form for variant in failures):
                found = [v for v in variants if v not in failures]
                return sorted(found, key=rates.of, reverse=True), rates

    def refuse(self, variant: Variant, error: Failure, shape: Shape5) -> None:
        """Use a variant no more; a form that is right on a small tile, for tiles as large."""
        large_alone = variant.form and self._checker.is_approved(variant)
        self._add(variant, error, math.prod(shape) if large_alone else 0)

    def _add(self, variant: Variant, error: Failure, from_voxels: int) -> None:
        """Refuse a variant; what stops the ordinary ways of a device stops its forms, too."""
        self.refusals.add(variant, error, from_voxels)
        if variant.form or isinstance(error, WrongNumbersError | DeviceMemoryError):
            return
        same = [each for each in self._variants if each.device == variant.device]
        goes_on = any(not each.form and not self.refusals.refuses(each, 0) for each in same)
        if isinstance(error, LostError) or not goes_on:
            for form in (each for each in same if each.form):
                self.refusals.add(form, error)

    def _left(self, shape: Shape5) -> list[Variant]:
        voxels = math.prod(shape)
        left = [each for each in self._variants if not self.refusals.refuses(each, voxels)]
        failed = [each.device for each in self.refusals.by_size(voxels)]
        tired = {device for device in failed if failed.count(device) >= _MOST_FORMS_THAT_FAIL}
        return [each for each in left if not (each.form and each.device in tired)]
