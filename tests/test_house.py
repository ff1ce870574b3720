"""House rules that no linter knows."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
STREAMS = ("stdout", "stderr")


def _prints(tree: ast.AST) -> list[int]:
    """Return the lines that write to the terminal, or get hold of it."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            if node.func.id in ("print", "pprint", "input"):
                found.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "rich":
            found.append(node.lineno)
        elif isinstance(node, ast.Import):
            if any(alias.name.split(".")[0] == "rich" for alias in node.names):
                found.append(node.lineno)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Load):
            owner = node.value
            if (
                isinstance(owner, ast.Name)
                and owner.id == "sys"
                and node.attr.strip("_") in STREAMS
            ):
                found.append(node.lineno)
        elif isinstance(node, ast.ImportFrom) and node.module == "sys":
            found += [node.lineno for each in node.names if each.name.strip("_") in STREAMS]
    return found


def test_only_cli_prints() -> None:
    package = ROOT / "live_restore"
    spoken = {
        path.relative_to(package).as_posix(): lines
        for path in package.rglob("*.py")
        if (lines := _prints(ast.parse(path.read_text(encoding="utf-8"))))
    }
    elsewhere = {name: lines for name, lines in spoken.items() if not name.startswith("cli/")}
    # Scripts have no command line: all that their user sees goes through one file.
    assert set(elsewhere) == {"hooks/console.py"}, elsewhere


@pytest.mark.parametrize(
    "line",
    [
        "print('x')",
        "from rich.console import Console",
        "import rich",
        "import sys; sys.stderr.write('x')",
        "import sys; sys.__stdout__.flush()",
        "import sys; write(file=sys.stdout)",
        "from sys import stderr",
    ],
)
def test_a_line_that_prints_is_found(line: str) -> None:
    assert _prints(ast.parse(line)) == [1]
