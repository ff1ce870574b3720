"""What trying a GPU's forms gave, and its record in the cache, which any editor can open. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from live_restore.errors import DeviceError, DeviceMemoryError
from live_restore.files.values import integer
from live_restore.inference.backends.backend import Variant
from live_restore.inference.device.process import Process
from live_restore.inference.device.rates import Rates
from live_restore.inference.device.refusals import Failure, WrongNumbersError

# Memory that is free differs from start to start; so much more is worth another try.
_MORE_MEMORY = 1.25
# After so many times that the process ended, or the GPU failed, a variant is not tried again.
_MOST_ENDS = 2


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
    wrong
        Those whose numbers were wrong.
    short
        Those for which memory was short, and what the GPU had free then (MiB); 0: nobody knows.
    larger_mib
        What it had free when the larger tile was too large; 0: it was not, or nobody knows.
    begun
        The process that is trying one.
    ended
        How often the process ended, or the GPU failed for all, while one was tried.
    left_because
        Why the others were not tried; of this start, not kept.
    """

    mvoxel_per_s: dict[str, float] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    tile_zyx: tuple[int, ...] = ()
    date: str = ""
    wrong: set[str] = field(default_factory=set)
    short: dict[str, int] = field(default_factory=dict)
    larger_mib: int = 0
    begun: dict[str, Process] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    left_because: str = "not tried yet: time was up"

    def of(self, variant: Variant) -> float:
        """Return the rate of a variant; 0: it has none."""
        return self.mvoxel_per_s.get(str(variant), 0.0)

    def is_left(self, variant: Variant) -> bool:
        """Return whether a variant is still to be tried for the first time."""
        return not self.of(variant) and str(variant) not in self.failed

    def is_worth_another_try(self, variant: Variant, free_mib: int) -> bool:
        """Return whether one that failed may do now: with more memory; an ordinary one, anyway.

        Where nobody knows how much memory was free, or is, trying is the only way to know.
        """
        name = str(variant)
        if name not in self.failed or name in self.wrong or self.ended.get(name, 0) >= _MOST_ENDS:
            return False
        if name in self.short:
            unknown = not (free_mib and self.short[name])
            return unknown or _is_more(free_mib, self.short[name])
        return not variant.form

    def larger_may_fit(self, free_mib: int) -> bool:
        """Return whether there is more memory than when the larger tile was too large."""
        return self.larger_mib > 0 and _is_more(free_mib, self.larger_mib)

    def is_unclear(self) -> bool:
        """Return whether one failed, and neither memory nor its numbers were why."""
        return bool(self.failed.keys() - self.short.keys() - self.wrong)

    def succeed(self, variant: Variant, rate: float) -> None:
        """Note a rate."""
        self.forget(variant)
        self.mvoxel_per_s[str(variant)] = rate

    def fail(self, variant: Variant, error: Failure, free_mib: int) -> None:
        """Note why a variant is not used."""
        self.forget(variant)
        self.failed[str(variant)] = error.what
        if isinstance(error, WrongNumbersError):
            self.wrong.add(str(variant))
        elif isinstance(error, DeviceMemoryError):
            self.short[str(variant)] = free_mib

    def forget(self, variant: Variant) -> None:
        """Forget how a variant failed."""
        self.failed.pop(str(variant), None)
        self.wrong.discard(str(variant))
        self.short.pop(str(variant), None)

    def end(self, name: str) -> None:
        """Count that the process ended, or the GPU failed for all, while one was tried."""
        self.ended[name] = self.ended.get(name, 0) + 1
        if self.ended[name] >= _MOST_ENDS:
            self.failed[name] = (
                f"the process ended or the GPU failed {self.ended[name]} times while it was tried"
            )

    def why_not(self, variant: Variant) -> Failure:
        """Return why a variant without a rate has none."""
        name = str(variant)
        if name not in self.failed:
            return DeviceError(f"{self.left_because}; the next start goes on")
        kind = WrongNumbersError if name in self.wrong else DeviceError
        return kind(self.failed[name])

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
            "wrong": sorted(self.wrong),
            "short_of_memory_mib": self.short,
            "larger_mib": self.larger_mib,
            "begun": {name: list(process) for name, process in self.begun.items()},
            "ended": self.ended,
        }

    @classmethod
    def of_record(cls, record: dict[str, Any] | None) -> Tried | None:
        """Return what the cache holds, if it can be used."""
        rates = Rates.of_record(record)
        if record is None or rates is None:
            return None
        failed: Any = record.get("failed")
        tile: Any = record.get("tile")
        wrong: Any = record.get("wrong")
        short: Any = record.get("short_of_memory_mib")
        begun: Any = record.get("begun")
        ended: Any = record.get("ended")
        good = all(isinstance(each, dict) for each in (failed, short, begun, ended))
        good = good and isinstance(tile, list) and isinstance(wrong, list)
        if not (good and all(isinstance(text, str) for text in (*failed.values(), *wrong))):
            return None
        trying = {name: Process.of_record(each) for name, each in begun.items()}
        return cls(
            rates.mvoxel_per_s,
            failed,
            tuple(integer(size) or 0 for size in tile),
            rates.date,
            set(wrong),
            {name: integer(mib) or 0 for name, mib in short.items()},
            integer(record.get("larger_mib")) or 0,
            {name: process for name, process in trying.items() if process},
            {name: integer(times) or 0 for name, times in ended.items()},
        )


def _is_more(free_mib: int, than_mib: int) -> bool:
    return free_mib > _MORE_MEMORY * than_mib
