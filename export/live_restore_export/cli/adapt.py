"""``live-restore-export adapt``: a model learns from a run's own noisy stacks."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.errors import ModelError, TrainingError, one_line
from live_restore_export.adaptation.options import AdaptOptions
from live_restore_export.cli.parsing import (
    Commands,
    add_command,
    check_output,
    positive,
    seed,
)

if TYPE_CHECKING:
    from live_restore.inference.model.card import ModelCard
    from live_restore_export.adaptation.adapt import Adapted
    from live_restore_export.adaptation.run_stacks import RunStacks


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "adapt",
        "fine-tune a model on the noisy stacks of a run, without any clean image",
        "  live-restore-export adapt D:\\data\\run_1 --config config.toml\n"
        "  live-restore-export adapt D:\\data --model standard --minutes 10 -o actin.onnx",
        run,
    )
    parser.add_argument(
        "source", type=Path, metavar="RUN",
        help="an acquisition's folder, a folder of TIFF files, or a file of several stacks",
    )  # fmt: skip
    parser.add_argument(
        "--config", type=Path, metavar="FILE", help="a config.toml: it has [camera]"
    )
    parser.add_argument(
        "--model",
        help="to begin with: bundled, or an .onnx file (default: what restores that channel)",
    )
    parser.add_argument(
        "--minutes",
        type=positive,
        default=AdaptOptions.minutes,
        help=f"that it may learn ({AdaptOptions.minutes:g})",
    )
    parser.add_argument("--channel", type=seed, default=0, help="which, from 0 (0)")
    parser.add_argument(
        "--learning-rate", type=positive, default=AdaptOptions.learning_rate, help="at its largest"
    )
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument(
        "-o", "--output", type=Path, metavar="MODEL.onnx",
        help="the adapted model (default: RUN_adapted.onnx beside the run)",
    )  # fmt: skip
    # ROOT JOURNAL: started by a daemon that watches ROOT, to learn while it has nothing to do.
    parser.add_argument("--beside", type=Path, nargs=2, help=argparse.SUPPRESS)


def run(arguments: argparse.Namespace) -> int:
    """Adapt, judge, convert, write."""
    from live_restore.hooks.leash import end_when_dropped
    from live_restore.inference.load import find_model
    from live_restore.settings.load import load_settings, watched_folder_of
    from live_restore.workshop import adapted_model
    from live_restore_export.adaptation.beside import BesideDaemon
    from live_restore_export.adaptation.run_stacks import find_stacks, known_cameras, read_run

    source: Path = arguments.source
    pause: Callable[[], None] = lambda: None  # noqa: E731
    progress: Callable[[int, float], None] | None = None
    if arguments.beside:
        watched, journal = arguments.beside
        end_when_dropped()
        daemon = BesideDaemon(watched, journal, arguments.minutes, partial(print, flush=True))
        pause, progress = daemon.wait, daemon.progress
    else:
        watched = watched_folder_of(source, arguments.config)
    output = arguments.output or adapted_model(source)
    check_output(output, ".onnx", source)
    # Of the folder that it lies in: another may have another camera, and other models.
    settings = load_settings(arguments.config, {}, print, folder=watched)
    known_cameras(source, settings)  # before PyTorch is loaded, which takes seconds
    found = find_stacks(source, settings.files, arguments.channel)
    named = arguments.model
    if named is None:
        found, named = found.with_their_model(settings.models)
    path = find_model(named)

    from live_restore_export.adaptation.adapt import adapt
    from live_restore_export.adaptation.fine_tune import Look
    from live_restore_export.checkpoints import Checkpoint
    from live_restore_export.cli.conversion import publish
    from live_restore_export.onnx.export import load_model, read_card
    from live_restore_export.onnx.graph import network_of

    model = load_model(path)
    card = read_card(model)
    _require_adaptable(card, path)
    network = network_of(model, card.architecture)
    stacks = read_run(found, settings, card.percentiles)
    for line in stacks.passed_by:
        print(f"left out: {one_line(line)}")
    print(
        f"learning from {len(stacks.learning)} stacks, judged by {len(stacks.held_out)} others, "
        f"beginning with {card.name}"
    )

    def report(look: Look) -> None:
        print(
            f"step {look.step}  {look.minutes:.1f} min  surprise of the photons left out "
            f"{look.surprise:.5f} per voxel",
            flush=True,
        )

    options = AdaptOptions(
        arguments.minutes, learning_rate=arguments.learning_rate, device=arguments.device
    )
    adapted = adapt(
        network,
        card.percentiles,
        stacks.learning,
        stacks.held_out,
        options,
        report,
        pause,
        progress,
    )
    reason = adapted.verdict.refused_because
    if reason:
        raise TrainingError(
            f"no model was written: {reason}",
            source,
            f"use {card.name}, or adapt for more --minutes or from more stacks",
        )
    print(f"squared error on held-out stacks over that of {card.name}: {adapted.verdict.in_words}")
    new = _card(card, adapted, stacks, source)
    checkpoint = Checkpoint(adapted.network, path, "adapted", "live-restore")
    code = publish(checkpoint, new, output, verify_it=True)
    if code == 0:
        print(f'to use it: [[models]] model = "{one_line(output.as_posix())}"')
    return code


def _require_adaptable(card: ModelCard, path: Path) -> None:
    if card.input_channels > 1 or card.truth_psf_width != 1:
        raise ModelError(
            "sharpens, or takes several channels together: noise alone teaches to take noise away, "
            "of one channel",
            path,
            "name another with --model",
        )


def _card(begun: ModelCard, adapted: Adapted, stacks: RunStacks, source: Path) -> ModelCard:
    """Return the card: what it began as, what it learnt from, and where that was seen to help."""
    from live_restore.workshop import run_name
    from live_restore_export.onnx.export import card_name, make_card

    of_run = run_name(source)
    verdict, last = adapted.verdict, adapted.looks[-1]
    known = {
        "version": begun.version,
        "description": f"{begun.name}, adapted to noisy stacks of {one_line(of_run)[:80]}. "
        "For that sample and microscope only.",
        "licence": begun.licence,
        "channel_meaning": begun.channel_meaning,
        "percentiles": begun.percentiles,
        "overlap_zyx": begun.overlap_zyx,
        "trained_patch_zyx": begun.trained_patch_zyx,
        "trained_voxel_um": stacks.voxel_um or begun.trained_voxel_um,
        "training": {
            "started_from": f"{begun.name} {begun.version}",
            "started_from_weights": begun.weights_sha256,
            "steps_done": last.step,
            "minutes": round(last.minutes, 1),
            "stacks": [each.label for each in stacks.learning],
            "held_out": [each.label for each in stacks.held_out],
        },
        "metrics": {
            "adaptation": [
                {
                    "share_of_light": each.share,
                    "squared_error_before_e2": each.before,
                    "squared_error_after_e2": each.after,
                    "gain_db": each.gain_db,
                }
                for each in verdict.shares
            ],
            "left_of_pure_noise": {"before": verdict.flat_before, "after": verdict.flat_after},
        },
        "envelope": verdict.envelope(len(stacks.held_out), one_line(of_run)[:80]),
    }
    name = card_name(f"{begun.name}-{of_run}")
    return make_card(adapted.network.config, name, **known)
