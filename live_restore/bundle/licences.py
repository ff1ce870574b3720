"""The licences of what is in a bundle: their texts in one place, and a table of them."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path

_TEXT = re.compile(r"(LICEN[CS]E|COPYING|NOTICE|COPYRIGHT|ThirdParty)", re.IGNORECASE)
_ANSWER_S = 10.0
_LONGEST = 100


@dataclass(frozen=True)
class Licence:
    """Of one part.

    Parameters
    ----------
    name, version
        Of the part.
    declared
        What its maker says in a word, an SPDX expression where it is one; may be empty.
    texts
        How many files say it at length.
    """

    name: str
    version: str
    declared: str
    texts: int


def collect(site_packages: Path, into: Path) -> list[Licence]:
    """Copy the licence texts of installed packages, a folder each, and return what they declare."""
    found = []
    for distribution in distributions(path=[str(site_packages)]):
        name, version = distribution.metadata["Name"], distribution.version
        texts = list(_texts(distribution, site_packages))
        for number, text in enumerate(texts, 1):
            target = into / f"{name}-{version}" / text.name
            if target.exists():
                target = target.with_name(f"{number}-{text.name}")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(text, target)
        found.append(Licence(name, version, declared(distribution), len(texts)))
    return sorted(found, key=lambda each: each.name.lower())


def declared(distribution: Distribution) -> str:
    """Return the licence that a package's metadata name, in one line."""
    metadata = distribution.metadata
    if "License-Expression" in metadata:
        return metadata["License-Expression"]
    classified = [
        line.rpartition(" :: ")[2]
        for line in metadata.get_all("Classifier") or []
        if line.startswith("License :: ")
    ]
    free = metadata["License"].strip() if "License" in metadata else ""
    # Some paste the whole text there.
    if free and "\n" not in free and len(free) <= _LONGEST:
        return free
    return " and ".join(classified)


def of_libraries(libraries: Sequence[Path], into: Path) -> list[Licence]:
    """Copy the licences of libraries of this computer's system, as its packages have them."""
    found = []
    for library in libraries:
        if library.name.startswith("libpython"):
            continue  # Python's own
        package = _package_of(library)
        text = Path("/usr/share/doc") / package / "copyright" if package else None
        if text is not None and text.is_file():
            target = into / library.name / "copyright"
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(text, target)
            found.append(Licence(library.name, "", f"see {library.name}/copyright", 1))
        else:
            found.append(Licence(library.name, "", "", 0))
    return found


def table(licences: Sequence[Licence]) -> str:
    """Return the list of all parts, for people."""
    lines = ["What is in this bundle, the licence that its maker declares, and its texts here:", ""]
    for each in licences:
        texts = f"{each.texts} text{'' if each.texts == 1 else 's'}"
        lines.append(f"{_named(each)}: {each.declared or 'not declared'}; {texts}")
    if closed := [each for each in licences if "proprietary" in each.declared.lower()]:
        warning = "Not free software; read their makers' terms before you pass this bundle on:"
        lines += ["", warning, "", *map(_named, closed)]
    return "\n".join(lines) + "\n"


def _named(licence: Licence) -> str:
    return f"{licence.name} {licence.version}".strip()


def _texts(distribution: Distribution, site_packages: Path) -> Iterator[Path]:
    for file in distribution.files or []:
        # Beside the metadata; some lay them into the package itself.
        beside = file.parts[0].endswith(".dist-info")
        named = _TEXT.match(file.name) or (beside and "licenses" in file.parts)
        if named and (beside or len(file.parts) == 2) and file.suffix not in (".py", ".pyi"):
            path = site_packages / file
            if path.is_file():
                yield path


def _package_of(library: Path) -> str:
    """Return the Debian package that a library came in; empty where nobody knows."""
    # It knows libraries by the names they had before /lib became a link to /usr/lib.
    path = str(library.resolve()).removeprefix("/usr")
    try:
        asked = subprocess.run(
            ["dpkg-query", "--search", f"*{path}"],  # noqa: S607 - where it lies differs
            capture_output=True, text=True, errors="replace", timeout=_ANSWER_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return asked.stdout.partition(":")[0] if asked.returncode == 0 else ""
