"""``live-restore cluster``: certificates for several computers, and how many of them it takes."""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.parsing import (
    Commands,
    Parser,
    add_command,
    duration,
    folder,
    positive,
    seconds,
    shape_zyx,
)
from live_restore.cluster.plan import MOST_GPUS, MOST_STACKS
from live_restore.errors import UsageError

if TYPE_CHECKING:
    from live_restore.cluster.plan import Forecast, Site

# Times in s and rates in millions per second outside these are slips of the keyboard.
_LEAST, _MOST = 1e-3, 1e6
_MOST_MVOXEL = 1e5
_MOST_SHOWN = 10.0


def add(commands: Commands) -> None:
    """Register the command and its parts."""
    parser = add_command(
        commands, "cluster", run_init, "prepare restoring on several computers",
        "live-restore cluster init D:\\cluster gpu-pc microscope-1 microscope-2",
        config=False, engine=False,
    )  # fmt: skip
    parts = parser.add_subparsers(dest="part", metavar="PART", required=True, parser_class=Parser)
    init = add_command(
        parts, "init", run_init,
        "make certificates, by which computers know that they belong together",
        "live-restore cluster init D:\\cluster gpu-pc microscope-1",
        config=False, engine=False,
    )  # fmt: skip
    init.add_argument("folder", type=folder, metavar="DIR", help="where they go; keep it safe")
    init.add_argument("names", nargs="+", metavar="NAME", help="names of the computers")
    plan = add_command(
        parts, "plan", run_plan, "forecast how many GPUs keep up with how many microscopes",
        "live-restore cluster plan --instruments 10 --every-s 30 --stacks 4 --gpu-mvoxel-per-s 300",
        "live-restore cluster plan --instruments 3 --every-s 60 --gpu-mvoxel-per-s 40 --gpus 1",
        config=False, engine=False,
    )  # fmt: skip
    for flag, kind, default, what in (
        ("--instruments", positive, 10, "microscopes that record at the same time"),
        ("--every-s", _believable, 60.0, "time between two time points of one"),
        ("--stacks", positive, 1, "stacks of a time point: positions times channels"),
        ("--stack", shape_zyx, (32, 512, 512), "shape of a stack, Z,Y,X"),
        (
            "--gpu-mvoxel-per-s",
            _believable,
            None,
            "what a GPU does, as live-restore bench measures it",
        ),
        ("--network-mb-per-s", _believable, 110.0, "of the GPU computer's link"),
        (
            "--within-s",
            _believable,
            None,
            "how late a result may be; else: until the next time point",
        ),
        ("--gpus", positive, None, "forecast for so many; else: find the fewest"),
    ):
        shown = "" if default is None else f" ({default})".replace("(32, 512, 512)", "32,512,512")
        plan.add_argument(
            flag, type=kind, default=default, help=f"{what}{shown}",
            required=flag == "--gpu-mvoxel-per-s",
        )  # fmt: skip
    plan.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run_init(arguments: argparse.Namespace) -> int:
    """Run ``live-restore cluster init``."""
    from live_restore.cluster.certificates import make_members

    made: list[Path] = make_members(arguments.folder, arguments.names)
    for each in made:
        print(f"{each}: copy it to {each.name}, and set cluster.certificates to it there")
    print(f"{arguments.folder / 'authority'}: stays here; whoever has it can add computers")
    return 0


def _believable(text: str) -> float:
    """Return a number that something real may have: of others the forecast says nothing."""
    number = seconds(text)
    if not _LEAST <= number <= _MOST:
        raise argparse.ArgumentTypeError(f"must be between {_LEAST:g} and {_MOST:g}")
    return number


def run_plan(arguments: argparse.Namespace) -> int:
    """Run ``live-restore cluster plan``."""
    from live_restore.cluster.plan import Site, fewest_gpus, forecast

    z, y, x = arguments.stack
    site = Site(
        arguments.instruments,
        arguments.every_s,
        arguments.stacks,
        z * y * x / 1e6,
        arguments.gpus or 1,
        arguments.gpu_mvoxel_per_s,
        network_mb_per_s=arguments.network_mb_per_s,
    )
    _require_bearable(site)
    within_s = arguments.within_s or arguments.every_s
    if arguments.gpus:
        found: Forecast | None = forecast(site)
    else:
        found = fewest_gpus(site, within_s)
    if found is None:
        why = (
            f"the network alone is busy {_share(site.network_load)} of the time"
            if site.network_load >= 1
            else f"a stack alone takes {duration(site.gpu_s + 2 * site.link_s)}, and only "
            f"{site.stacks_ahead} of each microscope are on their way at once"
        )
        raise UsageError(
            f"no number of GPUs restores {site.stacks_per_s:.3g} stacks per second within "
            f"{duration(within_s)}: {why}",
            None,
            "allow more time, or bring a faster network or faster GPUs",
        )
    if arguments.json:
        numbers = {"gpu_load": found.site.gpu_load, "network_load": found.site.network_load}
        print(json.dumps({**asdict(found), "keeps_up": found.keeps_up, **numbers}, indent=1))
    else:
        _print_forecast(found)
    return 0 if found.keeps_up else 1


def _require_bearable(site: Site) -> None:
    """Refuse what could not be played in a few seconds, or is of no microscope."""
    for name, number, most in (
        ("stacks that all microscopes together record per time point",
         site.instruments * site.stacks, MOST_STACKS),
        ("GPUs", site.gpus, MOST_GPUS),
        ("million voxels of a stack", site.stack_mvoxel, _MOST_MVOXEL),
    ):  # fmt: skip
        if number > most:
            raise UsageError(f"{number:g} {name} are more than {most:g}, the most that can be "
                             "forecast", None, "give fewer")  # fmt: skip


def _share(load: float) -> str:
    """Return how busy something is.

    >>> _share(0.25), _share(1e9)
    ('25%', 'more than 1000%')
    """
    return f"{load:.0%}" if load <= _MOST_SHOWN else f"more than {_MOST_SHOWN:.0%}"


def _print_forecast(found: Forecast) -> None:
    site = found.site
    print(f"{site.gpus} GPU(s) for {site.instruments} microscope(s)")
    print(f"  busy: GPUs {_share(site.gpu_load)}, network {_share(site.network_load)} of the time")
    if not found.keeps_up:
        print("  does not keep up: results come later and later")
        return
    print(f"  a result comes after {duration(found.median_s)}; 95 in 100 after at most "
          f"{duration(found.late_s)}")  # fmt: skip
    print(f"  at the worst moment {found.most_waiting} stack(s) wait at their microscopes")
