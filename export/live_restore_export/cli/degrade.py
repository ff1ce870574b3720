"""``live-restore-export degrade``: low-light twins of clean stacks."""

from __future__ import annotations

import argparse
from pathlib import Path

from live_restore.errors import one_line
from live_restore_export.cli.parsing import Commands, add_command, number_range, seed


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "degrade",
        "write low-light twins of clean stacks, as a camera would record them",
        "  live-restore-export degrade clean/ -o low/ --peak-e 10:100 --seed 1\n"
        "  live-restore-export degrade cell.tif -o low/ --peak-e 30 --gain 0.46 --read-noise 1.6",
        run,
    )
    parser.add_argument("clean", type=Path, help="TIFF file, or folder of them")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--seed", type=seed, default=0, help="another seed, other noise (0)")
    for flag, what in (
        ("peak-e", "photo-electrons at the 99.9th percentile"),
        ("background", "flat background over the peak"),
        ("gain", "grey values per photo-electron"),
        ("read-noise", "read noise (e-)"),
        ("offset", "grey value of darkness"),
    ):
        parser.add_argument(
            f"--{flag}",
            type=number_range,
            metavar="LOW:HIGH",
            help=f"{what}; one number or a range",
        )


def run(arguments: argparse.Namespace) -> int:
    """Write low-light twins of clean stacks."""
    from live_restore_export.simulator.simulate import SimulationConfig
    from live_restore_export.training.degrade import write_twins

    given = {
        "peak_e": arguments.peak_e,
        "background_fraction": arguments.background,
        "gain_adu_per_e": arguments.gain,
        "read_noise_e": arguments.read_noise,
        "offset_adu": arguments.offset,
    }
    config = SimulationConfig.model_validate({k: v for k, v in given.items() if v is not None})
    for twin in write_twins(arguments.clean, arguments.output, config, seed=arguments.seed):
        print(
            f"{one_line(twin.clean.name)} -> {one_line(twin.image)}  "
            f"{twin.light.peak_e:.0f} e- at the peak, {twin.psnr_db:.1f} dB"
        )
    return 0
