"""The workshop, where models learn: another program, which has PyTorch and this one does not."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

from live_restore.errors import UsageError
from live_restore.installation import install_with

_WORKSHOP = "live_restore_export"
_NEEDED = (_WORKSHOP, "torch", "onnx")


def require_workshop() -> None:
    """Raise ``UsageError`` where it is not installed."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise UsageError(
            f"adapting a model needs PyTorch, and {' and '.join(missing)} {verb} not installed",
            None,
            install_with("export"),
        )


def adapt_command(run: Path, *words: str, **flags: object) -> list[str]:
    """Return the command that learns from a run; flags that are ``None`` are left out."""
    command = [sys.executable, "-P", "-m", _WORKSHOP, "adapt", *words]
    for flag, value in flags.items():
        if value is not None:
            command += [f"--{flag}", str(value)]
    return [*command, "--", str(run)]


def run_name(run: Path) -> str:
    """Return what a run is called: a file without its ending; a folder has none, only full stops.

    Of a whole disk it is empty.
    """
    run = run.resolve()
    return run.name if run.is_dir() else run.stem


def adapted_model(run: Path, watched: Path | None = None) -> Path:
    """Return where the model goes that has learnt from a run.

    Beside the run; in it where that is a whole disk, or the folder that is watched itself.
    """
    run = run.resolve()
    if not run.name:
        return run / "adapted.onnx"
    folder = run if watched is not None and run == watched.resolve() else run.parent
    return folder / f"{run_name(run)}_adapted.onnx"
