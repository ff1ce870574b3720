"""Names of results: contract, collisions and odd names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_restore.files.naming import (
    bare_name,
    candidates,
    output_folder_name,
    report_path,
    result_token,
)
from tests.support.systems import WINDOWS

TEMPLATE = "{folder}/restored/{name}.ome.tif"
D = Path("/data/D")


def test_the_contract() -> None:
    (plain, _), (own, token) = candidates(D / "name.tif", TEMPLATE, "fast", "recipe")
    assert plain == D / "restored" / "name.ome.tif"
    assert report_path(plain) == D / "restored" / "name.json"
    assert own == D / "restored" / f"name.fast-{token[:8]}.ome.tif"


@pytest.mark.parametrize(
    ("raw", "bare"),
    [
        ("a.tif", "a"), ("a.TIFF", "a"), ("a.ome.tif", "a"), ("a.OME.btf", "a"), ("a.tf8", "a"),
        ("a.b.tif", "a.b"), ("a.tif.tif", "a.tif"), (".tif", ".tif"),
        ("ä {x} [1].tif", "ä {x} [1]"),
        ("a\nb.tif", "a\nb"), ("a.ome.tif.tif", "a.ome.tif"), ("a.zarr", "a.zarr"),
    ],
)  # fmt: skip
def test_endings_of_the_format_go(raw: str, bare: str) -> None:
    assert bare_name(Path(raw)) == bare


_SEPARATORS = "/\\:\0" if WINDOWS else "/\0"
NAMES = st.text(
    st.characters(blacklist_categories=("Cs",), blacklist_characters=_SEPARATORS),
    min_size=1,
    max_size=30,
).filter(lambda name: name not in (".", ".."))


@given(NAMES)
def test_any_name_stays_in_its_folder(name: str) -> None:
    for path, _ in candidates(D / (name + ".tif"), TEMPLATE, "fast", "recipe"):
        assert path.parent == D / "restored"
        assert path.name.endswith(".ome.tif")
        assert report_path(path).parent == path.parent


def test_a_token_is_for_one_file_and_one_recipe() -> None:
    out = D / "restored"
    tokens = {
        result_token(D / name, out, recipe) for name in ("a.tif", "a.ome.tif") for recipe in "12"
    }
    assert len(tokens) == 4


def test_a_moved_folder_keeps_its_tokens() -> None:
    other = Path("/elsewhere/D")
    assert result_token(D / "a.tif", D / "restored", "1") == result_token(
        other / "a.tif", other / "restored", "1"
    )


@pytest.mark.skipif(os.name != "posix", reason="names are always text there")
def test_names_need_not_be_text() -> None:
    paths = [p for p, _ in candidates(D / os.fsdecode(b"\xff.tif"), TEMPLATE, "fast", "1")]
    assert os.fsencode(paths[0].name) == b"\xff.ome.tif"


@pytest.mark.parametrize(
    ("template", "folder"),
    [
        (TEMPLATE, "restored"),
        ("{folder}/out/deep/{name}.ome.tif", "out"),
        ("{folder}/{name}_r.ome.tif", None),
        ("{folder}/{name}/r.ome.tif", None),
        ("/elsewhere/{name}.ome.tif", None),
        ("{folder}_r/{name}.ome.tif", None),
    ],
)
def test_the_folder_that_is_never_input(template: str, folder: str | None) -> None:
    assert output_folder_name(template) == folder
