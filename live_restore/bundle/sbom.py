"""What is in a bundle, for machines: a software bill of materials in CycloneDX 1.6 (pure)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote


@dataclass(frozen=True)
class Component:
    """One part of a bundle that somebody else made.

    Parameters
    ----------
    name, version
        As its maker has them; the version may be empty.
    licence
        An SPDX expression, or what else its maker declares; may be empty.
    sha256
        Of the file that it came in (hex); empty where it came in none.
    package
        Whether it is a Python package.
    """

    name: str
    version: str
    licence: str = ""
    sha256: str = ""
    package: bool = True

    @property
    def purl(self) -> str:
        """Its package URL."""
        kind = "pypi" if self.package else "generic"
        name = re.sub(r"[-_.]+", "-", self.name).lower() if self.package else self.name
        version = f"@{quote(self.version, safe='')}" if self.version else ""
        return f"pkg:{kind}/{quote(name, safe='')}{version}"


def sbom(version: str, components: Sequence[Component]) -> str:
    """Return the bill of materials of live-restore ``version``, as JSON.

    It names no time and no computer: the same parts give the same text.
    """
    return (
        json.dumps(
            {
                "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
                "bomFormat": "CycloneDX",
                "specVersion": "1.6",
                "version": 1,
                "metadata": {
                    "component": _entry(Component("live-restore", version, "BSD-3-Clause"))
                    | {"type": "application"}
                },
                "components": [
                    _entry(each)
                    for each in sorted(components, key=lambda each: (each.purl, each.sha256))
                ],
            },
            indent=1,
        )
        + "\n"
    )


def _entry(component: Component) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": "library",
        "bom-ref": component.purl,
        "name": component.name,
        "purl": component.purl,
    }
    if component.version:
        entry["version"] = component.version
    if component.sha256:
        entry["hashes"] = [{"alg": "SHA-256", "content": component.sha256}]
    if component.licence:
        # Not every declaration is an expression, and a wrong one makes the whole file invalid.
        entry["licenses"] = [{"license": {"name": component.licence}}]
    return entry
