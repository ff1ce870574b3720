"""The commands ``train`` and ``degrade``, once their arguments are read."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from live_restore.errors import one_line
from live_restore.inference.model.card import ModelCard
from live_restore_export.checkpoints import Checkpoint, load_checkpoint
from live_restore_export.cli.commands import overlap_zyx, publish
from live_restore_export.onnx.export import card_name, make_card
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.config import TrainConfig
from live_restore_export.training.data import TrainingData
from live_restore_export.training.degrade import write_twins
from live_restore_export.training.loop import check_folder
from live_restore_export.training.loop import train as run_training
from live_restore_export.training.progress import display
from live_restore_export.training.start import architecture_for, find_start

MODEL = "model.onnx"


def train(arguments: argparse.Namespace) -> int:
    """Train, then convert and verify the result."""
    folder: Path = arguments.output
    config = TrainConfig.load(arguments.config)
    check_folder(folder, resume=arguments.resume)
    start = None if arguments.init is None else find_start(arguments.init)
    architecture = architecture_for(config, start, arguments.config)
    # A card that contradicts the network is to be known before the training, not after it.
    make_card(architecture, **{"name": "model", **config.card})
    with display() as shown:
        if start is not None and start.percentiles not in (None, config.training.percentiles):
            shown.say(
                f"note: {start.name} was trained with percentiles {start.percentiles}, "
                f"this run has {config.training.percentiles}"
            )
        data = config.gather(arguments.config.parent)
        for line in data.lines:
            shown.say(line)
        final = run_training(
            config, data, architecture, folder, shown, start=start, resume=arguments.resume
        )
    checkpoint = load_checkpoint(final)
    card = trained_card(checkpoint, config, data, folder)
    return publish(checkpoint, card, folder / MODEL, verify_it=True)


def trained_card(
    checkpoint: Checkpoint, config: TrainConfig, data: TrainingData, folder: Path
) -> ModelCard:
    """Return the card of a trained network: what is known of the run, then what ``[card]`` says."""
    known: dict[str, Any] = {
        "name": card_name(folder.resolve().name),
        "description": data.summary,
        "percentiles": config.training.percentiles,
        "trained_patch_zyx": config.training.patch_zyx,
        "trained_voxel_um": data.voxel_um,
        "truth_psf_width": (
            config.simulation.truth_psf_width if config.data.source == "simulation" else 1.0
        ),
        "overlap_zyx": overlap_zyx(checkpoint),
        "training": dict(checkpoint.training or {}),
        **config.card,
    }
    return make_card(checkpoint.network.config, known.pop("name"), **known)


def degrade(arguments: argparse.Namespace) -> int:
    """Write low-light twins of clean stacks."""
    said = {
        "peak_e": arguments.peak_e,
        "background_fraction": arguments.background,
        "gain_adu_per_e": arguments.gain,
        "read_noise_e": arguments.read_noise,
        "offset_adu": arguments.offset,
    }
    config = SimulationConfig.model_validate({k: v for k, v in said.items() if v is not None})
    for twin in write_twins(arguments.clean, arguments.output, config, seed=arguments.seed):
        print(
            f"{one_line(twin.clean.name)} -> {one_line(twin.image)}  "
            f"{twin.light.peak_e:.0f} e- at the peak, {twin.psnr_db:.1f} dB"
        )
    return 0
