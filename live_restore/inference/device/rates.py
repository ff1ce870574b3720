"""Rates that were measured, and their records in the cache, which any editor can open. Pure."""

from __future__ import annotations

import datetime
from dataclasses import dataclass, field
from typing import Any

from live_restore.inference.backends.backend import Variant

# Million voxels per second: far above every device; below it, any number is a float.
_MOST_RATE = 1e9


@dataclass(frozen=True)
class Rates:
    """What was measured.

    Parameters
    ----------
    mvoxel_per_s
        Million voxels per second, by variant; of those that failed, none.
    date
        When (ISO).
    """

    mvoxel_per_s: dict[str, float] = field(default_factory=dict)
    date: str = ""

    def of(self, variant: Variant) -> float:
        """Return the rate of a variant (million voxels per second); 0: it was not measured."""
        return self.mvoxel_per_s.get(str(variant), 0.0)

    def as_record(self) -> dict[str, Any]:
        """Return what the cache keeps of it."""
        return {"mvoxel_per_s": self.mvoxel_per_s, "date": self.date}

    @classmethod
    def of_record(cls, record: dict[str, Any] | None) -> Rates | None:
        """Return what the cache holds, if it can be used.

        Examples
        --------
        >>> Rates.of_record({"mvoxel_per_s": {"cpu fp32": 0.5}, "date": "2026-11-29"})
        Rates(mvoxel_per_s={'cpu fp32': 0.5}, date='2026-11-29')
        >>> Rates.of_record({"mvoxel_per_s": {"cpu fp32": -1}, "date": "2026-11-29"}) is None
        True
        >>> Rates.of_record({"mvoxel_per_s": {"cpu fp32": 10**400}, "date": "2026-11-29"}) is None
        True
        """
        rates = (record or {}).get("mvoxel_per_s")
        date = (record or {}).get("date")
        if not (isinstance(rates, dict) and isinstance(date, str)):
            return None
        if not all(map(_is_rate, rates.values())):
            return None
        return cls(rates, date)


def today() -> str:
    """Return the date (ISO, UTC)."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _is_rate(value: Any) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    return 0 <= value <= _MOST_RATE  # of a number of 400 digits math.isfinite knows nothing
