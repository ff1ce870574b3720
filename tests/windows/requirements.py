"""Prints what the bed needs, from pyproject.toml.

python requirements.py PYPROJECT
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_EXTRAS = ("page", "zarr", "openvino", "alerts", "micromanager")
# Of the extras `test` and `export`; tests that need the others are not of the Windows part.
_TEST_TOOLS = (
    "httpx2", "hypothesis", "ome-types", "onnx", "playwright", "pytest", "pytest-timeout",
    "pytest-xdist", "xmlschema", "yaozarrs",
)  # fmt: skip
# numpy 2 needs functions of ucrtbase.dll that Wine 8 has not. The plain ONNX Runtime stands in for
# the GPU build, of which nothing can be used here. msvc-runtime: what Windows has of itself.
# pyjavaz: what the newer mmpycorex brings, which no wheels are made of.
_REPLACED = ("numpy", "onnxruntime", "onnxruntime-gpu")
_INSTEAD = ("numpy==1.26.4", "onnxruntime>=1.23", "msvc-runtime", "pyjavaz", "pywin32")


def main(pyproject: Path) -> None:
    """Print a requirement per line."""
    project = tomllib.loads(pyproject.read_text("utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *(line for name in _EXTRAS for line in extras[name])]
    tools = [*extras["test"], *extras["export"]]
    wanted += [line for line in tools if _name(line) in _TEST_TOOLS]
    print("\n".join([line for line in wanted if _name(line) not in _REPLACED] + [*_INSTEAD]))


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9_.-]", requirement, maxsplit=1)[0].lower()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
