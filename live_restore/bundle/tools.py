"""What asks a package index: uv, which resolves for another system, and pip, which downloads.

pip evaluates markers for the computer that it runs on, so that a bundle for Windows made on Linux
would lack what only Windows needs; uv resolves for any system. Both run as child processes, and
get what they need as files and options.
"""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from live_restore.bundle.packages import Pin, Target, read_lock
from live_restore.errors import LiveRestoreError, UsageError, one_line

NEEDED = ("installer", "packaging", "pip", "uv")
_REMEDY = "look whether this computer reaches a package index; --index URL names another one"
_LAST_LINES = 4
_RESOLVE_S = 600.0
# CUDA's libraries are 3 GB.
_DOWNLOAD_S = 3 * 3600.0


def require_tools() -> None:
    """Raise ``UsageError`` where what builds a bundle is not installed."""
    lacking = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        remedy = 'pip install "live-restore[bundle]"'
        if "pip" in lacking:
            remedy = f"{Path(sys.executable).name} -m ensurepip, then {remedy}"
        raise UsageError(f"a bundle is built with {', '.join(lacking)}", None, remedy)


def resolve(
    requirements: Sequence[str], target: Target, *, constraints: Path | None, index: str | None
) -> list[Pin]:
    """Return exact versions of all packages that the requirements need on that computer.

    Raises
    ------
    LiveRestoreError
        No index, or no versions that go together.
    """
    from uv import find_uv_bin

    command = [
        os.fsdecode(find_uv_bin()), "pip", "compile", "-", "--quiet", "--no-config", "--no-header",
        "--no-annotate", "--generate-hashes", "--only-binary", ":all:", "--no-python-downloads",
        "--python-version", target.python_version, "--python-platform", target.uv_platform,
    ]  # fmt: skip
    if constraints is not None:
        command += ["--constraints", str(constraints)]
    if index is not None:
        command += ["--default-index", index]
    text = _run("uv pip compile", command, _RESOLVE_S, "\n".join(requirements))
    try:
        return read_lock(text)
    except ValueError as error:
        raise LiveRestoreError(f"uv pip compile gave no lock: {error}", None, "update uv") from None


def download(lock: Path, target: Target, into: Path, *, index: str | None) -> list[Path]:
    """Download the wheels of a lock, whose hashes are checked; return them in the order of names.

    Raises
    ------
    LiveRestoreError
        No index, a file that is not what the lock says, or no wheel for that computer.
    """
    command = [
        sys.executable, "-m", "pip", "download", "--quiet", "--no-input", "--no-deps",
        "--disable-pip-version-check", "--require-hashes", "--only-binary", ":all:",
        "--implementation", "cp", "--python-version", target.python_version, "--dest", str(into),
        "--requirement", str(lock),
    ]  # fmt: skip
    for platform in target.wheel_platforms:
        command += ["--platform", platform]
    if index is not None:
        command += ["--index-url", index]
    _run("pip download", command, _DOWNLOAD_S)
    return sorted(into.glob("*.whl"))


def _run(what: str, command: list[str], patience_s: float, given: str = "") -> str:
    """Run it to its end and return what it printed."""
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, encoding="utf-8", errors="backslashreplace",
            timeout=patience_s, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise LiveRestoreError(f"{what} took over {patience_s:g} s", None, _REMEDY) from None
    except OSError as error:
        raise LiveRestoreError(f"{what} cannot be started ({error})", None, _REMEDY) from None
    if done.returncode:
        # What ended it comes last.
        lines = [line for line in done.stderr.splitlines() if not line.startswith("WARNING")]
        said = " ".join(lines[-_LAST_LINES:]).strip() or f"code {done.returncode}"
        raise LiveRestoreError(f"{what} failed ({one_line(said)})", None, _REMEDY)
    return done.stdout
