"""What the pages name is there: files, functions, commands, settings, keys of the report."""

from __future__ import annotations

import ast
import functools
import importlib
import json
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from live_restore_export.cli.main import build_parser as build_workshop_parser
from pydantic import BaseModel

from live_restore.cli.main import build_parser
from live_restore.journal.states import State
from live_restore.outputs.output import ResultRequest
from live_restore.outputs.report import Report
from live_restore.settings.folders import folders_in, layers_for
from live_restore.settings.layers import Layer, merged
from live_restore.settings.model import Settings
from live_restore.testing.results import finished_stack
from tests.support.fakes import a_dataset, fake_restorer

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "changes" / "README.md",
    *sorted(DOCS.rglob("*.md")),
]
PARSERS = {"live-restore": build_parser, "live-restore-export": build_workshop_parser}
# Tables of a training run and of a model's card, which other tests read.
NOT_SETTINGS = {"seed", "data", "training", "card", "simulation", "name"}


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def blocks(language: str) -> Iterator[tuple[Path, str]]:
    for page in PAGES:
        for block in re.findall(
            rf"^ *```{language}\n(.+?)^ *```", text_of(page), re.MULTILINE | re.DOTALL
        ):
            yield page, "\n".join(line.strip() for line in block.splitlines())


def command_lines() -> list[tuple[str, list[str]]]:
    """Every line of a shell block that calls one of the programs, without what leads to it."""
    found = []
    for language in ("sh", "powershell"):
        for _, block in blocks(language):
            for line in block.replace("\\\n", " ").splitlines():
                for part in re.split(r"&&|;", line):
                    words = shlex.split(part.replace("\\", "/"), comments=True)
                    program = words[0].rpartition("/")[2] if words else ""
                    if program in PARSERS:
                        found.append((program, words[1:]))
    return found


def test_every_command_line_parses() -> None:
    lines = command_lines()
    assert len(lines) > 30
    for program, words in lines:
        PARSERS[program]().parse_args(words)


def test_every_command_in_running_text_is_one() -> None:
    commands = {
        program: {
            name
            for action in build()._actions
            if isinstance(action.choices, dict)
            for name in action.choices
        }
        for program, build in PARSERS.items()
    }
    named = [
        match
        for page in PAGES
        for match in re.findall(r"`(live-restore(?:-export)?) ([a-z]+)", text_of(page))
    ]
    assert len(named) > 40
    for program, command in named:
        assert command in commands[program], f"{program} {command}"


def test_every_python_block_is_python() -> None:
    found = list(blocks("python"))
    assert found
    for page in PAGES:
        for block in re.findall(r"(?ms)^```python\n(.+?)^```", text_of(page)):
            ast.parse(block)


def test_every_toml_block_is_valid() -> None:
    found = [(page, tomllib.loads(block)) for page, block in blocks("toml")]
    settings = [values for _, values in found if not NOT_SETTINGS & values.keys()]
    assert len(settings) >= 5
    for values in settings:
        layers = [Layer("a page", values)]
        for folder in (None, *(each.folder for each in folders_in(layers))):
            Settings.model_validate(merged(layers_for(layers, folder)))
    runs = [values for _, values in found if "data" in values]
    for values in runs:
        from live_restore_export.training.config import TrainConfig  # with torch: 2 s

        TrainConfig.model_validate(values)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"```.+?```", "", text_of(page), flags=re.DOTALL)
    for target, _, anchor in re.findall(r"\]\((?!https?:)([^)#]*)((?:#)([^)]*))?\)", text):
        other = page if not target else page.parent / target
        assert other.exists(), target
        generated = "<!-- from the code" in text_of(other) if other.suffix == ".md" else True
        if anchor and not generated:
            assert anchor in {
                _slug(h) for h in re.findall(r"^#+ (.+)$", text_of(other), re.MULTILINE)
            }


def _slug(heading: str) -> str:
    kept = re.sub(r"[^\w\s-]", "", re.sub(r"\[(.+?)\]\(.+?\)", r"\1", heading)).strip().lower()
    return re.sub(r"[-\s]+", "-", kept)


def test_every_package_has_its_row_in_the_architecture() -> None:
    page = text_of(DOCS / "explanation" / "architecture.md")
    rows = {name for row in re.findall(r"(?m)^\| (`[^|]+) \|", page) for name in row.split("`")}
    packages = {path.parent.name for path in (ROOT / "live_restore").glob("*/__init__.py")}
    assert packages <= rows


SOURCES = ("", "live_restore", "export/live_restore_export", "tests", "benchmarks", "examples")
# A decision names the files of its day.
LIVING = [page for page in PAGES if page.parent.name != "decisions" and page.suffix == ".md"]


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_files_that_a_page_names_are_there(page: Path) -> None:
    text = text_of(page)
    names = set(re.findall(r"[`\s(]((?:[\w.]+/)*\w+\.(?:py|sh))\b", text))
    names |= {f"{n.replace('.', '/')}.py" for n in re.findall(r"-m (tests\.[\w.]+)", text)}
    for name in names:
        assert any((ROOT / root / name).is_file() for root in SOURCES) or (
            "/" not in name and any(list((ROOT / root).rglob(name)) for root in SOURCES[1:])
        ), name


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_tests_that_a_page_names_are_there(page: Path) -> None:
    for name in set(re.findall(r"`(test_\w+)`", text_of(page))):
        assert name in known_tests(), name


