"""How fast each variant runs a model on this computer: measured once, then read from the cache."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

from live_restore.errors import DeviceMemoryError, InferenceError
from live_restore.inference.backends.backend import RunsFile, Variant
from live_restore.inference.backends.session import Session, Shape5
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.check import known_tile, small_shape
from live_restore.inference.device.hardware import available_cores, cpu_name, nvidia_card
from live_restore.inference.device.opening import Opener
from live_restore.inference.device.rates import Rates, today
from live_restore.inference.device.refusals import FAILURES, Failure, bare

_MEASURING_S = 0.4
# Of fewer voxels a GPU takes less time than to be asked for them: some 80 kernels of 5 to 10 us are
# 80 to 160 Mvoxel/s on a tile of 16 x 64 x 64, whatever it computes in.
_LARGE_VOXELS = 2**23
# Whose rates are at hand when one that was measured is refused.
_MOST_TILES = 8


class Measurement:
    """Measures the variants of one model, and keeps what it measured on disk.

    ``let_go`` lets go what else holds the devices' memory; it returns whether there was any.
    """

    def __init__(
        self,
        opener: Opener,
        cache: DeviceCache,
        let_go: Callable[[], bool] = lambda: False,
    ) -> None:
        self._opener = opener
        self._cache = cache
        self._let_go = let_go
        self._last: dict[Shape5, Rates] = {}

    def rates(
        self, variants: Sequence[Variant], shape: Shape5
    ) -> tuple[Rates, dict[Variant, Failure]]:
        """Return the rates for tiles of a shape, and which variants failed, if it was run now.

        A processor is measured with a small tile: a slow one would take minutes for a large one. A
        GPU takes less time for that than to be asked for it: its tiles are those of the stack, up
        to 8 million voxels.
        """
        on_cpu, on_gpu = (
            [each for each in variants if each.backend.on_cpu == kind] for kind in (True, False)
        )
        small, large = self._small_tile(shape), self._large_tile(shape)
        found, failures = self._rates(on_cpu, small)
        rates, failed = self._rates(on_gpu, large)
        if _ran_out(failed) and self._let_go():
            rates, failed = self._rates(on_gpu, large)
        if large != small and _ran_out(failed):  # then all of them are compared on what they hold
            rates, failed = self._rates(on_gpu, small)
        together = Rates(found.mvoxel_per_s | rates.mvoxel_per_s, max(found.date, rates.date))
        return together, failures | failed

    def _small_tile(self, shape: Shape5) -> Shape5:
        small = small_shape(self._opener.card)
        z, y, x = map(min, shape[2:], small[2:])
        return (*shape[:2], z, y, x)

    def _large_tile(self, shape: Shape5) -> Shape5:
        """Return a stack's own tile, or as many of its rows as are enough."""
        count, channels, z, y, x = shape
        multiple = self._opener.card.shape_multiple_zyx[1]
        rows = max(multiple, _LARGE_VOXELS // (z * x) // multiple * multiple)
        return (count, channels, z, min(y, rows), x)

    def _rates(
        self, variants: Sequence[Variant], shape: Shape5
    ) -> tuple[Rates, dict[Variant, Failure]]:
        if not variants:
            return Rates(), {}
        key = self._key(variants, shape)
        known = Rates.of_record(self._cache.get(key)) or self._of_some(variants, shape)
        if known is not None:
            self._keep(shape, known)
            return known, {}
        rates, failures = self._measure(variants, shape)
        self._keep(shape, rates)
        record = {**rates.as_record(), "tile": list(shape)}
        if not _ran_out(failures):  # another time there may be more memory
            self._cache.put(key, record)
        return rates, failures

    def _of_some(self, variants: Sequence[Variant], shape: Shape5) -> Rates | None:
        """Return the rates of those that were measured side by side, and are left."""
        last = self._last.get(shape, Rates())
        if not all(map(last.of, variants)):
            return None
        return Rates({str(each): last.of(each) for each in variants}, last.date)

    def _keep(self, shape: Shape5, rates: Rates) -> None:
        self._last.pop(shape, None)
        self._last[shape] = rates
        while len(self._last) > _MOST_TILES:
            del self._last[next(iter(self._last))]

    def _key(self, variants: Sequence[Variant], shape: Shape5) -> str:
        # Everything that makes another choice right: computer, runtimes and what files they run,
        # model, tile, limits.
        versions = dict.fromkeys(v.backend.version() for v in variants)
        backends = dict.fromkeys(v.backend for v in variants)
        files = [
            f"{each.name} of {each.file_digest(self._opener.source)[:16]}"
            for each in backends
            if isinstance(each, RunsFile)
        ]
        cores = self._opener.limits.threads or available_cores()
        cards = sorted({nvidia_card(v.index) for v in variants if not v.backend.on_cpu})
        return " | ".join(
            [
                f"{cpu_name()}, {cores} threads",
                *cards,
                *versions,
                *files,
                f"model {self._opener.source.digest[:16]}",
                f"tile {'x'.join(map(str, shape))}",
                ", ".join(map(str, variants)),
            ]
        )

    def _measure(
        self, variants: Sequence[Variant], shape: Shape5
    ) -> tuple[Rates, dict[Variant, Failure]]:
        """Run every variant for a moment, in turn: other work slows down all of them alike."""
        tile = known_tile(shape, self._opener.card)
        sessions: dict[Variant, Session] = {}
        least: dict[Variant, float] = {}
        failures: dict[Variant, Failure] = {}
        for variant in variants:
            try:
                sessions[variant] = self._opener.open(variant, shape)
                sessions[variant].run(tile)  # warm
                least[variant] = math.inf
            except FAILURES as error:
                failures[variant] = bare(error)
                sessions.pop(variant, None)
        began = time.perf_counter()
        while least and time.perf_counter() - began < _MEASURING_S * len(least):
            for variant in list(least):
                started = time.perf_counter()
                try:
                    sessions[variant].run(tile)
                except InferenceError as error:
                    failures[variant] = bare(error)
                    del least[variant], sessions[variant]
                else:
                    least[variant] = min(least[variant], time.perf_counter() - started)
        rates = {str(variant): round(tile.size / s / 1e6, 4) for variant, s in least.items()}
        return Rates(rates, today()), failures


def _ran_out(failures: dict[Variant, Failure]) -> bool:
    """Return whether memory ran out for one of them."""
    return any(isinstance(error, DeviceMemoryError) for error in failures.values())
