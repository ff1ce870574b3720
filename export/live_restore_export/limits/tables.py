"""The measurement as a table and as JSON."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from live_restore.inference.model.envelope import Envelope
from live_restore_export.limits.measure import Measured
from live_restore_export.limits.sweeps import SWEEPS
from live_restore_export.limits.verdict import Point, points


def as_csv(measured: Sequence[Measured]) -> str:
    """Return a row per stack; resolutions in um, PSNR in dB."""
    text = io.StringIO()
    rows = [m.row() for m in measured]
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(
        {k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows
    )
    return text.getvalue()


def as_json(measured: Sequence[Measured], envelope: Envelope) -> str:
    """Return the envelope, and means over the stacks of every point."""
    found = [_summary(p) for s in SWEEPS for p in points(measured, s.name)]
    return json.dumps({"envelope": envelope.model_dump(mode="json"), "points": found}, indent=1)


def _summary(point: Point) -> dict[str, Any]:
    summary: dict[str, Any] = {
        "sweep": point.sweep,
        "value": point.value,
        "stacks": len(point.stacks),
        "snr_estimated": round(point.snr, 3),
        "helps": point.helps,
        "keeps_brightness": point.keeps_brightness,
    }
    for name in ("ratio", "slope", "worst"):
        mean = float(np.mean([getattr(s.light, name) for s in point.stacks]))
        summary[f"brightness_{name}"] = round(mean, 4) if math.isfinite(mean) else None
    for kind in ("raw", "gaussian", "restored"):
        for measure in ("psnr_db", "ssim", "resolution_um"):
            mean = point.mean(kind, measure)
            summary[f"{kind}_{measure}"] = round(mean, 4) if math.isfinite(mean) else None
    return summary
