"""The checks of ``live-restore doctor``, each with what to do where it fails."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import numpy as np

from live_restore.errors import LiveRestoreError
from live_restore.files.user_folders import state_folder
from live_restore.formats.table import problems
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.hardware import available_cores, available_memory_bytes, cpu_name
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restorer import Restorer
from live_restore.journal.journal import Journal
from live_restore.settings.model import Settings
from live_restore.simulation.scene import LivingCell

Verdict = Literal["good", "note", "bad"]
_PACKAGES = ("numpy", "tifffile", "imagecodecs", "pydantic", "watchdog")
_LITTLE_MEMORY_GB = 4
_LITTLE_DISK_GB = 20
_BAD_DISK_GB = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    what
        In two or three words.
    verdict
        "note": works, but a person may want to know or change it.
    found
        What there is.
    remedy
        What to do next; empty where nothing is to be done.
    """

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


def examine(settings: Settings, folder: Path | None = None) -> Iterator[Finding]:
    """Check everything that a restoration needs; ``folder`` is one that is going to be watched."""
    yield _python()
    yield from _packages()
    yield from _plug_ins()
    yield _processor()
    yield from _backends()
    yield from _models(settings)
    yield _journal(settings)
    for what, path in (
        ("results beside", folder),
        ("temporary files", Path(tempfile.gettempdir())),
    ):
        if path is not None:
            yield _disk(what, path)


def _python() -> Finding:
    bits = 64 if sys.maxsize > 2**32 else 32
    found = f"{platform.python_version()}, {bits} bit, {sys.executable}"
    good = sys.version_info >= (3, 11) and bits == 64
    return Finding(
        "Python", "good" if good else "bad", found,
        "" if good else "install a 64-bit Python 3.11 or newer",
    )  # fmt: skip


def _packages() -> Iterator[Finding]:
    both = [name for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
            if _version(name)]  # fmt: skip
    versions = ", ".join(f"{name} {_version(name)}" for name in (*both, *_PACKAGES))
    missing = [name for name in _PACKAGES if not _version(name)]
    if len(both) > 1:
        # They install the same files: which of them works depends on the order of installation.
        remedy = f"pip uninstall {' '.join(both)}, then install one of them"
        yield Finding("packages", "bad", versions, remedy)
    elif missing or not both:
        yield Finding("packages", "bad", versions, "pip install live-restore")
    else:
        yield Finding("packages", "good", versions)


def _plug_ins() -> Iterator[Finding]:
    for problem in problems():
        yield Finding("plug-in", "bad", problem, "update that package, or uninstall it")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _processor() -> Finding:
    memory_gb = available_memory_bytes() / 1e9
    found = f"{cpu_name()}, {available_cores()} cores, {memory_gb:.1f} GB free memory"
    if memory_gb < _LITTLE_MEMORY_GB:
        return Finding(
            "computer", "note", found, "close other programs, or set inference.max_tile_mvoxel"
        )
    return Finding("computer", "good", found)


def _backends() -> Iterator[Finding]:
    for backend in make_backends():
        obstacle = backend.obstacle()
        what = f"device {backend.name}"
        if obstacle:
            found, _, remedy = obstacle.partition("; ")
            yield Finding(what, "note", found, remedy)
        else:
            yield Finding(what, "good", f"{backend.version()}, {', '.join(backend.precisions())}")


def _models(settings: Settings) -> Iterator[Finding]:
    try:
        model_set = ModelSet.load(settings)
        for _, restorer in (rule for each in (model_set, *model_set.beside) for rule in each.rules):
            if restorer is not None:
                yield _model(restorer)
    except LiveRestoreError as error:
        yield Finding("models", "bad", error.what, error.remedy)


def _model(restorer: Restorer) -> Finding:
    card = restorer.model.card
    z, y, x = (16, 64, 64)
    stack = LivingCell(shape_zyx=(z, y, x)).exposed(0)
    channels = np.stack([stack] * card.input_channels) if card.input_channels > 1 else stack
    restorer.restore(channels)
    device = restorer.model.session.device
    found = (
        f"{card.name} {card.version} on {device.hardware}: {device.name} in {device.precision}, "
        f"because {device.reason}; restores a simulated stack"
    )
    return Finding("model", "note" if device.warning else "good", found, device.warning)


def _journal(settings: Settings) -> Finding:
    folder = settings.journal.folder or state_folder()

    def try_it() -> None:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name:
            root = Path(name)
            with Journal(root / "journal.sqlite", root, recipe="doctor") as journal:
                journal.counts()

    remedy = "set journal.folder to a folder on a local disk that you may write to"
    device_cache = len(DeviceCache().entries())
    found = f"{folder}; {device_cache} measured choices of a device in {DeviceCache().path.name}"
    return _check("journal", found, remedy, try_it)


def _disk(what: str, folder: Path) -> Finding:
    def try_it() -> None:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"x")
            file.flush()
            os.fsync(file.fileno())

    try:
        free_gb = shutil.disk_usage(folder).free / 1e9
    except OSError as error:
        return Finding(what, "bad", f"{folder}: {error.strerror}", "check the path")
    remedy = "give it a folder that you may write to"
    finding = _check(what, f"{folder}: {free_gb:.1f} GB free", remedy, try_it)
    if finding.verdict == "good" and free_gb < _LITTLE_DISK_GB:
        verdict: Verdict = "bad" if free_gb < _BAD_DISK_GB else "note"
        return Finding(what, verdict, finding.found, "make room: results are as large as raw data")
    return finding


def _check(what: str, found: str, remedy: str, try_it: Callable[[], None]) -> Finding:
    try:
        try_it()
    except (OSError, LiveRestoreError) as error:
        return Finding(what, "bad", f"{found}: {error}", remedy)
    return Finding(what, "good", found)
