"""``live-restore-export limits``: where a model stops helping."""

from __future__ import annotations

import argparse
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
        "  live-restore-export limits actin.onnx --record",
        run,
    )
    parser.add_argument("model", type=Path, help="an ONNX file written by this tool")
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR",
        help="where table, JSON and figure go (default: beside the model, MODEL_limits)",
    )  # fmt: skip
    parser.add_argument(
        "--quick", action="store_true", help="few points and small stacks: under a minute"
    )
    parser.add_argument("--stacks", type=whole, metavar="N", help="per point (12, with --quick 2)")
    parser.add_argument("--json", action="store_true", help="print the envelope as JSON")
    parser.add_argument("--record", action="store_true", help="write the envelope into the card")


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
    folder = arguments.output or arguments.model.with_name(f"{arguments.model.stem}_limits")
    return measure(arguments.model, extent, folder, record=arguments.record, json=arguments.json)


def measure(model: Path, extent: Extent, folder: Path, *, record: bool, json: bool = False) -> int:
    """Measure where a model stops helping, write that into a folder, and print it.

    Parameters
    ----------
    model, extent
        What is measured, and how much of it.
    folder
        For table, JSON and figure; created.
    record
        Whether the envelope goes into the model's card.
    json
        Whether it is printed as JSON.

    Raises
    ------
    LiveRestoreError
        The model cannot be measured, or the folder not be written to.
    """
    from rich.console import Console
    from rich.progress import track

    from live_restore_export.limits.figure import draw_limits
    from live_restore_export.limits.measure import measure_limits
    from live_restore_export.limits.tables import as_csv, as_json
    from live_restore_export.limits.verdict import envelope_of
    from live_restore_export.onnx.export import load_model, read_card, write_atomically
    from live_restore_export.quality.gain import TEST_CAMERA, TEST_SEEDS, record_in_card

    card = read_card(load_model(model))  # refuses what is none before the work
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot be made a folder ({error.strerror})", folder, "choose another with -o"
        ) from error
    console = Console(stderr=True)
    measured = measure_limits(
        model,
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
    write_atomically(draw_limits(measured, envelope, card.name), folder / "limits.png")
    if record:
        record_in_card(model, envelope=envelope)
    if json:
        print(as_text)
        return 0
    for line in envelope.in_words():
        print(line)
    print(f"wrote limits.csv, limits.json and limits.png to {one_line(folder)}")
    return 0
