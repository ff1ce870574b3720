"""Whatever metadata and files are called, results stay where results go."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from live_restore.engine.one_shot import OneResult, OneShot
from live_restore.errors import LiveRestoreError
from live_restore.files.naming import bare_name, candidates
from live_restore.hooks.micromanager_window import usable_path
from live_restore.inference.model.card import ModelCard
from live_restore.settings.model import Settings
from live_restore.stack import StackIndex
from tests.fuzz.mutate import TEXTS
from tests.support.fakes import fake_shelf
from tests.support.mm_files import NdTiff, StackFile
from tests.support.small_runs import zarr_run

HOSTILE = [text for text in TEXTS if len(text) < 1000]
TEMPLATE = "{folder}/restored/{name}.ome.tif"


def everything(folder: Path) -> set[str]:
    """Return every path below a folder."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def names(folder: Path) -> set[str]:
    """Return the names in a folder."""
    return {path.name for path in folder.iterdir()}


def restored(path: Path, datasets: str = "ome-tiff") -> list[Path]:
    """Restore what is at ``path`` with a network that does nothing; return the results."""
    settings = Settings()
    output = settings.output.model_copy(update={"acquisitions": datasets})
    watch = settings.watch.model_copy(update={"settle_s": 0.001})
    settings = settings.model_copy(update={"output": output, "watch": watch})
    shot = OneShot(fake_shelf(overlap_zyx=(1, 2, 2)), settings)
    attempts = list(shot.restore_all(path))
    assert all(isinstance(attempt, OneResult) for attempt in attempts), attempts
    return [attempt.image for attempt in attempts if isinstance(attempt, OneResult)]


def named_stack_run(run: Path, name: str) -> None:
    summary = {
        "Prefix": name, "Directory": name, "ChNames": [name],
        "StagePositions": [{"Label": name}],
    }  # fmt: skip
    file = StackFile(run / "run_1_MMStack_Pos0.ome.tif", 2, summary)
    for z in range(2):
        file.plane(0, z, 0, 0, value=1 + z)
    file.finish()


def named_ndtiff(run: Path, name: str) -> None:
    data = NdTiff(run, {"Prefix": name, "Slices": 2}, axes_in_metadata=True)
    for z in range(2):
        data.plane(1 + z, z=z, channel=name, position=name)
    data.finish()


def named_zarr(run: Path, name: str) -> None:
    zarr_run(run)
    group = json.loads((run / "zarr.json").read_text())
    ome = group["attributes"]["ome"]
    ome["multiscales"][0]["name"] = name
    ome["omero"] = {"channels": [{"label": name}]}
    (run / "zarr.json").write_text(json.dumps(group))


@pytest.mark.parametrize("make", [named_stack_run, named_ndtiff, named_zarr])
def test_names_in_a_data_set_are_only_labels(tmp_path: Path, make: Any) -> None:
    """Seen to fail with the position's name in the name of the result."""
    for number, name in enumerate(HOSTILE[:26]):
        stack_index = tmp_path / str(number)
        run = stack_index / "run_1"
        run.mkdir(parents=True)
        make(run, name)
        raw = everything(stack_index)
        images = restored(run)
        assert [image.name for image in images] == ["p000_t0000_c00.ome.tif"], name
        new = everything(stack_index) - raw
        assert new == {
            "run_1_restored",
            "run_1_restored/p000_t0000_c00.ome.tif",
            "run_1_restored/p000_t0000_c00.json",
        }, name
        shutil.rmtree(stack_index)
    assert everything(tmp_path) == set()


def test_names_in_a_growing_ome_zarr_are_only_labels(tmp_path: Path, zarr: Any) -> None:
    for number, name in enumerate(HOSTILE[::5]):
        run = tmp_path / str(number) / "run_1"
        run.mkdir(parents=True)
        named_stack_run(run, name)
        (image,) = restored(run, "ome-zarr")
        assert image == tmp_path / str(number) / "run_1_restored" / "p000.ome.zarr", name
        assert names(run.parent) == {"run_1", "run_1_restored"}


