"""The checks of ``live-restore doctor``, each with what to do where it fails."""

from __future__ import annotations

import platform
import sys
import tempfile
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from itertools import groupby
from pathlib import Path

import numpy as np

from live_restore.cluster.models import load_models
from live_restore.doctor.computer import examine_computer
from live_restore.doctor.finding import Finding, tried
from live_restore.doctor.folder import examine_disk, examine_folder
from live_restore.errors import LiveRestoreError
from live_restore.files.user_folders import state_folder
from live_restore.formats.table import problems
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.cache import DeviceCache
from live_restore.inference.device.hardware import available_cores, available_memory_bytes, cpu_name
from live_restore.inference.network_runs import CancelledError
from live_restore.inference.stack_restorer import StackRestorer
from live_restore.installation import install_with
from live_restore.journal.journal import Journal
from live_restore.journal.location import journal_path, log_path
from live_restore.service.installed import all_installed
from live_restore.service.log import service_log
from live_restore.settings.model import Settings
from live_restore.simulation.scene import LivingCell

_PACKAGES = ("numpy", "tifffile", "imagecodecs", "pydantic", "watchdog")
_LITTLE_MEMORY_GB = 4
# What decides which models run, and on what.
_OF_MODELS = {"models", "inference", "camera", "cameras"}


def examine(
    settings: Settings, folders: Mapping[Path, Settings] | None = None
) -> Iterator[Finding]:
    """Check everything that a restoration needs.

    Parameters
    ----------
    settings
        Those of no folder in particular.
    folders
        Are watched, or are going to be, and with which settings.
    """
    folders = folders or {}
    yield _python()
    yield from _packages()
    yield from _plug_ins()
    yield _processor()
    yield from _backends()
    used = list(folders.values()) or [settings]
    for each in {s.model_dump_json(include=_OF_MODELS): s for s in used}.values():
        yield from examine_models(each)
    journals = {s.journal.folder or state_folder(): s for s in used}
    for each in journals.values():
        yield _journal(each)
    for folder in folders:
        disk = examine_disk("results beside", folder)
        yield disk
        if disk.verdict != "bad":
            yield from examine_folder(folder)
    yield examine_disk("temporary files", Path(tempfile.gettempdir()))
    yield from examine_computer([*journals, *(folder.absolute() for folder in folders)])
    if not folders:
        where = (settings.journal.folder or state_folder()) / "*.log"
        yield Finding("log", "good", f"{where}, one for each watched folder")
    for folder, each in folders.items():
        yield _log(each, folder)
    yield from _services()


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
        yield Finding("packages", "bad", versions, install_with())
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
    # What two devices lack, OpenVINO for both of its own, is one thing to do.
    for obstacle, same in groupby(make_backends(), lambda backend: backend.obstacle()):
        backends = list(same)
        if obstacle:
            names = ", ".join(backend.name for backend in backends)
            found, _, remedy = obstacle.partition("; ")
            yield Finding(f"device {names}", "note", found, remedy)
            continue
        for backend in backends:
            found = f"{backend.version()}, {', '.join(backend.precisions())}"
            yield Finding(f"device {backend.name}", "good", found)


def examine_models(settings: Settings) -> Iterator[Finding]:
    """Try every model on every device, and look whether it is known where it helps."""
    try:
        said: list[str] = []
        model_set = load_models(settings, said.append)
        for _, restorer in (rule for each in (model_set, *model_set.beside) for rule in each.rules):
            if restorer is not None:
                yield _model(restorer, said)
    except LiveRestoreError as error:
        yield Finding("models", "bad", error.what, error.remedy)


def _model(restorer: StackRestorer, said: list[str]) -> Finding:
    card = restorer.model.card
    z, y, x = (16, 64, 64)
    stack = LivingCell(shape_zyx=(z, y, x)).exposed(0)
    channels = np.stack([stack] * card.input_channels) if card.input_channels > 1 else stack
    try:
        # Other computers may not answer: a run would wait, and who asks wants to know.
        restorer.restore(channels, lambda: bool(said))
    except CancelledError:
        found, _, remedy = said[-1].removesuffix("; stacks wait").partition("; ")
        return Finding("models", "bad", found, remedy)
    device = restorer.model.session.device
    found = (
        f"{card.name} {card.version} on {device.hardware}: {device.name} in {device.precision}"
        f"{f' ({device.form})' if device.form else ''}, "
        f"because {device.reason}; restores a simulated stack"
    )
    remedy = device.warning or card.unmeasured_note()
    return Finding("model", "note" if remedy else "good", found, remedy)


def _journal(settings: Settings) -> Finding:
    folder = settings.journal.folder or state_folder()

    def try_it() -> None:
        journal_path(folder, settings.journal.folder)  # refuses a share
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder, prefix=".doctor-") as name:
            root = Path(name)
            with Journal(root / "journal.sqlite", root, recipe="doctor") as journal:
                journal.counts()

    remedy = "set journal.folder to a folder on a local disk that you may write to"
    device_cache = len(DeviceCache().entries())
    found = f"{folder}; {device_cache} measured choices of a device in {DeviceCache().path.name}"
    return tried("journal", found, remedy, try_it)


def _log(settings: Settings, folder: Path) -> Finding:
    """Say where to look when something went wrong while nobody was there."""
    try:
        path = log_path(folder.resolve(), journal_path(folder, settings.journal.folder))
        size = f"{path.stat().st_size / 1e6:.1f} MB" if path.exists() else "not begun"
    except (OSError, LiveRestoreError) as error:
        return Finding("log", "bad", str(error), "set journal.folder to a folder on a local disk")
    return Finding("log", "good", f"{path}: {size}")


def _services() -> Iterator[Finding]:
    for each in all_installed():
        service, what = each.service, f"service {each.service.name}"
        if each.running:
            yield Finding(what, "good", f"watches {service.what}")
        else:
            named = "" if service.folder is None else f' "{service.folder}"'
            logs = service_log(service) if named else service_log(service).with_name("*.log")
            remedy = f"look into {logs}, or: live-restore service start{named}"
            yield Finding(what, "note", f"does not watch {service.what} just now", remedy)
