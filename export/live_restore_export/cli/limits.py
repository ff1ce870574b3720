"""``live-restore-export limits``: where a model stops helping."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.errors import UsageError, one_line
from live_restore_export.cli.parsing import Commands, add_command, whole

if TYPE_CHECKING:
    from live_restore_export.limits.measure import Extent


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "limits",
        "find where a model stops helping, on simulated stacks that it never saw",
        "  live-restore-export limits actin.onnx -o actin_limits\n"
        "  live-restore-export limits actin.onnx --quick\n"
        "  live-restore-export limits actin.onnx --record\n"
        "  live-restore-export limits actin.onnx sharpen.onnx --record",
        run,
    )
    parser.add_argument(
        "models", type=Path, nargs="+", metavar="MODEL",
        help="an ONNX file written by this tool; or several, one after the other, as in steps",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="where table, JSON and figure go (default: beside the last model, MODEL_limits)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="few points and small stacks: under a minute"
    )
    parser.add_argument("--stacks", type=whole, metavar="N", help="per point (12, with --quick 2)")
    parser.add_argument("--json", action="store_true", help="print the envelope as JSON")
    parser.add_argument(
        "--record", action="store_true", help="write the envelope into the card (of the last)"
    )


def run(arguments: argparse.Namespace) -> int:
    """Measure where a model stops helping."""
    from live_restore_export.limits.measure import FULL, QUICK
    from live_restore_export.quality.gain import TEST_SEEDS

    if arguments.record and arguments.quick:
        raise UsageError("--record needs the whole measurement: leave out --quick")
    extent = QUICK if arguments.quick else FULL
    if arguments.stacks is not None:
        if arguments.stacks > len(TEST_SEEDS):
            raise UsageError(f"--stacks can be {len(TEST_SEEDS)} at most: there are no more seeds")
        extent = replace(extent, stacks=arguments.stacks)
    models: list[Path] = arguments.models
    stem = "_".join(model.stem for model in models)
    folder = arguments.output or models[-1].with_name(f"{stem}_limits")
    return measure(models, extent, folder, record=arguments.record, json=arguments.json)


def measure(
    models: Sequence[Path], extent: Extent, folder: Path, *, record: bool, json: bool = False
) -> int:
    """Measure where a model stops helping, write that into a folder, and print it.

    Parameters
    ----------
    models, extent
        What is measured, one model or a chain of several, and how much of it.
    folder
        For table, JSON and figure; created.
    record
        Whether the envelope goes into the card of the last model.
    json
        Whether it is printed as JSON.

    Raises
    ------
    LiveRestoreError
        The model cannot be measured, or the folder not be written to.
    """
    from rich.console import Console
    from rich.progress import track

    from live_restore.inference.chain import weights_before
    from live_restore.inference.load import load_model as load_for_use
    from live_restore_export.limits.figure import draw_limits
    from live_restore_export.limits.measure import measure_limits
    from live_restore_export.limits.tables import as_csv, as_json
    from live_restore_export.limits.verdict import envelope_of
    from live_restore_export.onnx.export import load_model, read_card, write_atomically
    from live_restore_export.quality.gain import TEST_CAMERA, TEST_SEEDS, record_in_card

    *before, card = [read_card(load_model(model)) for model in models]  # refuses what is none
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot be made a folder ({error.strerror})", folder, "choose another with -o"
        ) from error
    console = Console(stderr=True)
    measured = measure_limits(
        models,
        extent,
        progress=lambda steps, total: track(
            steps, "measuring", total, console=console, disable=not console.is_terminal
        ),
    )
    how = (
        f"{extent.stacks} simulated stacks of {extent.shape_zyx} per point, seeds "
        f"{TEST_SEEDS.start} and up, unseen in training; 30 photo-electrons at the peak, "
        f"background 0.1 of it, read noise {TEST_CAMERA.read_noise_e:g} e- where not varied; "
        "helps: mean PSNR restored >= raw and >= best Gaussian, and no stack worse than raw"
    )
    envelope = envelope_of(measured, how)
    as_text = as_json(measured, envelope)
    write_atomically(as_csv(measured).encode(), folder / "limits.csv")
    write_atomically(as_text.encode(), folder / "limits.json")
    name = ", then ".join(each.name for each in (*before, card))
    write_atomically(draw_limits(measured, envelope, name), folder / "limits.png")
    if record and before:
        first = weights_before([load_for_use(model, "cpu") for model in models[:-1]])
        known = {**card.envelopes_after, first: envelope}
        record_in_card(models[-1], envelopes_after=known)
    elif record:
        record_in_card(models[-1], envelope=envelope)
    if json:
        print(as_text)
        return 0
    for line in envelope.in_words():
        print(line)
    print(f"wrote limits.csv, limits.json and limits.png to {one_line(folder)}")
    return 0
