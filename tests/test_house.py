"""The house: its layers hold, and would not let an arrow upwards pass."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
SOURCES = [*(ROOT / "live_restore").rglob("*.py"), *(ROOT / "export").rglob("*.py")]
MOST_LINES = 400
MOST_METHODS = 15
MOST_ATTRIBUTES = 12
REASON = "Large because"
"""How a docstring begins the sentence that says why a file or class is larger than that."""
PACKAGES = [
    folder.name
    for folder in sorted((ROOT / "live_restore").iterdir())
    if (folder / "__init__.py").exists()
]


def layers() -> list[list[str]]:
    """Return the rooms of each floor, the highest first, as pyproject.toml has them."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (contract,) = [
        each
        for each in settings["tool"]["importlinter"]["contracts"]
        if each.get("containers") == ["live_restore"]
    ]
    assert contract["exhaustive"] is True
    return [[room.strip() for room in floor.split("|")] for floor in contract["layers"]]


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run import-linter on the tree in ``folder``, and on no other."""
    probe = (
        "import sys; sys.path[:0] = sys.argv[1:]; sys.argv = ['lint-imports']; "
        "from importlinter.cli import lint_imports_command; lint_imports_command()"
    )
    return subprocess.run(
        [sys.executable, "-c", probe, str(folder), str(folder / "export")],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("house")
    no_models = shutil.ignore_patterns("*.onnx", "__pycache__")
    for name in ("live_restore", "export"):
        shutil.copytree(ROOT / name, folder / name, ignore=no_models)
    shutil.copyfile(ROOT / "pyproject.toml", folder / "pyproject.toml")
    return folder


def test_no_package_imports_one_above_it() -> None:
    done = lint(ROOT)
    assert done.returncode == 0, done.stdout


def test_a_new_file_in_any_package_that_imports_upwards_is_refused(copy: Path) -> None:
    floors = layers()
    arrows = []
    for number, rooms in enumerate(floors[1:], 1):
        above = floors[number - 1][0]
        for room in rooms:
            if room in PACKAGES:
                intruder = copy / "live_restore" / room / "new_file.py"
                intruder.write_text(f"import live_restore.{above}\n", encoding="utf-8")
                arrows.append(f"live_restore.{room}.new_file -> live_restore.{above}")
    assert len(arrows) >= 12
    done = lint(copy)
    assert done.returncode == 1, done.stdout
    assert [arrow for arrow in arrows if arrow not in done.stdout] == []


def test_a_new_package_without_a_floor_is_refused(copy: Path) -> None:
    new = copy / "live_restore" / "lobby"
    new.mkdir()
    (new / "__init__.py").write_text('"""A room on no floor."""\n', encoding="utf-8")
    done = lint(copy)
    assert done.returncode == 1
    assert "lobby" in done.stdout


def attributes_of(node: ast.ClassDef) -> set[str]:
    """Return the names that methods of a class set on ``self``."""
    return {
        each.attr
        for each in ast.walk(node)
        if isinstance(each, ast.Attribute)
        and isinstance(each.ctx, ast.Store)
        and isinstance(each.value, ast.Name)
        and each.value.id == "self"
    }


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_or_class_grows_without_a_reason(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    if text.count("\n") > MOST_LINES:
        assert REASON in (ast.get_docstring(tree) or ""), f"{path} has over {MOST_LINES} lines"
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef):
            methods = [each for each in node.body if isinstance(each, ast.FunctionDef)]
            if len(methods) > MOST_METHODS or len(attributes_of(node)) > MOST_ATTRIBUTES:
                assert REASON in (ast.get_docstring(node) or ""), f"{node.name} carries too much"


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
