"""The tables of error bars that ship with live-restore; ``benchmarks/error_bars.py`` makes them."""

from __future__ import annotations

import json
from importlib import resources

from live_restore.inference.image.error_bars import ErrorBarTable
from live_restore.inference.model.card import ModelCard

FILE = "error_bars.json"


def table_for(card: ModelCard) -> ErrorBarTable | None:
    """Return the table that was measured with the weights of a model, ``None`` without one."""
    text = (resources.files("live_restore") / "inference" / FILE).read_text(encoding="utf-8")
    tables = json.loads(text)
    found = tables.get(card.weights_sha256) if card.weights_sha256 else None
    return None if found is None else ErrorBarTable.from_json(found)
