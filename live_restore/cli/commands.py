"""What each command does: settings, engine, output. Called by the command line only."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from live_restore.errors import LiveRestoreError, StackError, UsageError, one_line
from live_restore.inference.load import bundled_models, find_model, load_model
from live_restore.settings.load import load_settings

if TYPE_CHECKING:
    from live_restore.demo.run import DemoResult
    from live_restore.engine.daemon import Daemon
    from live_restore.engine.one_shot import Attempt, OneShot

_LOST_RESULT = "its result is missing; restore again with live-restore watch --redo-missing"


def demo(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore demo``."""
    from live_restore.cli.display import live_display, wants_display
    from live_restore.cli.logs import configure_logging
    from live_restore.cli.page import page_beside
    from live_restore.demo.run import fresh_folder, run_demo
    from live_restore.inference.model_set import ModelSet

    if arguments.micromanager:
        from live_restore.demo.micromanager import TIMES, run_micromanager_demo

        _refuse_beside_micromanager(arguments, "device", "model", "json", "page")
        times = TIMES if arguments.times is None else arguments.times
        results = run_micromanager_demo(fresh_folder(arguments.out.resolve()), times)
        print(f"results: {results}")
        return 0
    flags = {**flags, "watch": {"settle_s": 0.1}}
    settings = load_settings(None, flags)
    folder = fresh_folder(arguments.out.resolve())
    settings = settings.model_copy(
        update={"journal": settings.journal.model_copy(update={"folder": folder / "journal"})}
    )
    display = wants_display()
    configure_logging(settings.log, folder / "live-restore.log", terminal=not display)
    model_set = ModelSet.load(settings)
    with ExitStack() as stack:

        def show(daemon: Daemon) -> AbstractContextManager[Callable[[], None]]:
            root = folder / "acquisition"
            page.append(stack.enter_context(page_beside(root, arguments.page, settings, "--open")))
            return live_display(daemon) if display else nullcontext(lambda: None)

        page: list[subprocess.Popen[bytes] | None] = []
        result = run_demo(
            folder,
            model_set,
            settings,
            times=8 if arguments.times is None else arguments.times,
            plane_interval_s=0.1,
            display=show,
        )
        _print_demo(result, folder, as_json=arguments.json)
        if page[0] is not None:
            print("the page stays open until Ctrl-C")
            with suppress(KeyboardInterrupt):
                page[0].wait()
    return 0


def _print_demo(result: DemoResult, folder: Path, *, as_json: bool) -> None:
    if as_json:
        print(result.numbers.read_text(encoding="utf-8"))
        return
    table = Table(title="raw, filtered, restored: how far from the truth", title_justify="left")
    table.add_column("stack")
    table.add_column("PSNR", justify="right")
    z, xy = result.best_gaussian_sigma_z_xy_voxels
    table.add_row("raw", f"{result.psnr_raw_db:.1f} dB")
    table.add_row(
        f"best Gaussian (sigma {xy:g} px, z {z:g})", f"{result.psnr_best_gaussian_db:.1f} dB"
    )
    table.add_row("restored", f"[bold]{result.psnr_restored_db:.1f} dB[/bold]")
    console = Console()
    console.print(table)
    print(
        f"{result.stacks} stacks of 16 x 256 x 256, {result.stacks_per_s:.2f} stacks/s, "
        f"{result.delay_s:.1f} s from last plane to result (median)"
    )
    print(f"on {result.device} with model {result.model}")
    for label, path in (("picture", result.picture), ("numbers", result.numbers)):
        print(f"{label}: {path}")
    print(f"stacks:  {folder / 'acquisition'} (results in restored/)")


def _refuse_beside_micromanager(arguments: argparse.Namespace, *names: str) -> None:
    """Say which flags would have no effect; raises ``UsageError``."""
    for name in names:
        if getattr(arguments, name):
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(
                f"{flag} and --micromanager exclude each other", None, "leave one away"
            )


