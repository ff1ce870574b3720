"""``live-restore-export train``: stacks become a checkpoint, and that a verified model."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore_export.cli.parsing import Commands, add_command, positive

if TYPE_CHECKING:
    from live_restore.inference.model.card import ModelCard
    from live_restore_export.checkpoints import Checkpoint
    from live_restore_export.training.config import TrainConfig
    from live_restore_export.training.data import TrainingData

MODEL = "model.onnx"


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "train",
        "train a network on simulated or measured stacks and convert it",
        "  live-restore-export train export/live_restore_export/configs/fast.toml -o runs/fast\n"
        "  live-restore-export train actin.toml -o runs/actin --init bundled\n"
        "  live-restore-export train actin.toml -o runs/actin --resume --minutes 600",
        run,
    )
    parser.add_argument(
        "--no-limits",
        action="store_true",
        help="do not measure at the end where the model helps: its card then has no envelope",
    )
    parser.add_argument("config", type=Path, help="training configuration, TOML")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--resume", action="store_true", help="go on where a training was stopped")
    parser.add_argument(
        "--minutes", type=positive, metavar="N",
        help="end within so many, over all starts together, instead of training.max_minutes",
    )  # fmt: skip
    parser.add_argument(
        "--init",
        metavar="WEIGHTS",
        help='fine-tune: "bundled", the name of a bundled model, an ONNX model or a checkpoint',
    )


def run(arguments: argparse.Namespace) -> int:
    """Train, then convert and verify the result."""
    from live_restore_export.checkpoints import load_checkpoint
    from live_restore_export.cli.conversion import publish
    from live_restore_export.cli.progress import display
    from live_restore_export.onnx.export import make_card
    from live_restore_export.training.config import TrainConfig
    from live_restore_export.training.loop import check_folder, train
    from live_restore_export.training.start import architecture_for, find_start

    folder: Path = arguments.output
    config = TrainConfig.load(arguments.config)
    if arguments.minutes is not None:
        options = config.training.model_copy(update={"max_minutes": arguments.minutes})
        config = config.model_copy(update={"training": options})
    check_folder(folder, resume=arguments.resume)
    start = None if arguments.init is None else find_start(arguments.init)
    architecture = architecture_for(config, start, arguments.config)
    # A card that contradicts the network is to be known before the training, not after it.
    make_card(architecture, **{"name": "model", **config.card})
    with display() as shown:
        if start is not None and start.percentiles not in (None, config.training.percentiles):
            shown.report(
                f"note: {start.name} was trained with percentiles {start.percentiles}, "
                f"this run has {config.training.percentiles}"
            )
        data = config.gather(arguments.config.parent)
        for line in data.lines:
            shown.report(line)
        final = train(
            config, data, architecture, folder, shown, start=start, resume=arguments.resume
        )
    checkpoint = load_checkpoint(final)
    card = _card(checkpoint, config, data, folder)
    code = publish(checkpoint, card, folder / MODEL, verify_it=True)
    if code or arguments.no_limits:
        return code
    return _limits(folder / MODEL, card)


def _limits(model: Path, card: ModelCard) -> int:
    """Measure where a model helps, and record that in its card."""
    from live_restore_export.cli.limits import measure
    from live_restore_export.limits.measure import FULL

    if card.input_channels > 1:
        print(
            f"note: {card.unmeasured_note()}; simulated stacks have one channel, this model takes "
            f"{card.input_channels}, so that takes stacks of your own"
        )
        return 0
    return measure([model], FULL, model.with_name(f"{model.stem}_limits"), record=True)


def _card(
    checkpoint: Checkpoint, config: TrainConfig, data: TrainingData, folder: Path
) -> ModelCard:
    """Return the card of a trained network: facts of the training, then what ``[card]`` sets."""
    from live_restore_export.onnx.export import card_name, make_card, overlap_zyx

    known: dict[str, Any] = {
        "name": card_name(folder.resolve().name),
        "description": data.summary,
        "percentiles": config.training.percentiles,
        "trained_patch_zyx": config.training.patch_zyx,
        "trained_voxel_um": data.voxel_um,
        "truth_psf_width": (
            config.simulation.truth_psf_width if config.data.source == "simulation" else 1.0
        ),
        "overlap_zyx": overlap_zyx(checkpoint.network.config),
        "training": dict(checkpoint.training or {}),
        **config.card,
    }
    return make_card(checkpoint.network.config, known.pop("name"), **known)
