"""``live-restore models``: bundled and configured models with their cards."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING

from live_restore.cli.parsing import Commands, add_command, load_settings_of
from live_restore.errors import one_line

if TYPE_CHECKING:
    from live_restore.inference.model.model import Model


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "models", run, "list bundled and configured models with their cards",
        "live-restore models", "live-restore models --json",
        engine=False,
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print whole cards as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore models``."""
    from live_restore.inference.load import bundled_models, find_model, load_model

    settings = load_settings_of(arguments)
    configured = map(find_model, settings.model_names)
    paths = {str(path): path for path in (*bundled_models().values(), *configured)}
    loaded = [load_model(path, "cpu") for path in paths.values()]
    if arguments.json:
        cards = [
            {"path": str(m.path), "sha256": m.digest, "card": m.card.model_dump(mode="json")}
            for m in loaded
        ]
        print(json.dumps(cards, indent=1))
    else:
        _print_models(loaded)
    return 0


def _print_models(models: list[Model]) -> None:
    from rich.console import Console
    from rich.padding import Padding
    from rich.table import Table
    from rich.text import Text

    table = Table()
    for column in ("name", "precision", "trained on voxels (um)", "what it is"):
        table.add_column(column, overflow="fold")
    for model in models:
        table.add_row(
            f"{model.card.name} {model.card.version}",
            model.card.precision,
            _voxel_range(model.card.trained_voxel_um),
            Text(one_line(model.card.description)),
        )
    console = Console()
    console.print(table)
    for model in models:
        envelope = model.card.envelope
        lines = (
            ["where it helps has not been measured"] if envelope is None else envelope.in_words()
        )
        console.print(Text(f"{model.card.name} {model.card.version}", style="bold"))
        note = model.card.sharpening_note()
        for line in [note, *lines] if note else lines:
            console.print(Padding(Text(one_line(line)), (0, 0, 0, 2)))


def _voxel_range(voxel_um: dict[str, tuple[float, float]]) -> str:
    return ", ".join(f"{axis} {low:g}–{high:g}" for axis, (low, high) in voxel_um.items()) or "?"