def watch(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore watch``."""
    if arguments.micromanager is not None:
        from live_restore.hooks.micromanager_window import watch_micromanager

        _refuse_beside_micromanager(
            arguments, "once", "no_events", "retry_failed", "redo_missing", "page"
        )
        load_settings(arguments.config, flags)  # to complain now, not when a run has begun
        given = (
            arguments.config and arguments.config.absolute(),
            arguments.device,
            arguments.model,
        )
        named = zip(("--config", "--device", "--model"), given, strict=True)
        options = [str(part) for name, value in named if value for part in (name, value)]
        return watch_micromanager(arguments.micromanager, options)
    from live_restore.cli.display import live_display, wants_display
    from live_restore.cli.logs import configure_logging
    from live_restore.cli.page import page_beside
    from live_restore.engine.daemon import (
        Daemon,
        open_daemon_journal,
        stopping_on_signals,
        watched_folder,
    )
    from live_restore.engine.priority import give_way
    from live_restore.inference.model_set import ModelSet
    from live_restore.journal.location import journal_path

    root = watched_folder(arguments.folder)
    settings = load_settings(arguments.config, flags)
    give_way(settings.process)
    journal_file = journal_path(root, settings.journal.folder)
    if root in journal_file.resolve().parents:
        raise UsageError(
            "is inside the watched folder", journal_file.parent,
            "set journal.folder to a place on a local disk outside it",
        )  # fmt: skip
    model_set = ModelSet.load(settings)
    display = wants_display() and not arguments.plain and not arguments.once
    with open_daemon_journal(root, settings, model_set.recipe) as journal:
        configure_logging(settings.log, journal_file.with_suffix(".log"), terminal=not display)
        if arguments.retry_failed:
            journal.retry_failed()
        if arguments.redo_missing:
            journal.redo_missing(root)
        daemon = Daemon(root, settings, model_set, journal)
        with ExitStack() as stack:
            stack.enter_context(stopping_on_signals(daemon))
            stack.enter_context(page_beside(root, arguments.page, settings))
            tick: Callable[[], None] = lambda: None  # noqa: E731
            if display:
                tick = stack.enter_context(live_display(daemon))
            failed = daemon.run(once=arguments.once, tick=tick)
        if arguments.once:
            print(f"live-restore: {daemon.summary()}", file=sys.stderr)
    return 1 if arguments.once and failed else 0


def restore(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore restore``."""
    from live_restore.engine.one_shot import OneShot, absolute, ending_on_signals
    from live_restore.engine.priority import give_way
    from live_restore.files.naming import template_in
    from live_restore.inference.model_set import ModelSet

    output = None if arguments.output is None else absolute(arguments.output)
    if output is not None:
        flags = {**flags, "output": {"template": template_in(output)}}
    settings = load_settings(arguments.config, flags)
    give_way(settings.process)
    model_set = ModelSet.load(settings)
    for model in model_set.models:
        if model.session.device.warning:
            print(f"live-restore: {model.session.device.warning}", file=sys.stderr)
    one_shot = OneShot(model_set, settings)
    results: list[dict[str, Any]] = []
    notes: dict[str, None] = {}
    failed = 0
    with ending_on_signals():
        for name in arguments.files:
            for attempt in _attempts(one_shot, name, output):
                if isinstance(attempt, LiveRestoreError):
                    failed += 1
                    results.append({"source": str(name), "error": str(attempt)})
                    print(f"live-restore: {attempt}", file=sys.stderr)
                    continue
                notes |= dict.fromkeys(attempt.notes)
                results.append(
                    {
                        "source": str(attempt.source),
                        "result": str(attempt.image),
                        "report": str(attempt.report),
                        "already_there": attempt.already_there,
                        "warnings": list(attempt.warnings),
                        "notes": list(attempt.notes),
                    }
                )
                if not arguments.json:
                    already = " (was already there)" if attempt.already_there else ""
                    print(f"{one_line(attempt.source.name)} -> {one_line(attempt.image)}{already}")
                    for warning in attempt.warnings:
                        print(f"  ! {one_line(warning)}")
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        for note in notes:
            print(f"  note: {one_line(note)}")
    return 1 if failed else 0


def _attempts(one_shot: OneShot, named: Path, output: Path | None) -> Iterator[Attempt]:
    """Restore what one name leads to; an error always names a file."""
    from live_restore.engine.one_shot import absolute

    path = named
    try:
        path = absolute(named)
    except LiveRestoreError as error:
        yield error
        return
    for attempt in one_shot.restore_all(path, output):
        if isinstance(attempt, StackError) and attempt.path is None:
            yield type(attempt)(attempt.what, path, attempt.remedy)
        else:
            yield attempt


def status(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore status``."""
    from live_restore.engine.daemon import watched_folder
    from live_restore.journal.database import lock_is_held
    from live_restore.journal.location import journal_path
    from live_restore.journal.states import State
    from live_restore.journal.view import JournalView

    root = watched_folder(arguments.folder)
    settings = load_settings(arguments.config, flags)
    path = journal_path(root, settings.journal.folder)
    if not path.exists():
        raise UsageError(
            "has never been watched on this computer",
            root,
            f'start with: live-restore watch "{root}"',
        )
    with JournalView(path, root) as journal:
        entries, counts = journal.entries(), journal.counts()
    watched, now = lock_is_held(path), time.time()
    lost = {e.key for e in entries if e.lost_its_result(root)}
    reasons = {
        e.key: _LOST_RESULT if e.key in lost else e.reason_now(now, watched=watched)
        for e in entries
    }
    if arguments.json:
        print(
            json.dumps(
                {
                    "folder": str(root),
                    "journal": str(path),
                    "log": str(path.with_suffix(".log")),
                    "watched": watched,
                    "counts": {state.value: n for state, n in counts.items()},
                    "doubtful": sum(entry.doubtful for entry in entries),
                    "files": [
                        {
                            "source": entry.key.path.as_posix(),
                            "state": entry.state.value,
                            "doubtful": entry.doubtful,
                            "reason": reasons[entry.key],
                            "stacks": entry.stacks,
                            "attempts": entry.attempts,
                            "result": entry.result,
                            "finished_at": entry.finished_at,
                        }
                        for entry in entries
                    ],
                },
                indent=1,
            )
        )
        return 0
    shown = [
        entry for entry in entries
        if arguments.all or entry.state is not State.DONE or entry.doubtful or entry.key in lost
    ]  # fmt: skip
    doubtful = sum(entry.doubtful for entry in entries)
    told = {**{state.value: n for state, n in counts.items()}, "of the done doubtful": doubtful}
    console = Console()
    console.print(
        ", ".join(f"{n} {what}" for what, n in told.items() if n) or "nothing yet",
        highlight=False,
    )
    print("being watched now" if watched else "not being watched now")
    if shown:
        table = Table()
        table.add_column("state")
        table.add_column("file or stack", overflow="fold")
        table.add_column("why", overflow="fold")
        for entry in shown:
            # As Text: square brackets in a file name are no markup.
            why = Text(one_line(reasons[entry.key]))
            state = "done, doubtful" if entry.doubtful else entry.state.value
            table.add_row(state, Text(one_line(entry.key)), why)
        console.print(table)
    print(f"log: {path.with_suffix('.log')}")
    return 0


def models(arguments: argparse.Namespace, flags: dict[str, Any]) -> int:
    """Run ``live-restore models``."""
    settings = load_settings(arguments.config, flags)
    paths = {str(path): path for path in bundled_models().values()}
    for rule in settings.models:
        if not rule.skip:
            path = find_model(rule.model)
            paths[str(path)] = path
    loaded = [load_model(path, "cpu") for path in paths.values()]
    if arguments.json:
        print(
            json.dumps(
                [
                    {
                        "path": str(m.path),
                        "sha256": m.digest,
                        "card": m.card.model_dump(mode="json"),
                    }
                    for m in loaded
                ],
                indent=1,
            )
        )
        return 0
    table = Table()
    for column in ("name", "precision", "trained on voxels (um)", "what it is"):
        table.add_column(column, overflow="fold")
    for model in loaded:
        table.add_row(
            f"{model.card.name} {model.card.version}",
            model.card.precision,
            _voxel_range(model.card.trained_voxel_um),
            Text(one_line(model.card.description)),
        )
    console = Console()
    console.print(table)
    for model in loaded:
        envelope = model.card.envelope
        lines = (
            ["where it helps has not been measured"] if envelope is None else envelope.in_words()
        )
        console.print(Text(f"{model.card.name} {model.card.version}", style="bold"))
        note = model.card.sharpening_note()
        for line in [note, *lines] if note else lines:
            console.print(Text(f"  {one_line(line)}"))
    return 0


def _voxel_range(voxel_um: dict[str, tuple[float, float]]) -> str:
    return ", ".join(f"{axis} {low:g}–{high:g}" for axis, (low, high) in voxel_um.items()) or "?"
