"""``live-restore-export bioimageio``: a model as a package of the BioImage Model Zoo."""

from __future__ import annotations

import argparse
from pathlib import Path

from live_restore.errors import UsageError, one_line
from live_restore_export.cli.parsing import Commands, add_command, check_output


def add(commands: Commands) -> None:
    """Add the command."""
    parser = add_command(
        commands,
        "bioimageio",
        "pack an ONNX model for the BioImage Model Zoo",
        "  live-restore-export bioimageio actin.onnx -o actin.zip --author 'A. Person'",
        run,
    )
    parser.add_argument("model", type=Path, help="an ONNX file written by this tool")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="PACKAGE.zip")
    parser.add_argument("--author", action="append", metavar="NAME", help="who trained it")
    parser.add_argument("--licence", metavar="SPDX", help="such as CC-BY-4.0")
    parser.add_argument("--documentation", type=Path, metavar="MD", help="README to enclose")


def run(arguments: argparse.Namespace) -> int:
    """Pack a model for the BioImage Model Zoo."""
    from live_restore_export.onnx.export import load_model, write_atomically
    from live_restore_export.onnx.zoo_package import package

    check_output(arguments.output, ".zip", arguments.model)
    text = None
    if arguments.documentation is not None:
        try:
            text = arguments.documentation.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("cannot be read as text", arguments.documentation) from error
    data = package(
        load_model(arguments.model),
        authors=arguments.author or (),
        licence=arguments.licence,
        documentation=text,
    )
    write_atomically(data, arguments.output)
    print(f"wrote {one_line(arguments.output)}")
    return 0
