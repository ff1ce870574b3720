"""What a bundle says about itself: its lock, licences, bill of materials and record."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from live_restore._version import __version__
from live_restore.bundle import licences
from live_restore.bundle.hashes import sha256_of
from live_restore.bundle.packages import Pin, write_lock
from live_restore.bundle.python import Placed, PythonSource
from live_restore.bundle.sbom import Component, sbom
from live_restore.installation import BUNDLE_RECORD


def describe(
    program: Path,
    choices: Mapping[str, object],
    source: PythonSource,
    placed: Placed,
    wheels: Sequence[Path],
) -> None:
    """Write lock, licences, bill of materials and record into a program folder.

    Parameters
    ----------
    program
        Where packages and Python are by now.
    choices
        What was asked for, for the record.
    source, placed
        Where its Python came from, and how it was put there.
    wheels
        The files that its packages were unpacked from.
    """
    texts = program / "licences"
    texts.mkdir()
    found = licences.collect(placed.packages, texts)
    libraries = licences.of_libraries(placed.libraries, texts)
    python = licences.Licence("Python", ".".join(map(str, source.version)), "PSF-2.0", 0)
    for path in (program / "python" / "LICENSE.txt", placed.packages.parent / "LICENSE.txt"):
        if path.is_file():
            (texts / "Python").mkdir()
            shutil.copyfile(path, texts / "Python" / path.name)
            python = licences.Licence(python.name, python.version, python.declared, 1)
            break
    (texts / "index.txt").write_text(
        licences.table([python, *found, *libraries]), "utf-8", newline="\n"
    )
    pins = [_pin_of(wheel) for wheel in wheels]
    (program / "requirements.lock").write_text(write_lock(pins), "utf-8", newline="\n")
    by_name = {_plain(pin.name): pin for pin in pins}
    components = [
        Component(each.name, each.version, each.declared, by_name[_plain(each.name)].hashes[0])
        for each in found
        if _plain(each.name) in by_name
    ]
    components.append(
        Component(python.name, python.version, python.declared, source.sha256, package=False)
    )
    components += [Component(each.name, "", each.declared, package=False) for each in libraries]
    (program / "sbom.cdx.json").write_text(sbom(__version__, components), "utf-8", newline="\n")
    record = {
        "live-restore": __version__,
        **choices,
        "python": python.version,
        "python_sha256": source.sha256 or None,
        "needs": placed.needs,
    }
    (program / BUNDLE_RECORD).write_text(json.dumps(record, indent=1) + "\n", "utf-8", newline="\n")


def _pin_of(wheel: Path) -> Pin:
    name, version = wheel.name.split("-")[:2]
    return Pin(name.replace("_", "-"), version, (sha256_of(wheel),))


def _plain(name: str) -> str:
    return name.replace("_", "-").replace(".", "-").lower()
