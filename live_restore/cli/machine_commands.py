"""The commands about this computer: ``bench``, ``doctor``, ``prepare``."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from live_restore.cli.settings import load_settings
from live_restore.errors import DeviceError, one_line

if TYPE_CHECKING:
    from live_restore.bench.measure import Rates
    from live_restore.inference.backends.backend import Variant

_CAMERA = 2048


def bench(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore bench``."""
    from live_restore.bench.measure import Bench, measure
    from live_restore.inference.backends.table import make_backends
    from live_restore.inference.device.choice import DeviceRequest, candidates
    from live_restore.inference.device.hardware import available_cores, cpu_name
    from live_restore.inference.load import find_model, load_model

    settings = load_settings(arguments.config, flags)
    rule = next((rule for rule in settings.models if not rule.skip), None)
    path = find_model("fast" if rule is None else rule.model)
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
        told = {
            "model": card.name,
            "shape_zyx": arguments.shape,
            "processor": cpu_name(),
            "cores": available_cores(),
            "rates": [
                {**asdict(row), f"planes_of_{_CAMERA}_per_s": _planes_per_s(row)} for row in rows
            ],
            "not_here": obstacles,
        }
        print(json.dumps(told, indent=1))
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
    console = Console()
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
    console.print(table)


def doctor(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore doctor``."""
    from live_restore.doctor.checks import Finding, examine

    settings = load_settings(arguments.config, flags)
    console = Console()
    colours = {"good": "green", "note": "yellow", "bad": "red"}
    findings: list[Finding] = []
    for finding in examine(settings, arguments.folder):
        findings.append(finding)
        if not arguments.json:
            line = Text(f"{finding.verdict:5s}", style=colours[finding.verdict])
            line.append(f"{finding.what}: {one_line(finding.found)}", style="default")
            console.print(line)
            if finding.remedy:
                console.print(Text(f"       {one_line(finding.remedy)}"))
    bad = sum(finding.verdict == "bad" for finding in findings)
    if arguments.json:
        print(json.dumps({"ready": not bad, "findings": [asdict(f) for f in findings]}, indent=1))
    else:
        print("not ready: mend what is bad above" if bad else "ready")
    return 1 if bad else 0


def prepare(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore prepare``: build what takes minutes, before stacks arrive."""
    import hashlib

    from live_restore.inference.backends.backend import Limits, ModelSource
    from live_restore.inference.backends.table import make_backends, parse_device
    from live_restore.inference.device.check import known_tile, small_shape
    from live_restore.inference.load import find_model, load_model, model_bytes

    settings = load_settings(arguments.config, flags)
    inference = settings.inference
    name, index = parse_device(inference.devices[0])
    name = "tensorrt" if name == "auto" else name
    backend = next(b for b in make_backends() if b.name == name)
    if why_not := backend.obstacle():
        raise DeviceError(f'device "{name}" cannot be prepared: {why_not}')
    limits = Limits(inference.threads, inference.gpu_memory_gb, build=True)
    for rule in settings.models:
        if rule.skip:
            continue
        path: Path = find_model(rule.model)
        card = load_model(path, "cpu").card
        content = model_bytes(path)
        source = ModelSource(path, content, hashlib.sha256(content).hexdigest())
        # The small tile is what the device is measured and checked with before any other.
        for shape in (small_shape(card), (1, card.input_channels, *arguments.shape)):
            session = backend.open(source, shape, "fp32", index, limits)
            # Engines are built by the first tile, if not before.
            session.run(known_tile(shape, card))
            tile = " x ".join(map(str, shape[2:]))
            print(f"{card.name}: ready on {session.device.hardware} for tiles of {tile}")
    return 0
