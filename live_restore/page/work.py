"""Restores what a person asks for on the page: a process of its own, below everything else.

    python -m live_restore.page.work < request (JSON, one line)

It has a network in its memory, and may run out of it or die; neither the page nor the daemon
notices more than its end. What it tells are lines of JSON on standard output. It is on a leash:
when standard input ends, so does it.
"""

from __future__ import annotations

import itertools
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.cluster.models import load_models
from live_restore.engine.one_shot import Attempt, OneShot
from live_restore.engine.priority import give_way, give_way_to_all
from live_restore.errors import DiskFullError, LiveRestoreError, StackRefusedError, one_line
from live_restore.hooks.leash import end_when_dropped
from live_restore.inference.cameras import choose_camera
from live_restore.journal.location import journal_path
from live_restore.page.raw_volumes import RawVolumes
from live_restore.settings.load import load_settings
from live_restore.settings.model import Settings
from live_restore.stack import StackIndex, StackKey
from live_restore.workshop import adapt_command, adapted_model

_MOST_WORDS = 200


def main() -> int:
    """Do what standard input asks for."""
    request = json.loads(sys.stdin.readline())
    end_when_dropped()
    config = request["config"]
    try:
        settings = load_settings(
            Path(config) if config else None,
            {"models": [{"channels": ["*"], "model": request["model"]}]},
            folder=Path(request["root"]),
        )
        give_way(settings.process)
        give_way_to_all()
        if "adapt" in request:
            adapt(request, settings)
        elif "preview" in request:
            preview(request, settings)
        else:
            for attempt in again(request, settings):
                failed = isinstance(attempt, LiveRestoreError)
                _report({"failed": str(attempt)} if failed else {"done": _name(attempt)})
    except LiveRestoreError as error:
        _report({"error": error.reason})
        return 1
    return 0


def preview(request: dict[str, Any], settings: Settings) -> None:
    """Restore one stack into a file that nobody takes for a result.

    Raises
    ------
    LiveRestoreError
        It cannot be read or restored.
    """
    target = Path(request["preview"])
    _require_free(target.parent, settings)
    key, at = _key(request["key"]), StackIndex(*request["at"])
    _report({"now": "reading the stack"})
    raw = RawVolumes(Path(request["root"]), settings.files).read(key, at)
    _report({"now": "loading the model"})
    model_set = load_models(settings)
    _, restorer = model_set.rules[0]
    if restorer is None or restorer.model.card.input_channels > 1:
        raise StackRefusedError(
            "a model of several channels has no preview", None, "restore it again instead"
        )
    channel = (key.index or at).channel
    chosen = choose_camera(model_set.cameras, str(channel), channel, "").camera
    if chosen is not None:
        restorer = restorer.with_camera(chosen.settings, chosen.bad_pixels)
    tiles = itertools.count(1)

    def before_tile() -> bool:
        _report({"now": f"tile {next(tiles)}"})
        return False

    volume = restorer.restore(raw, before_tile).volume
    temporary = target.with_suffix(".part")
    with temporary.open("wb") as file:
        np.save(file, volume, allow_pickle=False)
    temporary.replace(target)


def adapt(request: dict[str, Any], settings: Settings) -> None:
    """Let a model learn from a run; what the workshop says of it is passed on.

    Raises
    ------
    LiveRestoreError
        No model was written.
    """
    root = Path(request["root"])
    run = root / request["adapt"]
    model = adapted_model(run, root)
    _require_free(model.parent, settings)
    command = adapt_command(
        run,
        "--beside", str(root), str(journal_path(root, settings.journal.folder)),
        config=request["config"] or None,
        model=request["model"],
        minutes=settings.adapt.minutes,
        channel=request["channel"],
        output=model,
    )  # fmt: skip
    said = "it said nothing"
    # Its standard input is its leash: it ends with this process.
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        text=True, encoding="utf-8", errors="replace",
    ) as child:  # fmt: skip
        assert child.stdout is not None
        for line in filter(None, map(str.strip, child.stdout)):
            said = one_line(line)
            _report({"now": said[:_MOST_WORDS]})
    if child.returncode:
        raise LiveRestoreError(said)
    _report({"done": model.name})


def again(request: dict[str, Any], settings: Settings) -> Iterator[Attempt]:
    """Restore and publish, under the names that results of another model get."""
    one_shot = OneShot(load_models(settings), settings)
    root = Path(request["root"])
    _require_free(root, settings)
    stacks: dict[Path, list[StackIndex]] = {}
    for key in map(_key, request["keys"]):
        if key.index is not None:
            stacks.setdefault(root / key.acquisition, []).append(key.index)
            continue
        try:
            yield one_shot.restore(root / key.acquisition)
        except LiveRestoreError as error:
            yield error
    for folder, indices in stacks.items():
        yield from one_shot.restore_stacks(folder, indices)


def _key(told: Iterable[Any]) -> StackKey:
    acquisition, index = told
    return StackKey(Path(acquisition), None if index is None else StackIndex(*index))


def _name(attempt: Attempt) -> str:
    return "" if isinstance(attempt, LiveRestoreError) else attempt.image.name


def _require_free(folder: Path, settings: Settings) -> None:
    free = shutil.disk_usage(folder).free
    if free < settings.output.min_free_gb * 1e9:
        raise DiskFullError(
            f"the disk has {free / 1e9:.1f} GB free, and {settings.output.min_free_gb:g} GB are "
            "left for others", folder, "free some space on that disk, or set output.min_free_gb",
        )  # fmt: skip


def _report(line: dict[str, str]) -> None:
    os.write(1, json.dumps(line).encode("ascii") + b"\n")


if __name__ == "__main__":
    sys.exit(main())
