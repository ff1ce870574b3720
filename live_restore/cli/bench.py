"""``live-restore bench``: how fast this computer is, per device and precision."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from typing import TYPE_CHECKING

from live_restore.cli.parsing import Commands, add_command, load_settings_of, shape_zyx
from live_restore.errors import one_line

if TYPE_CHECKING:
    from live_restore.bench.measure import Rates
    from live_restore.inference.backends.backend import Variant

_CAMERA = 2048  # pixels on a side of today's large cameras


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "bench", run, "measure how fast this computer is, per device and precision",
        "live-restore bench", "live-restore bench --device openvino --shape 32,512,512 --json",
    )  # fmt: skip
    parser.add_argument(
        "--shape", type=shape_zyx, default=(16, 256, 256), metavar="Z,Y,X",
        help="shape of the stacks in voxels (16,256,256)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore bench``."""
    from rich.console import Console

    from live_restore.bench.measure import Bench, measure
    from live_restore.inference.backends.table import make_backends
    from live_restore.inference.device.choice import DeviceRequest, candidates
    from live_restore.inference.device.hardware import available_cores, cpu_name
    from live_restore.inference.load import find_model, load_model

    settings = load_settings_of(arguments)
    rule = next((rule for rule in settings.models if not rule.skip), None)
    path = find_model("fast" if rule is None else rule.names[0])
    card = load_model(path, "cpu").card
    what = Bench(path, arguments.shape, settings)
    reduced = settings.inference.reduced
    variants: list[Variant] = []
    obstacles: dict[str, str] = {}
    for device in settings.inference.devices:
        found = candidates(DeviceRequest(device, reduced), card, make_backends())
        variants += found.variants
        obstacles |= found.obstacles
    rows = []
    console = Console(stderr=True)
    for variant in variants:
        with console.status(f"measuring {variant}"):
            rows.append(measure(what, variant.device, variant.precision))
    if arguments.json:
        measured = {
            "model": card.name,
            "shape_zyx": arguments.shape,
            "processor": cpu_name(),
            "cores": available_cores(),
            "rates": [
                {**asdict(row), f"planes_of_{_CAMERA}_per_s": _planes_per_s(row)} for row in rows
            ],
            "not_here": obstacles,
        }
        print(json.dumps(measured, indent=1))
    else:
        _print_rates(rows, f"{card.name} on stacks of {' x '.join(map(str, arguments.shape))}")
        for device, why in obstacles.items():
            print(f"not measured: {device}: {why}")
    return 1 if all(row.error for row in rows) else 0


def _short(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.2f}"


def _planes_per_s(row: Rates) -> float:
    """Return how many planes of a large camera the pipeline keeps up with."""
    return row.pipeline * 1e6 / _CAMERA**2


def _print_rates(rows: list[Rates], title: str) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    # Nine columns in a terminal of 80: nothing may be cut off.
    table = Table(
        title=title,
        title_justify="left",
        caption_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
        show_edge=False,
        collapse_padding=True,
    )
    table.add_column("device")
    for column in ("network", "restorer", "pipeline", "busy", "MB", "GFLOP/s", "ceiling", "fps"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        name = f"{row.device} {row.precision}"
        if row.error:
            table.add_row(name, Text(one_line(row.error)))
            continue
        table.add_row(
            name,
            *(_short(rate) for rate in (row.network, row.restorer, row.pipeline)),
            f"{row.busy:.0%}",
            f"{row.peak_memory_mb:.0f}",
            "?" if row.gflops is None else f"{row.gflops:.0f}",
            "?" if row.share_of_ceiling is None else f"{row.share_of_ceiling:.0%}",
            _short(_planes_per_s(row)),
        )
    table.caption = (
        "network, restorer, pipeline: million voxels per second; the pipeline reads,\n"
        "restores and writes files. busy: share of its time in the network. MB: most main\n"
        "memory. ceiling: the network's GFLOP/s against those of matrix products in the\n"
        f"same library and precision. fps: planes of {_CAMERA} x {_CAMERA} per second that the\n"
        "pipeline keeps up with."
    )
    Console().print(table)