@functools.cache
def known_tests() -> frozenset[str]:
    """The name of every test function."""
    return frozenset(
        name
        for path in (ROOT / "tests").rglob("test_*.py")
        for name in re.findall(r"def (test_\w+)", text_of(path))
    )


@pytest.mark.parametrize("page", LIVING, ids=lambda page: page.name)
def test_functions_and_settings_that_a_page_names_are_there(page: Path) -> None:
    rooms = {path.stem for path in (ROOT / "live_restore").iterdir()}
    names = re.findall(r"`([a-z_]+(?:\.\w+)+)(?: = [^`]+)?`", text_of(page))
    for name in names:
        room, _, rest = name.partition(".")
        if name.endswith((".py", ".jsonl")):  # a file
            continue
        if room in Settings.model_fields and "." not in rest:
            assert rest in _section(room).model_fields or _exists(f"live_restore.{name}"), name
        elif room in rooms:
            assert _exists(f"live_restore.{name}"), name


def _section(name: str) -> type[BaseModel]:
    annotation: Any = Settings.model_fields[name].annotation
    kinds = (annotation, *get_args(annotation))
    return next(k for k in kinds if isinstance(k, type) and issubclass(k, BaseModel))


def test_the_way_of_one_stack_names_functions() -> None:
    page = text_of(DOCS / "explanation" / "one-stack.md")
    assert len(re.findall(r"`[a-z_]+(?:\.\w+)+`", page)) > 40


def _exists(name: str) -> bool:
    """Whether a dotted name leads from a module through its attributes to something."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        try:
            found: Any = importlib.import_module(".".join(parts[:length]))
        except ModuleNotFoundError:
            continue
        for part in parts[length:]:
            if not hasattr(found, part) and part not in getattr(found, "__annotations__", {}):
                return False
            found = getattr(found, part, None)
        return True
    return False


def test_a_name_that_is_gone_is_found() -> None:
    assert _exists("live_restore.journal.journal.Journal.lease")
    assert not _exists("live_restore.journal.journal.Journal.leese")
    assert not _exists("live_restore.journal.jurnal.Journal")


def test_every_state_of_the_journal_is_explained() -> None:
    page = text_of(DOCS / "reference" / "journal.md")
    assert set(re.findall(r"(?m)^\| `(\w+)` \|", page)) == {state.value for state in State}


def test_every_key_of_a_report_is_listed() -> None:
    listed = set(re.findall(r"`([a-z0-9_.]+)`", text_of(DOCS / "reference" / "report.md")))
    restorer = fake_restorer(lambda tile: tile - 100)
    raw = np.random.default_rng(2).integers(10, 200, (6, 32, 32)).astype("uint16")
    dataset = a_dataset(channels=2)
    first, second = dataset.indices()[:2]
    request = ResultRequest(dataset, "{folder}/{name}.ome.tif", "fake", "recipe", "settings")
    report = Report(request, "raw.ome.tif")
    report.add(finished_stack(raw, restorer.restore(raw), restorer.model, index=first))
    report.add(finished_stack(raw, index=second, reason="no model"))
    written = json.loads(report.to_json(write=1.0, publish=1.0, delay=1.0))
    written["models"] = list(written["models"].values())
    assert _keys(written) <= listed
    # Only under circumstances that the fake does not have.
    assert {"given_back", "reduced_because"} <= listed


def _keys(value: object) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_keys(each) for each in value.values()))
    if isinstance(value, list):
        return set().union(*(_keys(each) for each in value))
    return set()


def test_every_decision_is_in_the_index() -> None:
    index = text_of(DOCS / "decisions" / "index.md")
    decisions = sorted((DOCS / "decisions").glob("0*.md"))
    assert [path.name[:4] for path in decisions] == [
        f"{number:04d}" for number in range(1, len(decisions) + 1)
    ]
    for path in decisions:
        title, _, status = text_of(path).splitlines()[:3]
        found = re.fullmatch(r"Status: (\w+), (\d{4}-\d\d-\d\d)", status)
        assert found is not None, path.name
        assert title.startswith(f"# {path.name[:4]}. ")
        row = f"| [{path.name[:4]}]({path.name}) | {title[8:]} | {found[1]} | {found[2]} |"
        assert row in index.splitlines()


def test_fragments_of_the_changelog_have_their_form() -> None:
    kinds = {"added", "changed", "deprecated", "removed", "fixed", "security"}
    for path in (ROOT / "changes").iterdir():
        if path.name == "README.md":
            continue
        assert re.fullmatch(r"[a-z0-9-]+\.([a-z]+)\.md", path.name), path.name
        assert path.name.split(".")[1] in kinds, path.name
        assert all(line.startswith(("- ", "  ")) for line in text_of(path).splitlines()), path.name
