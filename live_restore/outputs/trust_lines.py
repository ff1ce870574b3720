"""What a report says of a stack's brightness and sharpness, and of less light. Pure."""

from __future__ import annotations

from typing import Any

from live_restore.inference.image.flux import Flux
from live_restore.inference.image.less_light import LessLight
from live_restore.trust.stack_trust import StackTrust


def brightness_in_report(trust: StackTrust) -> dict[str, Any]:
    """Return the keys ``brightness`` and ``sharpness`` of a stack, as far as they are known."""
    found: dict[str, Any] = {}
    if trust.flux is not None:
        found["brightness"] = {
            **_flux(trust.flux),
            "raw_adu": _rounded(trust.flux.raw_adu, 3),
            "restored_adu": _rounded(trust.flux.restored_adu, 3),
            "in_words": trust.flux.in_words,
        }
    if trust.sharpness is not None:
        found["sharpness"] = {
            name: float(f"{getattr(trust.sharpness, name):.4g}")
            for name in ("raw", "restored", "error")
        }
    return found


def less_light_in_report(less: LessLight) -> dict[str, Any]:
    """Return the key ``less_light`` of a stack."""
    return {
        "levels": [
            {
                "light": level.share,
                "cost_db": _rounded(level.cost_db, 2),
                "error_db": _rounded(level.error_db, 2),
                "over_raw_db": _rounded(level.over_raw_db, 2),
                **_flux(level.flux),
            }
            for level in less.levels
        ],
        "not_known_because": less.unknown_because,
        "in_words": less.in_words,
    }


def _flux(flux: Flux) -> dict[str, Any]:
    return {
        "flux_bias_percent": _rounded(flux.bias_percent, 2),
        "flux_error_percent": _rounded(flux.error_percent, 2),
        "flux_not_known_because": flux.unknown_because,
    }


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)
