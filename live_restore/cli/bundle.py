"""``live-restore bundle``: one zip for a computer without a network, and what is done with it."""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Literal

from live_restore.bundle.packages import CHOICES, DEFAULT_CHOICES
from live_restore.cli.parsing import Commands, add_command, file, folder
from live_restore.errors import UsageError, one_line

_SHOWN = 20
# A service finishes the stack in hand within 40 s, or is ended.
_STOP_S = 50.0


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "bundle", run,
        "build one zip for a computer without a network, or check, update or uninstall it",
        "live-restore bundle --platform windows --python python-3.11.9-embed-amd64.zip -o lr.zip",
        "live-restore bundle --platform linux --with zarr --with vendor -o lr.zip",
        "live-restore bundle --verify D:\\live-restore",
        config=False, engine=False,
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--platform", choices=("windows", "linux"), help="build a bundle for this system (x86-64)"
    )
    what.add_argument(
        "--verify", type=folder, nargs="?", const=True, metavar="DIR",
        help="compare an unpacked bundle (this one) with its list of SHA-256 hashes",
    )  # fmt: skip
    what.add_argument(
        "--update", action="store_true",
        help="have the services of this user run from this bundle, and name older ones",
    )  # fmt: skip
    what.add_argument(
        "--uninstall", action="store_true",
        help="remove this bundle's services, and name what stays; its script then deletes it",
    )  # fmt: skip
    parser.add_argument("-o", "--output", type=file, metavar="FILE", help="the zip to build")
    parser.add_argument(
        "--with", dest="with_", action="append", choices=CHOICES, default=[],
        help=f"a part beside the core; may be repeated (always: {', '.join(DEFAULT_CHOICES)})",
    )  # fmt: skip
    parser.add_argument(
        "--without", action="append", choices=DEFAULT_CHOICES, default=[], help="omit that part"
    )
    parser.add_argument(
        "--python", type=file, metavar="PATH",
        help="the Python to put in: for Windows python.org's embeddable zip (64-bit), for Linux "
        "the folder of a relocatable one (a copy of the running one)",
    )  # fmt: skip
    parser.add_argument(
        "--lock", type=file, metavar="FILE", help="build of the packages of this requirements.lock"
    )
    parser.add_argument(
        "--constraints", type=file, metavar="FILE", help="requirements that bound versions"
    )
    parser.add_argument(
        "--index", metavar="URL", help="package index (the one that pip and uv are set up for)"
    )
    parser.add_argument("--json", action="store_true", help="print the result as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore bundle``."""
    if arguments.verify is not None:
        return _verify(arguments.verify, as_json=arguments.json)
    if arguments.update:
        return _update()
    if arguments.uninstall:
        return _uninstall()
    return _build(arguments)


def _build(arguments: argparse.Namespace) -> int:
    from live_restore.bundle.build import Plan, build

    if arguments.output is None:
        raise UsageError("where to?", None, "name the zip with -o FILE")
    chosen = {*DEFAULT_CHOICES, *arguments.with_} - set(arguments.without)
    plan = Plan(
        arguments.platform, tuple(sorted(chosen)), arguments.python, arguments.lock,
        arguments.constraints, arguments.index,
    )  # fmt: skip

    def report(line: str) -> None:
        print(f"{line} ...", file=sys.stderr, flush=True)

    built = build(plan, arguments.output, report)
    if arguments.json:
        print(json.dumps(asdict(built), indent=1))
        return 0
    print(f"{built.file}: {built.size_bytes / 1e6:.0f} MB, unpacked "
          f"{built.unpacked_bytes / 1e6:.0f} MB, {built.packages} packages")  # fmt: skip
    print(f"sha256 {built.sha256}")
    print(f"for {built.needs}; longest path in it: {built.longest_path} characters")
    return 0


def _verify(where: Path | Literal[True], *, as_json: bool) -> int:
    from live_restore.bundle.hashes import differences, listed
    from live_restore.bundle.installed import program_folder, program_of

    program = program_folder() if where is True else program_of(where)
    found = list(differences(program))
    if as_json:
        answer = {"bundle": str(program), "whole": not found,
                  "differences": [asdict(each) for each in found]}  # fmt: skip
        print(json.dumps(answer, indent=1))
        return 1 if found else 0
    for each in found[:_SHOWN]:
        print(f"{each.what}: {one_line(each.name)}")
    if len(found) > _SHOWN:
        print(f"and {len(found) - _SHOWN} more")
    count = len(listed(program))
    print(f"{program}: {'not ' if found else ''}as it was built, {count} files")
    if found:
        print("unpack the bundle again", file=sys.stderr)
    return 1 if found else 0


def _update() -> int:
    from live_restore.bundle.installed import older_and_newer, program_folder, take_over

    program = program_folder()
    moved = 0
    for each in take_over():
        print(f"{each.service.name}: runs from this bundle now")
        moved += 1
    if not moved:
        print("no service of this user to take over")
    for other in older_and_newer(program.parent):
        if other != program:
            print(f"not used any more: {other}; delete it when nothing runs from it")
    return 0


def _uninstall() -> int:
    from live_restore.bundle.installed import (
        foreign_files,
        older_and_newer,
        processes_of,
        program_folder,
        services_of,
        what_stays,
    )
    from live_restore.service.installed import remove

    top = program_folder().parent
    for program in older_and_newer(top):
        if foreign := foreign_files(program):
            raise UsageError(
                f"holds what is not of the bundle: {', '.join(foreign[:3])}", program,
                "move that elsewhere",
            )  # fmt: skip
    removed = services_of(top)
    for service in removed:
        remove(service)
        print(f"{service.service.name}: removed")
    if running := processes_of(top, _STOP_S if removed else 0.0):
        raise UsageError(
            f"runs still, as process {', '.join(map(str, running))}", top, "stop that first"
        )
    stays = what_stays(top)
    print("what stays, since it is yours:" if stays else "nothing stays but your data and results")
    for path, what in stays:
        print(f"  {path}: {what}")
    if stays:
        print("and your data, with the results beside them")
    return 0