FILES = [
    "..\\..\\x.tif", "C:\\x.tif", "C:x.tif", "\\\\server\\share\\x.tif", "CON.tif", "nul.ome.tif",
    "aux", "x .tif", "x..tif", "{folder}.tif", "{name}{0}.tif", "a:stream.tif", "a\nb.tif",
    "-o.tif", "~root.tif", "%TEMP%.tif", "$(touch y).tif", "\udcff.tif", "a'b\"c.tif",
    "\u202efit.tif", " .tif", "x" * 240 + ".tif",
]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such names")
def test_a_raw_file_of_any_name(tmp_path: Path) -> None:
    stack = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8)
    for number, name in enumerate(FILES):
        folder = tmp_path / str(number)
        path = folder / "data" / (name if name.endswith(".tif") else f"{name}.tif")
        path.parent.mkdir(parents=True)
        tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})
        (image,) = restored(path)
        assert image.parent == path.parent / "restored"
        assert image.name == bare_name(path) + ".ome.tif"
        assert names(folder) == {"data"}
        assert names(path.parent) == {path.name, "restored"}
        assert len(names(image.parent)) == 2


def test_a_name_whose_result_would_be_too_long(tmp_path: Path) -> None:
    path = tmp_path / ("x" * 251 + ".tif")
    tifffile.imwrite(path, np.arange(300, dtype=np.uint16).reshape(3, 10, 10), imagej=True,
                     metadata={"axes": "ZYX"})  # fmt: skip
    (error,) = OneShot(fake_shelf(), Settings()).restore_all(path)
    assert isinstance(error, LiveRestoreError)
    assert "too long a name" in str(error)
    assert names(tmp_path) == {path.name}


@pytest.mark.skipif(os.name != "posix", reason="Windows takes these for one file")
def test_names_that_differ_in_capitals(tmp_path: Path) -> None:
    """Three raw files, three results, on a disk that tells them apart; none lost on any other."""
    stack = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8)
    images = []
    for number, name in enumerate(("a.tif", "A.tif", "a.ome.tif")):
        tifffile.imwrite(tmp_path / name, stack + number, imagej=True, metadata={"axes": "ZYX"})
        images += restored(tmp_path / name)
    assert len({image.read_bytes() for image in images}) == 3
    assert len({str(image).casefold() for image in images[::2]}) == 2


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1))
def test_no_file_name_leads_out_of_the_results(name: str) -> None:
    if name in (".", ".."):
        return
    folder = Path("/data/run")
    for image, _ in candidates(folder / name, TEMPLATE, "fast", "r"):
        assert Path(os.path.normpath(image)).parent == folder / "restored"


def test_no_model_has_a_name_that_leads_anywhere() -> None:
    """A model's name is part of the name of its results."""
    for name in (*HOSTILE, "a/b", "a\n", "", "-x", ".x", "fast-2"):
        try:
            card = ModelCard(name=name)
        except ValidationError:
            continue
        assert card.name.isascii()
        assert not set(card.name) & set('/\\:*?"<>|\0\n ')
        assert not card.name.startswith((".", "-"))
    assert card.name == "fast-2"


def test_labels_hold_numbers_only() -> None:
    assert StackIndex.from_label("p000_t0000_c00/../../x") is None
    assert StackIndex.from_label("p000_t0000_c00\n") is None
    assert StackIndex.from_label("p\u0660\u0660\u0660_t0000_c00") is None


def test_what_a_server_calls_the_folder_of_a_run() -> None:
    for named in (*HOSTILE, "-o", "run", "/data/a\0b", "/x" * 5000):
        path = usable_path(named)
        assert path is None or (path.is_absolute() and str(path).isprintable()), named
    assert usable_path(os.path.abspath("run_1")) is not None  # noqa: PTH100 - as text
