"""Errors: one tree, one line each."""

from __future__ import annotations

import inspect
import string
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_restore import errors
from live_restore.errors import LiveRestoreError, UsageError, one_line

TREE = [
    value
    for value in vars(errors).values()
    if inspect.isclass(value) and issubclass(value, LiveRestoreError)
]


def test_all_names_what_is_public() -> None:
    public = {
        name
        for name, value in vars(errors).items()
        if getattr(value, "__module__", "") == errors.__name__ and not name.startswith("_")
    }
    assert set(errors.__all__) == public
    assert errors.__all__ == sorted(errors.__all__)


def test_the_drawn_tree_is_the_tree() -> None:
    drawn: dict[str, str] = {}
    parents = ["LiveRestoreError"]
    for line in (errors.__doc__ or "").splitlines():
        name = next((w for w in line.split() if w.endswith("Error") and "──" in line), None)
        if name:
            depth = line.index(name) // 4 - 1
            parents[depth:] = [name]
            drawn[name] = parents[depth - 1]
    real = {c.__name__: c.__mro__[1].__name__ for c in TREE if c is not LiveRestoreError}
    assert drawn == real


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_every_error_says_which_file_what_and_what_to_do(kind: type[LiveRestoreError]) -> None:
    error = kind("is damaged", Path("a.tif"), "copy it again")
    assert str(error) == "a.tif: is damaged; copy it again"
    assert error.reason == "is damaged; copy it again"
    assert str(kind("is damaged")) == "is damaged"
    assert kind.exit_code == (2 if issubclass(kind, UsageError) else 1)


@given(st.text())
def test_one_line_is_one_printable_line(text: str) -> None:
    line = one_line(text)
    assert line.isprintable()
    assert len(line.splitlines()) <= 1
    assert str(LiveRestoreError(text, text, text)).isprintable()


@given(st.text(alphabet=string.ascii_letters + string.digits + " äöüµ["))
def test_one_line_leaves_ordinary_text_alone(text: str) -> None:
    assert one_line(text) == text


def test_one_line_escapes_what_a_terminal_would_obey() -> None:
    assert one_line("a\nb\x1b[2J\udcff\u2028") == "a\\nb\\x1b[2J\\udcff\\u2028"
