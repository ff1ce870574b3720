"""``live-restore prepare``: build what takes a device minutes, before stacks arrive."""

from __future__ import annotations

import argparse

from live_restore.cli.parsing import Commands, add_command, load_settings_of, shape_zyx
from live_restore.errors import DeviceError


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "prepare", run,
        "build what a device needs before stacks arrive (TensorRT: minutes)",
        "live-restore prepare --device tensorrt --shape 16,512,512",
    )  # fmt: skip
    parser.add_argument(
        "--shape", type=shape_zyx, required=True, metavar="Z,Y,X",
        help="shape of a tile in voxels, as in the reports",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore prepare``."""

    from live_restore.inference.backends.backend import Limits, ModelSource
    from live_restore.inference.backends.table import make_backends, parse_device
    from live_restore.inference.device.check import known_tile, small_shape
    from live_restore.inference.load import find_model, load_model, model_bytes

    settings = load_settings_of(arguments)
    inference = settings.inference
    name, index = parse_device(inference.devices[0])
    name = "tensorrt" if name == "auto" else name
    backend = next(b for b in make_backends() if b.name == name)
    if why_not := backend.obstacle():
        raise DeviceError(f'device "{name}" cannot be prepared: {why_not}')
    limits = Limits(inference.threads, inference.gpu_memory_gb, build=True)
    for each in settings.model_names:
        path = find_model(each)
        card = load_model(path, "cpu").card
        source = ModelSource.of(path, model_bytes(path))
        # The small tile is what the device is measured and checked with before any other.
        for shape in (small_shape(card), (1, card.input_channels, *arguments.shape)):
            session = backend.open(source, shape, "fp32", index, limits)
            # Engines are built by the first tile, if not before.
            session.run(known_tile(shape, card))
            tile = " x ".join(map(str, shape[2:]))
            print(f"{card.name}: ready on {session.device.hardware} for tiles of {tile}")
    return 0
