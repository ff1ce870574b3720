"""What trying a GPU's forms gave, and its record in the cache, which any editor can open. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from live_restore.files.values import integer
from live_restore.inference.backends.backend import Variant
from live_restore.inference.device.rates import Rates


@dataclass
class Tried:
    """What trying gave.

    Parameters
    ----------
    mvoxel_per_s
        Million voxels per second on the large tile, by variant, ordinary ones included.
    failed
        Why one is not used, by variant.
    tile_zyx, date
        On what, and when (ISO).
    short
        Those that failed for want of memory.
    free_mib
        What the GPU had free at best when it was tried; 0: nobody knows.
    begun
        How often trying one began and did not end: the process did.
    """

    mvoxel_per_s: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tile_zyx: tuple[int, ...] = ()
    date: str = ""
    short: set[str] = field(default_factory=set)
    free_mib: int = 0
    begun: dict[str, int] = field(default_factory=dict)

    def of(self, variant: Variant) -> float:
        """Return the rate of a variant; 0: it has none."""
        return self.mvoxel_per_s.get(str(variant), 0.0)

    def is_left(self, variant: Variant) -> bool:
        """Return whether a variant is still to be tried."""
        return str(variant) not in self.mvoxel_per_s and str(variant) not in self.failed

    def why_not(self, variant: Variant) -> str:
        """Return why a variant without a rate has none."""
        return self.failed.get(str(variant), "not tried yet, for want of time; the next start is")

    def forget_short(self) -> None:
        """Let those be tried again for which memory was short."""
        for name in self.short:
            self.failed.pop(name, None)
        self.short.clear()

    def __str__(self) -> str:
        rates = sorted(self.mvoxel_per_s.items(), key=lambda item: -item[1])
        listed = ", ".join(f"{name} {rate:g}" for name, rate in rates)
        tile = " x ".join(map(str, self.tile_zyx))
        return f"forms on {tile}, {self.date} (Mvoxel/s): {listed}"

    def as_record(self) -> dict[str, Any]:
        """Return what the cache keeps of it."""
        return {
            **Rates(self.mvoxel_per_s, self.date).as_record(),
            "failed": self.failed,
            "tile": list(self.tile_zyx),
            "short_of_memory": sorted(self.short),
            "free_mib": self.free_mib,
            "begun": self.begun,
        }

    @classmethod
    def of_record(cls, record: dict[str, Any] | None) -> Tried | None:
        """Return what the cache holds, if it can be used."""
        rates = Rates.of_record(record)
        if record is None or rates is None:
            return None
        failed: Any = record.get("failed")
        tile: Any = record.get("tile")
        short: Any = record.get("short_of_memory")
        begun: Any = record.get("begun")
        good = isinstance(failed, dict) and isinstance(begun, dict)
        good = good and isinstance(tile, list) and isinstance(short, list)
        if not (good and all(isinstance(text, str) for text in (*failed.values(), *short))):
            return None
        return cls(
            rates.mvoxel_per_s,
            failed,
            tuple(integer(size) or 0 for size in tile),
            rates.date,
            set(short),
            integer(record.get("free_mib")) or 0,
            {name: integer(times) or 0 for name, times in begun.items()},
        )
