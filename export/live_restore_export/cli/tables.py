"""Results on stdout: tables for people, JSON for scripts."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from live_restore.errors import one_line
from live_restore.inference.model.card import ModelCard
from live_restore_export.checkpoints import Checkpoint
from live_restore_export.onnx.verify import Comparison
from live_restore_export.quality.gain import LightLevel


def checkpoint_facts(checkpoint: Checkpoint) -> dict[str, Any]:
    """Return what is known about a checkpoint as JSON values."""
    config = checkpoint.network.config
    return {
        "path": one_line(checkpoint.path),
        "container": checkpoint.container,
        "port": checkpoint.port,
        "wrapped_in": list(checkpoint.wrapped_in),
        "graph": "reference" if config.block_skip == "every" else "skip in the last block only",
        **config.as_dict(),
        "parameters": checkpoint.parameters,
        "tile_zyx": list(checkpoint.tile_zyx) if checkpoint.tile_zyx else None,
        "epoch": checkpoint.epoch,
        "loss": checkpoint.loss,
        "notes": list(checkpoint.notes),
    }


def print_card(card: ModelCard, *, as_json: bool) -> None:
    """Print the card of a model, on stdout."""
    facts = card.model_dump(mode="json")
    _print_facts(facts, as_json=as_json)


def print_checkpoint(checkpoint: Checkpoint, *, as_json: bool) -> None:
    """Print what a checkpoint is, on stdout."""
    _print_facts(checkpoint_facts(checkpoint), as_json=as_json)


def _console() -> Console:
    """Print what files are called as they are called: no markup, no emoji."""
    return Console(markup=False, emoji=False, highlight=False)


def _print_facts(facts: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for key, value in facts.items():
        if value in (None, [], {}, ""):
            continue
        if isinstance(value, dict):
            text = json.dumps(value)
        elif isinstance(value, list):
            text = "\n".join(map(str, value)) if key == "notes" else " ".join(map(str, value))
        else:
            text = f"{value:,}" if key == "parameters" else str(value)
        table.add_row(key.replace("_", " "), text)
    _console().print(table)


def _as_json(row: Comparison) -> dict[str, Any]:
    """Return a row as JSON values; JSON has no infinity and no NaN."""
    facts = {**asdict(row), "passed": row.passed}
    for key in ("largest", "mean"):
        if not math.isfinite(facts[key]):
            facts[key] = None
    return facts


def print_comparisons(rows: Sequence[Comparison], title: str, *, as_json: bool = False) -> None:
    """Print a table of comparisons, on stdout."""
    if as_json:
        print(json.dumps([_as_json(row) for row in rows], indent=2))
        return
    table = Table(title=Text(one_line(title)), title_justify="left")
    for heading in ("case", "shape N C Z Y X"):
        table.add_column(heading)
    for heading in ("largest difference", "mean", "allowed", ""):
        table.add_column(heading, justify="right")
    for row in rows:
        table.add_row(
            row.case,
            " ".join(map(str, row.shape)),
            f"{row.largest:.1e}",
            f"{row.mean:.1e}",
            f"{row.allowed:.1e}",
            "ok" if row.passed else "TOO LARGE",
        )
    _console().print(table)


def print_gain(
    levels: Sequence[LightLevel], metrics: dict[str, object], *, as_json: bool = False
) -> None:
    """Print how much a model helps at each light level, on stdout."""
    if as_json:
        print(json.dumps(metrics, indent=2))
        return
    table = Table(title=str(metrics["data"]), title_justify="left")
    for heading in (
        "peak",
        "raw",
        "best Gaussian",
        "restored",
        "gain, mean",
        "gain, worst stack",
        "resolution: raw",
        "best Gaussian",
        "restored",
    ):
        table.add_column(heading, justify="right")
    for level in levels:
        table.add_row(
            f"{level.peak_e:g} e-",
            f"{level.raw_db:.1f} dB",
            f"{level.best_gaussian_db:.1f} dB",
            f"{level.restored_db:.1f} dB",
            f"{level.gain_db:+.1f} dB",
            f"{level.worst_gain_db:+.1f} dB",
            f"{level.raw_um:.2f} um",
            f"{level.best_gaussian_um:.2f} um",
            f"{level.restored_um:.2f} um",
        )
    _console().print(table)
