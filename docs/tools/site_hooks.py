"""MkDocs hooks: what the code already says is taken from the code when the site is built.

A page holds a line ``<!-- from the code: NAME -->``; :data:`GENERATED` says what replaces it. The
page of changes is made of ``CHANGELOG.md`` and the fragments in ``changes/``.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import inspect
import os
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from live_restore import errors

ROOT = Path(__file__).resolve().parents[2]

_MARK = re.compile(r"^<!-- from the code: ([a-z-]+) -->$", re.MULTILINE)
_HELP_WIDTH = "80"


def on_page_markdown(markdown: str, **_: object) -> str:
    """Replace every mark on a page; an unknown name ends the build."""
    return filled(markdown)


def on_files(files: Any, config: Any) -> Any:
    """Add the page of changes, which GitHub shows where it lies."""
    from mkdocs.structure.files import File

    files.append(File.generated(config, "changes.md", content=changes()))
    return files


def filled(markdown: str) -> str:
    """Return a page with its marks replaced."""
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)


def settings() -> str:
    """Return every setting with its default, meaning and type, from the schema."""
    from live_restore.settings.model import VARIABLE_PREFIX, Settings

    schema = Settings.model_json_schema(by_alias=False)
    parts = []
    for section, about in schema["properties"].items():
        many = about.get("type") == "array"
        found = _resolved(about["items"] if many else about, schema)
        title = f"[[{section}]]" if many else f"[{section}]"
        parts.append(f"## `{title}` {{#{section}}}\n\n{found.get('description', '')}\n")
        if not many:
            parts.append(f"Variables: `{VARIABLE_PREFIX}{section.upper()}__KEY`.\n")
        parts.append("| key | default | what |\n|---|---|---|")
        for key, value in found["properties"].items():
            default = "must be given"
            if key not in found.get("required", ()):
                default = _toml(value.get("default"))
            what = value.get("description", value.get("title", "")).replace("|", "\\|")
            parts.append(f"| `{key}` | {default} | {what}. *{_type(value, schema)}* |")
        parts.append("")
    return "\n".join(parts)


def _resolved(value: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    for option in (value, *value.get("anyOf", ())):
        if "$ref" in option:
            found: dict[str, Any] = schema["$defs"][option["$ref"].rpartition("/")[2]]
            return found
    return value


def _type(value: dict[str, Any], schema: dict[str, Any]) -> str:
    value = value if "anyOf" in value else _resolved(value, schema)
    if "enum" in value:
        return " or ".join(f'`"{choice}"`' for choice in value["enum"])
    if "anyOf" in value:
        return " or ".join(_type(o, schema) for o in value["anyOf"] if o.get("type") != "null")
    if value.get("type") == "array":
        inner = value.get("prefixItems")
        if inner is None:
            return f"list: {_type(value['items'], schema)}"
        return f"list of {len(inner)}: {_type(inner[0], schema)}"
    names = {"integer": "whole number", "boolean": "true or false", "string": "text"}
    name = names.get(value.get("type", ""), value.get("type", "text"))
    bounds = [
        f"{word} {value[key]:g}"
        for key, word in (
            ("exclusiveMinimum", "above"),
            ("minimum", "from"),
            ("maximum", "to"),
            ("exclusiveMaximum", "below"),
        )
        if key in value
    ]
    return " ".join([name, *bounds])


def _toml(value: object) -> str:
    if value is None:
        return "unset"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, str):
        return f'`"{value}"`'
    if isinstance(value, (list, tuple)):
        return "`[" + ", ".join(_toml(item).strip("`") for item in value) + "]`"
    return f"`{value}`"


def commands() -> str:
    """Return the help of every command of both programs."""
    from live_restore_export.cli.main import build_parser as build_workshop_parser

    from live_restore.cli.main import build_parser

    os.environ["COLUMNS"] = _HELP_WIDTH  # else as wide as the terminal of whoever builds
    parts = []
    for build in (build_parser, build_workshop_parser):
        parser = build()
        parts.append(f"## {parser.prog}\n\n{_help(parser)}\n")
        parts += [f"### {command.prog}\n\n{_help(command)}\n" for command in _commands(parser)]
    return "\n".join(parts)


def _commands(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.values()


def _help(parser: argparse.ArgumentParser) -> str:
    if sys.version_info >= (3, 14):
        parser.color = False
    return f"```text\n{parser.format_help().rstrip()}\n```"


def _drawing(package: str, about: str) -> str:
    """Return the drawing that a docstring in a package, or a module, has of something."""
    module = importlib.import_module(package)
    inside = pkgutil.iter_modules(getattr(module, "__path__", ()), f"{package}.")
    for name in (package, *sorted(found.name for found in inside)):
        text = inspect.getdoc(importlib.import_module(name)) or ""
        for drawing in re.findall(r"::\n\n((?: {4}.*\n|\n)+)", f"{text}\n"):
            if about in drawing:
                return f"```text\n{inspect.cleandoc(drawing)}\n```"
    raise ValueError(f"nothing in {package} draws {about}")


def python() -> str:
    """Return what ``live_restore`` offers to scripts, for mkdocstrings to describe."""
    face = importlib.import_module("live_restore")
    parts = []
    for name in face.__all__:
        thing = getattr(face, name)
        if inspect.ismodule(thing):
            parts.append(f"::: {thing.__name__}")
        elif hasattr(thing, "__qualname__"):
            parts.append(f"::: {thing.__module__}.{thing.__qualname__}")
    return "\n\n".join(parts)


def messages() -> str:
    """Return every message that the daemon can end a file or a command with, and its remedy."""
    rows: dict[str, dict[str, str]] = {}
    for path in sorted((ROOT / "live_restore").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                told = [_words(value) for value in node.args]
                told += [_words(k.value) for k in node.keywords if k.arg == "remedy"]
                is_error = node.func.id in errors.__all__ and node.func.id.endswith("Error")
                if is_error and told and told[0].strip(".:;() "):
                    rows.setdefault(node.func.id, {})[told[0]] = told[2] if len(told) > 2 else ""
    parts = []
    for name in sorted(rows, key=errors.__all__.index):
        about = (inspect.getdoc(getattr(errors, name)) or "").splitlines()[0]
        parts.append(f"## {name}\n\n{about}\n\n| message | what to do next |\n|---|---|")
        parts += [f"| {what} | {remedy} |" for what, remedy in sorted(rows[name].items())]
        parts.append("")
    return "\n".join(parts)


def _words(node: ast.expr) -> str:
    """Return the text of a literal, "..." for what is only known when it happens."""
    if isinstance(node, ast.Constant):
        text = node.value if isinstance(node.value, str) else ""
    elif isinstance(node, ast.JoinedStr):
        text = "".join(_words(part) if isinstance(part, ast.Constant) else "..."
                       for part in node.values)  # fmt: skip
    elif isinstance(node, ast.BinOp):
        text = _words(node.left) + _words(node.right)
    else:
        return ""
    return text.replace("|", "\\|").replace("<", "&lt;").replace("*", "\\*").replace("_", "\\_")


def changes() -> str:
    """Return the changelog, what is not released yet first."""
    text = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    kinds: dict[str, list[str]] = {}
    for path in sorted((ROOT / "changes").glob("*.*.md")):
        kinds.setdefault(path.name.split(".")[1], []).append(path.read_text(encoding="utf-8"))
    unreleased = "".join(
        f"\n### {kind.capitalize()}\n\n{''.join(kinds[kind])}" for kind in sorted(kinds)
    )
    if unreleased:
        text = text.replace("\n## [", f"\n## Not released yet\n{unreleased}\n## [", 1)
    return re.sub(r"\]\(docs/", "](", text)


GENERATED: dict[str, Callable[[], str]] = {
    "settings": settings,
    "commands": commands,
    "python": python,
    "journal-states": lambda: _drawing("live_restore.journal", "arriving"),
    "errors": lambda: _drawing("live_restore.errors", "UsageError"),
    "messages": messages,
}
