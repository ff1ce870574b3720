"""Builds a bundle: lock, wheels, Python, packages, licences, scripts, hashes, zip."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

from live_restore._version import __version__
from live_restore.bundle.archive import files_below, write_zip
from live_restore.bundle.description import describe
from live_restore.bundle.hashes import LIST_NAME, sha256_of, write_list
from live_restore.bundle.packages import (
    Pin,
    Platform,
    Target,
    carried,
    check_choices,
    read_lock,
    requirements,
    write_lock,
)
from live_restore.bundle.python import PythonSource, look_at, place
from live_restore.bundle.scripts import PROGRAM_PREFIX, read_me, scripts
from live_restore.bundle.tools import download, require_tools, resolve
from live_restore.errors import LiveRestoreError, OutputError, UsageError
from live_restore.files.reading import read_regular

TOP = "live-restore"
"""The one folder in the zip."""
_PROJECT = "live-restore"
_MOST_LOCK_BYTES = 2**22
_DIGEST_LETTERS = 8


@dataclass(frozen=True)
class Plan:
    """What is to be built.

    Parameters
    ----------
    platform
        What the bundle runs on.
    choices
        Parts beside the core, see ``packages.CHOICES``.
    python
        The Python, see ``python.py``; ``None``: the one that runs this command.
    lock
        A lock of an earlier bundle, which is then built of the same packages.
    constraints
        A file of requirements that bound versions.
    index
        Address of a package index; ``None``: the one that pip and uv are set up for.
    """

    platform: Platform
    choices: tuple[str, ...]
    python: Path | None = None
    lock: Path | None = None
    constraints: Path | None = None
    index: str | None = None


@dataclass(frozen=True)
class Built:
    """What was built.

    Parameters
    ----------
    file
        The zip.
    size_bytes, unpacked_bytes
        Of the zip, and of what is in it.
    sha256
        Of the zip (hex).
    packages
        How many packages there are in it.
    longest_path
        Characters of the longest path in it: Windows adds those of the folder above.
    needs
        What the computer must have.
    """

    file: str
    size_bytes: int
    unpacked_bytes: int
    sha256: str
    packages: int
    longest_path: int
    needs: str


def build(plan: Plan, output: Path, report: Callable[[str], None]) -> Built:
    """Build a bundle; ``report`` gets a line before each step that takes long.

    Raises
    ------
    LiveRestoreError
        No index, no wheels for that computer, or the disk refused; ``UsageError`` where something
        is missing here or does not go together.
    """
    require_tools()
    check_choices(plan.choices, plan.platform)
    itself = _itself()
    source = look_at(plan.python, plan.platform)
    target = Target(plan.platform, source.version)
    output = output.absolute()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=output.parent, prefix=".live-restore-bundle-") as name:
            work = Path(name)
            lock = work / "lock.txt"
            report("looking up versions")
            lock.write_text(write_lock(carried(_pins(plan, itself, target))), "utf-8")
            report("downloading packages")
            wheels = download(lock, target, work / "wheels", index=plan.index)
            report("putting it together")
            top = work / TOP
            needs = _assemble(plan, source, itself, wheels, top)
            report("packing")
            write_zip(top, output)
            files = files_below(top)
            return Built(
                file=str(output),
                size_bytes=output.stat().st_size,
                unpacked_bytes=sum(path.stat().st_size for path in files),
                sha256=sha256_of(output),
                packages=len(wheels) + 1,
                longest_path=max(len(str(path.relative_to(work))) for path in files),
                needs=needs,
            )
    except OSError as error:
        where = error.filename or output
        raise OutputError(
            f"the bundle cannot be built ({error.strerror or error})", where, "check that disk"
        ) from error


def _itself() -> Distribution:
    try:
        return distribution(_PROJECT)
    except PackageNotFoundError:
        raise UsageError("live-restore itself is not installed", None, "pip install it") from None


def _pins(plan: Plan, itself: Distribution, target: Target) -> list[Pin]:
    if plan.lock is None:
        wanted = requirements(itself.requires or [], plan.choices, target)
        return resolve(wanted, target, constraints=plan.constraints, index=plan.index)
    try:
        return read_lock(read_regular(plan.lock, _MOST_LOCK_BYTES).decode("utf-8"))
    except OSError as error:
        why = f"cannot be read ({error.strerror or error})"
    except ValueError as error:
        why = f"is no lock: {error}"
    raise UsageError(why, plan.lock, "give the requirements.lock of a bundle")


def _assemble(
    plan: Plan, source: PythonSource, itself: Distribution, wheels: Sequence[Path], top: Path
) -> str:
    """Put everything into the folder ``top``; return what the computer must have."""
    program = top / "program"
    placed = place(source, plan.platform, program / "python")
    for wheel in wheels:
        _install(wheel, program / "python", placed.packages)
    _install_itself(itself, placed.packages)
    record = {"platform": plan.platform, "with": sorted(plan.choices)}
    describe(program, record, source, placed, wheels)
    hashes = {
        path.relative_to(program).as_posix(): sha256_of(path) for path in files_below(program)
    }
    # Two bundles of one version with other packages lie beside each other, too.
    digest = hashlib.sha256(write_list(hashes).encode()).hexdigest()[:_DIGEST_LETTERS]
    named = program.rename(top / f"{PROGRAM_PREFIX}{__version__}-{digest}")
    beside = scripts(plan.platform, named.name, plan.choices)
    beside["READ-ME.txt"] = read_me(plan.platform, __version__)
    for name, text in beside.items():
        script = top / name
        script.write_bytes(text.encode("ascii"))
        if plan.platform == "linux" and name != "READ-ME.txt":
            script.chmod(0o755)
        hashes[f"../{name}"] = sha256_of(script)
    (named / LIST_NAME).write_bytes(write_list(hashes).encode("utf-8"))
    return placed.needs


def _install(wheel: Path, prefix: Path, packages: Path) -> None:
    """Install a wheel without what it starts: that would hold the path of this computer's Python.

    Raises
    ------
    LiveRestoreError
        The wheel is damaged.
    """
    from installer import install
    from installer.destinations import SchemeDictionaryDestination
    from installer.exceptions import InstallerError
    from installer.sources import WheelFile

    dropped = prefix / "dropped"
    # What a wheel calls data goes beside Python: libraries of the C++ run time on Windows.
    places = {
        "purelib": str(packages),
        "platlib": str(packages),
        "data": str(prefix),
        "scripts": str(dropped),
        "headers": str(dropped),
    }
    try:
        with WheelFile.open(wheel) as opened, warnings.catch_warnings():
            # Some wheels bring compiled files, which are left out: Python makes its own.
            warnings.filterwarnings("ignore", "Skip installing", RuntimeWarning)
            destination = SchemeDictionaryDestination(places, interpreter="", script_kind="posix")
            install(opened, destination, additional_metadata={})
    except (InstallerError, ValueError) as error:
        raise LiveRestoreError(f"cannot be unpacked ({error})", wheel, "build again") from None
    shutil.rmtree(dropped, ignore_errors=True)
    if (prefix / "Scripts").is_dir():
        shutil.rmtree(prefix / "Scripts")


def _install_itself(itself: Distribution, packages: Path) -> None:
    """Copy the live-restore that is running: the bundle holds what built it."""
    running = Path(__file__).resolve().parents[1]
    shutil.copytree(
        running, packages / running.name, ignore=shutil.ignore_patterns("__pycache__", ".*")
    )
    about = packages / f"live_restore-{__version__}.dist-info"
    about.mkdir()
    metadata = itself.read_text("METADATA") or ""
    for line in metadata.splitlines():
        if line.startswith("Version: "):
            metadata = metadata.replace(line, f"Version: {__version__}", 1)
            break
    (about / "METADATA").write_text(metadata, "utf-8", newline="\n")
    names = ["METADATA"]
    if (licence := itself.read_text("licenses/LICENSE")) is not None:
        (about / "LICENSE").write_text(licence, "utf-8", newline="\n")
        names.append("LICENSE")
    # Who reads the list of its files finds the licence by it.
    record = "".join(f"{about.name}/{name},,\n" for name in (*names, "RECORD"))
    (about / "RECORD").write_text(record, "utf-8", newline="\n")
