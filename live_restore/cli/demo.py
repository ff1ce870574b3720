"""``live-restore demo``: a simulated time-lapse, or Micro-Manager's demo camera, restored live."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections import deque
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.page import add_page_flag
from live_restore.cli.parsing import (
    Commands,
    add_command,
    load_settings_of,
    positive,
    refuse_beside_micromanager,
)

if TYPE_CHECKING:
    from live_restore.demo.run import DemoResult
    from live_restore.engine.daemon import Daemon

_TIMES = 8
_SETTLE_S = 0.1  # the simulated microscope writes no file in parts that far apart
_PLANE_INTERVAL_S = 0.1


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "demo", run, "restore a simulated low-light time-lapse while it is recorded",
        "live-restore demo", "live-restore demo --times 20 --out /tmp",
        "live-restore demo --micromanager",
        config=False,
    )  # fmt: skip
    parser.add_argument(
        "--out", type=Path, default=Path(), metavar="DIR",
        help="folder in which the demo creates its own (the current one)",
    )  # fmt: skip
    parser.add_argument(
        "--times", type=positive, metavar="N",
        help=f"stacks to record ({_TIMES}); with --micromanager: time points (3)",
    )  # fmt: skip
    parser.add_argument(
        "--micromanager", action="store_true",
        help="record with Micro-Manager's demo camera (needs the extra micromanager)",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")
    add_page_flag(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore demo``."""
    from live_restore.cli.display import live_display, wants_display
    from live_restore.cli.logs import configure_logging
    from live_restore.cli.page import page_beside, with_free_port
    from live_restore.demo.run import fresh_folder, run_demo
    from live_restore.inference.model_set import ModelSet
    from live_restore.journal.location import forget_journal, journal_path, log_path

    if arguments.micromanager:
        return _run_micromanager(arguments)
    # Nothing is to be slowed here: the microscope is simulated, and stacks are to come back live.
    settings = load_settings_of(
        arguments, watch={"settle_s": _SETTLE_S}, process={"while_acquiring": "full"}
    )
    folder = fresh_folder(arguments.out.resolve())
    journal = journal_path(folder / "acquisition", settings.journal.folder)
    forget_journal(journal)  # of an earlier demo in a folder of this name, which is gone
    display = wants_display()
    log = log_path(folder / "acquisition", journal)
    configure_logging(settings.log, log, terminal=not display)
    # The page of an earlier demo may still be open; this one prints where it is.
    address = arguments.page and with_free_port(arguments.page)
    with ExitStack() as stack:
        page: list[subprocess.Popen[bytes] | None] = []
        told: list[str] = []

        def show(daemon: Daemon) -> AbstractContextManager[Callable[[], None]]:
            root = folder / "acquisition"
            notices: deque[str] = deque(maxlen=3)

            def hear(line: str) -> None:
                told.append(line)
                notices.append(line)

            page.append(
                stack.enter_context(
                    page_beside(root, address, settings, "--open", report=hear if display else None)
                )
            )
            return live_display(daemon, notices) if display else nullcontext(lambda: None)

        result = run_demo(
            folder,
            ModelSet.load(settings),
            settings,
            times=_TIMES if arguments.times is None else arguments.times,
            plane_interval_s=_PLANE_INTERVAL_S,
            display=show,
        )
        if arguments.json:
            print(result.numbers.read_text(encoding="utf-8"))
        else:
            _print_result(result)
        if page[0] is not None and page[0].poll() is not None:
            print("the page has ended; live-restore page shows the folder again", file=sys.stderr)
        elif page[0] is not None:
            # What was shown above the progress is gone with it.
            for line in told:
                print(line)
            print("the page stays open until Ctrl-C", file=sys.stderr)
            with suppress(KeyboardInterrupt):
                page[0].wait()
    return 0


def _run_micromanager(arguments: argparse.Namespace) -> int:
    from live_restore.demo.micromanager import TIMES, run_micromanager_demo
    from live_restore.demo.run import fresh_folder

    refuse_beside_micromanager(arguments, "device", "model", "json", "page")
    times = TIMES if arguments.times is None else arguments.times
    results = run_micromanager_demo(fresh_folder(arguments.out.resolve()), times)
    print(f"results: {results}")
    return 0


def _print_result(result: DemoResult) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(title="PSNR against the simulated truth", title_justify="left")
    table.add_column("stack")
    table.add_column("PSNR", justify="right")
    z, xy = result.best_gaussian_sigma_z_xy_voxels
    table.add_row("raw", f"{result.psnr_raw_db:.1f} dB")
    table.add_row(
        f"best Gaussian filter (sigma {xy:g} px, z {z:g})", f"{result.psnr_best_gaussian_db:.1f} dB"
    )
    table.add_row("restored", f"[bold]{result.psnr_restored_db:.1f} dB[/bold]")
    Console().print(table)
    print(
        f"{result.stacks} stacks of 16 x 256 x 256, {result.stacks_per_s:.2f} stacks/s, "
        f"{result.delay_s:.1f} s from last plane to result (median)"
    )
    print(f"on {result.device} with model {result.model}")
    print(f"picture: {result.picture}")
    print(f"numbers: {result.numbers}")
    stacks = result.folder / "acquisition"
    print(f"stacks:  {stacks} (results in restored/)")
    print(f'look at it again with: live-restore status "{stacks}"')
