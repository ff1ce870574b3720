"""``live-restore restore``: files and acquisition folders, here and now."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli.parsing import Commands, add_command, file, load_settings_of
from live_restore.cli.restore_cluster import add_flags, restore_archive
from live_restore.errors import LiveRestoreError, StackError, UsageError, one_line

if TYPE_CHECKING:
    from live_restore.engine.one_shot import Attempt, OneResult, OneShot
    from live_restore.inference.model_set import ModelSet
    from live_restore.settings.model import Settings


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "restore", run, "restore files, or the folder of one acquisition, now",
        "live-restore restore cell.tif", "live-restore restore D:\\data\\run_1",
        "live-restore restore *.tif -o restored --json",
        "live-restore restore cell.tif --like old/cell.json -o again",
        "live-restore restore /nas/archive --cluster dask://gpu-pc:8786 --config config.toml",
    )  # fmt: skip
    parser.add_argument(
        "files", type=file, nargs="+", metavar="FILE", help="a TIFF file or an acquisition's folder"
    )
    parser.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="where results go (restored/ beside each)"
    )
    parser.add_argument(
        "--like", type=file, metavar="REPORT",
        help="with the settings and the models of this report, and no others",
    )  # fmt: skip
    parser.add_argument("--json", action="store_true", help="print results as JSON")
    add_flags(parser)


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore restore``."""
    if arguments.cluster is not None:
        return restore_archive(arguments)
    if arguments.workers or arguments.listen:
        raise UsageError("--workers and --listen are for --cluster", None, "omit them")
    from live_restore.cluster.models import load_models
    from live_restore.engine.one_shot import OneShot, absolute
    from live_restore.engine.priority import give_way
    from live_restore.engine.signals import ending_on_signals
    from live_restore.files.naming import template_in

    output = None if arguments.output is None else absolute(arguments.output)
    template: dict[str, Any] = (
        {} if output is None else {"output": {"template": template_in(output)}}
    )
    like = None if arguments.like is None else _report(arguments)
    if like is not None:
        template["output"] = {**like["settings"].get("output", {}), **template.get("output", {})}
        template = {**like["settings"], **template}
    settings = load_settings_of(arguments, **template)
    give_way(settings.process)
    said: dict[str, None] = {}

    def warn(problem: str) -> None:
        if problem not in said:
            said[problem] = None
            print(f"live-restore: {one_line(problem)}", file=sys.stderr)

    model_set = load_models(settings, warn)
    if like is not None:
        _require_same(like, model_set, settings, arguments.like)
    for model in model_set.models:
        if model.session.device.warning:
            print(f"live-restore: {model.session.device.warning}", file=sys.stderr)
    for note in model_set.unmeasured:
        print(f"live-restore: {one_line(note)}", file=sys.stderr)
    one_shot = OneShot(model_set, settings, warn)
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
                results.append(_as_json(attempt))
                if not arguments.json:
                    _print_result(attempt)
    if arguments.json:
        print(json.dumps(results, indent=1))
    else:
        for note in notes:
            print(f"  note: {one_line(note)}")
    return 1 if failed else 0


def _report(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a report whose settings are to hold.

    Raises
    ------
    UsageError
        It is none, does not hold its settings, or other settings are given as well.
    """
    from live_restore.files.values import NotJsonError
    from live_restore.outputs.report_file import REPORT_FORMAT, read_report

    path: Path = arguments.like
    if arguments.config is not None or arguments.model is not None:
        raise UsageError("--like excludes --config and --model", path, "omit either")
    try:
        report = read_report(path)
    except (OSError, NotJsonError) as error:
        raise UsageError(
            f"is no report that can be read ({error})", path, "name a report"
        ) from None
    if report.get("format") != REPORT_FORMAT:
        raise UsageError(
            f'is no report of this version of live-restore ("format" is not "{REPORT_FORMAT}")',
            path,
            "use the version that wrote it, or --config",
        )
    models = report.get("models")
    listed = list(models.values()) if isinstance(models, dict) else []
    if not listed or not all(
        isinstance(each, dict) and isinstance(each.get("sha256"), str) for each in listed
    ):
        raise UsageError("does not say which models were used", path, "name a whole report")
    settings = report.get("settings")
    if not isinstance(settings, dict) or not isinstance(settings.get("output", {}), dict):
        raise UsageError(
            "does not hold its settings: an older version wrote it", path, "use --config"
        )
    return report


def _require_same(
    like: dict[str, Any], model_set: ModelSet, settings: Settings, path: Path
) -> None:
    """Raise ``UsageError`` where results would be others than those of a report."""
    wanted = {each["sha256"] for each in like["models"].values()}
    if not wanted <= {model.digest for model in model_set.models}:
        raise UsageError(
            "was made with another version of its model", path,
            "install the version of live-restore that it names",
        )  # fmt: skip
    if settings.pixel_digest() != like.get("settings_digest"):
        raise UsageError(
            "was made with other settings than it holds: it was changed, or variables of the "
            "environment override it",
            path,
            "unset LIVE_RESTORE_ variables",
        )


def _attempts(one_shot: OneShot, named: Path, output: Path | None) -> Iterator[Attempt]:
    """Restore what one name leads to; an error always names a file."""
    from live_restore.engine.one_shot import absolute

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


def _as_json(result: OneResult) -> dict[str, Any]:
    return {
        "source": str(result.source),
        "result": str(result.image),
        "report": str(result.report),
        "already_there": result.already_there,
        "warnings": list(result.warnings),
        "notes": list(result.notes),
    }


def _print_result(result: OneResult) -> None:
    already = " (was already there)" if result.already_there else ""
    print(f"{one_line(result.source.name)} -> {one_line(result.image)}{already}")
    for warning in result.warnings:
        print(f"  ! {one_line(warning)}")
