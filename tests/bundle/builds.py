"""Builds real bundles for the slow tests, and unpacks them as people do."""

from __future__ import annotations

import importlib.util
import json
import os
import py_compile
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
_PATIENCE_S = 1200.0


def build(output: Path, platform: str, *options: str) -> dict[str, Any]:
    """Build a bundle with the command; skip the test where there is no package index."""
    command = [sys.executable, "-P", "-m", "live_restore", "bundle", "--platform", platform,
               "-o", str(output), "--json", *options]  # fmt: skip
    done = subprocess.run(
        command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, timeout=_PATIENCE_S, check=False,
    )  # fmt: skip
    if "reaches a package index" in done.stderr:
        pytest.skip(f"no package index here: {done.stderr.splitlines()[-1]}")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def unpack(archive: Path, into: Path) -> Path:
    """Unpack it, over what is there, and return its folder."""
    into.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(archive) as files:
        for entry in files.infolist():
            path = Path(files.extract(entry, into))
            path.chmod(entry.external_attr >> 16 & 0o777)
    return into / "live-restore"


def program_in(folder: Path) -> Path:
    """Return the only program folder of an unpacked bundle."""
    (program,) = folder.glob("app-*")
    return program


def paths_in_texts(folder: Path) -> list[str]:
    """Return the texts of a bundle that hold a path of the computer it was built on."""
    telling = {str(ROOT), sys.prefix, sys.base_prefix, str(Path.home())} - {"/", "/usr", "/root"}
    found = []
    for path in folder.rglob("*"):
        if path.is_file():
            content = path.read_bytes()
            # Of its own build, a Python program tells where that was; nothing reads it.
            if b"\0" not in content[:8192] and any(each.encode() in content for each in telling):
                found.append(str(path))
    return found


def planted_instead_of(module: Path) -> Path:
    """Lay a compiled file beside a module, such that Python runs it without looking at that.

    It ends the process with code 66.
    """
    evil, planted = module.with_name("evil.py"), importlib.util.cache_from_source(str(module))
    evil.write_text("import os\nos._exit(66)\n")
    unchecked = py_compile.PycInvalidationMode.UNCHECKED_HASH
    py_compile.compile(str(evil), planted, doraise=True, invalidation_mode=unchecked)
    evil.unlink()
    return Path(planted)
