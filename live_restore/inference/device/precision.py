"""When a network may be computed in less than float32.

The rule: never unless its error is far below the noise. The error is the rms difference from
float32 over the standard deviation of the result. A stack of 100 photo-electrons at its peak, the
brightest that the bundled models were measured on, has raw noise of about 12 % of that standard
deviation; an error of 2.5 % adds 2 % to it.

What shows it: ``metrics.precision_errors`` of the model's card, where the export measured it on
simulated stacks; and in any case, thus also without such a record, the known answer on the very
device (``check.py``). A card whose record is above the bound forbids that precision.
"""

from __future__ import annotations

import math

from live_restore.inference.model.card import ModelCard

ERROR_BOUND = 0.025


def recorded_error(card: ModelCard, precision: str) -> float | None:
    """Return the relative rms error that a card records for a precision, or ``None``.

    A record without a number is one of a precision that was tried and cannot be: infinite.

    Examples
    --------
    >>> metrics = {"precision_errors": {"bf16": {"relative_rms": 0.003}}}
    >>> recorded_error(ModelCard(name="x", metrics=metrics), "bf16")
    0.003
    """
    record = card.metrics.get("precision_errors")
    entry = record.get(precision) if isinstance(record, dict) else None
    if not isinstance(entry, dict):
        return None
    value = entry.get("relative_rms")
    return float(value) if isinstance(value, int | float) else math.inf


def reduced_obstacle(card: ModelCard, precision: str) -> str:
    """Return why a model may not be computed in ``precision``, by its card; "" where it may."""
    if precision == "fp32":
        return ""
    if card.precision != "fp32":
        return f"the model itself is in {card.precision}"
    recorded = recorded_error(card, precision)
    # Written this way round so that NaN is refused.
    if recorded is not None and not recorded <= ERROR_BOUND:
        return f"its card records an error of {recorded:.2g} in {precision}"
    return ""
