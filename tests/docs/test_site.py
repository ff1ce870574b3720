"""The site: all that is taken from the code is there, and built pages ask nobody for anything."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from live_restore import errors
from live_restore.settings.model import Settings

ROOT = Path(__file__).resolve().parents[2]


def tool(name: str) -> ModuleType:
    path = ROOT / "docs" / "tools" / f"{name}.py"
    found = importlib.util.spec_from_file_location(name, path)
    assert found is not None
    assert found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_picture_of_the_packages_is_current() -> None:
    draw = tool("draw_architecture")
    current = draw.PICTURE.read_text(encoding="utf-8") == draw.draw()
    assert current, "run: python docs/tools/draw_architecture.py"


def test_the_picture_shows_every_package_and_no_arrow_upwards() -> None:
    draw = tool("draw_architecture")
    rooms = draw.imports()
    packages = {path.parent.name for path in (ROOT / "live_restore").glob("*/__init__.py")}
    assert packages <= rooms.keys()
    floor = draw.floors(rooms)
    assert all(floor[room] > floor[other] for room in rooms for other in rooms[room])


def test_packages_that_import_each_other_are_refused() -> None:
    draw = tool("draw_architecture")
    with pytest.raises(ValueError, match="import each other: above, below"):
        draw.floors({"above": {"below"}, "below": {"above"}, "floor": set()})


def test_every_setting_is_on_the_page_of_settings() -> None:
    page = tool("site_hooks").settings()
    for section, field in Settings.model_fields.items():
        assert re.search(rf"^## `\[+{section}\]+`", page, re.MULTILINE), section
        for key in getattr(field.annotation, "model_fields", ()):
            assert f"| `{key}` |" in page, key


def test_a_setting_is_described_with_default_and_type() -> None:
    page = tool("site_hooks").settings()
    assert "| `quiet_s` | `2.0` |" in page
    assert "*number above 0* |" in page


def test_every_command_is_on_the_page_of_commands() -> None:
    page = tool("site_hooks").commands()
    for command in ("live-restore watch", "live-restore doctor", "live-restore-export train"):
        assert f"### {command}\n" in page


def test_messages_carry_their_remedies() -> None:
    page = tool("site_hooks").messages()
    row = "| is of no format that live-restore reads | give it a TIFF stack |"
    assert row in page.splitlines()
    for section in re.findall(r"^## (.+)$", page, re.MULTILINE):
        assert issubclass(getattr(errors, section), errors.LiveRestoreError)


def test_every_mark_on_a_page_is_known() -> None:
    hooks = tool("site_hooks")
    marks = [
        mark
        for page in (ROOT / "docs").rglob("*.md")
        for mark in re.findall(r"<!-- from the code: (.+?) -->", page.read_text(encoding="utf-8"))
    ]
    assert sorted(marks) == sorted(hooks.GENERATED)
    for name in marks:
        assert hooks.GENERATED[name]().strip()


def test_the_changelog_begins_with_what_is_not_released() -> None:
    page = tool("site_hooks").changes()
    versions = re.findall(r"^## (.+)$", page, re.MULTILINE)
    fragments = list((ROOT / "changes").glob("*.*.md"))
    assert versions[0] == ("Not released yet" if fragments else "[0.1.0] - 2026-11-28")


@pytest.mark.slow
def test_the_built_site_asks_nobody_for_anything(tmp_path: Path) -> None:
    for package in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(package, reason="pip install 'live-restore[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-q", "-d", str(tmp_path / "site")],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    pages = list((tmp_path / "site").rglob("*.html"))
    assert len(pages) > 30
    for page in pages:
        html = page.read_text(encoding="utf-8")
        tags = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*>", html)
        foreign = [tag for tag in tags if re.search(r"(?:src|href)\s*=\s*[\"']?(https?:)?//", tag)]
        assert not foreign, page.name
    for sheet in (tmp_path / "site").rglob("*.css"):
        assert not re.search(r"url\([\"']?(https?:)?//", sheet.read_text(encoding="utf-8")), sheet
