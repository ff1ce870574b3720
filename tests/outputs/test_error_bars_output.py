"""Error bars lie beside the result, are known as ours, and are taken for nothing else."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ome_types import from_xml

from live_restore.errors import OutputError
from live_restore.files import disk
from live_restore.files.naming import error_bars_path
from live_restore.formats.table import format_for, make_formats
from live_restore.inference.image.error_bars import ErrorBars
from live_restore.outputs.ome_tiff import OmeTiffOutput
from live_restore.outputs.ome_zarr import OmeZarrOutput
from live_restore.outputs.output import FinishedStack, Growth, Output, Published, ResultRequest
from live_restore.outputs.table import is_own_result
from live_restore.stack import StackIndex
from live_restore.testing.bad_disks import FullDisk, names_in
from live_restore.testing.outputs import OutputCompliance
from live_restore.testing.results import finished_stack, publish_all, some_volume
from tests.support.fakes import a_dataset, fake_restorer

SHAPE = (3, 5, 6)
BARS = np.linspace(0, 9, 90, dtype=np.float32).reshape(SHAPE)


def barred(
    raw: np.ndarray, bars: ErrorBars | None, index: StackIndex | None = None
) -> FinishedStack:
    restorer = fake_restorer(lambda tile: tile)
    done = replace(restorer.restore(raw), error_bars=bars)
    return finished_stack(raw, done, restorer.model, index=index or StackIndex())


def requested(folder: Path, **facts: Any) -> ResultRequest:
    stacks = a_dataset(folder / "a.tif", **facts)
    template = "{folder}/restored/{name}.ome.tif"
    return ResultRequest(stacks, template, "fast", "f" * 64, "s", error_bars=True)


def published(output: Output, request: ResultRequest, *stacks: FinishedStack) -> Published:
    return publish_all(output, request, output.choose(request), stacks)


def test_a_second_file_holds_them(tmp_path: Path) -> None:
    raw = some_volume(1, SHAPE)
    request = requested(tmp_path, channels=2, axes="CZYX", channel_names=("GFP", "RFP"))
    unknown = ErrorBars(None, "its camera is not known")
    done = published(
        OmeTiffOutput(), request,
        barred(raw, ErrorBars.of(BARS)), barred(raw, unknown, StackIndex(0, 0, 1)),
    )  # fmt: skip
    bars = done.image.with_name("a.standard-error.ome.tif")
    with tifffile.TiffFile(bars) as tif:
        found = tif.asarray()
        ome = from_xml(tif.ome_metadata or "")
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found[0], BARS)
    assert np.isnan(found[1]).all()
    assert [channel.name for channel in ome.images[0].pixels.channels] == ["GFP", "RFP"]
    np.testing.assert_array_equal(tifffile.imread(done.image), np.stack([raw, raw]))
    report = json.loads(done.report.read_text(encoding="utf-8"))
    assert report["error_bars"] == bars.name
    known, not_known = (line["standard_error"] for line in report["stacks"])
    assert known["median_adu"] == pytest.approx(4.5, abs=0.01)
    assert not_known == {"not_known_because": "its camera is not known"}
    assert any("its camera is not known" in note for note in report["notes"])


def test_they_are_neither_raw_nor_a_result_by_themselves(tmp_path: Path) -> None:
    done = published(OmeTiffOutput(), requested(tmp_path), barred(some_volume(1, SHAPE), None))
    bars = error_bars_path(done.image)
    assert is_own_result(bars)
    chosen = format_for(bars, make_formats())
    assert chosen is not None
    assert chosen.inspect(bars) is None
    assert sorted(p.name for p in done.image.parent.iterdir()) == [
        "a.json", "a.ome.tif", "a.standard-error.ome.tif",
    ]  # fmt: skip


def test_the_same_again_replaces_both_and_nothing_else(tmp_path: Path) -> None:
    request, raw = requested(tmp_path), some_volume(1, SHAPE)
    published(OmeTiffOutput(), request, barred(raw, ErrorBars.of(BARS)))
    done = published(OmeTiffOutput(), request, barred(raw, ErrorBars.of(BARS + 1)))
    np.testing.assert_array_equal(tifffile.imread(error_bars_path(done.image)), BARS + 1)
    assert len(list(done.image.parent.iterdir())) == 3


def test_what_is_not_ours_under_their_name_is_never_overwritten(tmp_path: Path) -> None:
    """As the result of a raw file that happens to be called so."""
    foreign = tmp_path / "restored" / "a.standard-error.ome.tif"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    request = requested(tmp_path)
    done = published(OmeTiffOutput(), request, barred(some_volume(1, SHAPE), ErrorBars.of(BARS)))
    assert foreign.read_bytes() == b"mine"
    assert done.image.name.startswith("a.fast-")
    np.testing.assert_array_equal(tifffile.imread(error_bars_path(done.image)), BARS)


@pytest.mark.parametrize("call", range(0, 30, 2))
def test_a_full_disk_leaves_no_result_without_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    request, full = requested(tmp_path), FullDisk(call)
    stack = barred(some_volume(1, SHAPE), ErrorBars.of(BARS))
    with monkeypatch.context() as patched:
        patched.setattr(disk, "current", full)
        try:
            published(OmeTiffOutput(), request, stack)
        except OutputError:
            assert not (tmp_path / "restored" / "a.json").exists()
    if (tmp_path / "restored" / "a.ome.tif").exists():
        assert (tmp_path / "restored" / "a.standard-error.ome.tif").exists()
    published(OmeTiffOutput(), request, stack)
    assert len(names_in(tmp_path)) == 3


def test_a_growing_zarr_has_one_that_grows_with_it(tmp_path: Path, zarr: Any) -> None:
    for time in range(2):
        at = StackIndex(0, time, 0)
        request = replace(OutputCompliance().stack_request(tmp_path, at), error_bars=True)
        bars = ErrorBars.of(BARS + time) if time else ErrorBars(None, "the stack is too small")
        done = published(OmeZarrOutput(), request, barred(some_volume(time, SHAPE), bars))
    path = error_bars_path(done.image)
    assert path.name == "p000.standard-error.ome.zarr"
    assert is_own_result(path)
    array = zarr.open_group(str(path), mode="r")["0"]
    assert array.dtype == np.float32
    assert np.isnan(array[0, 0]).all()
    np.testing.assert_array_equal(array[1, 0], BARS + 1)
    assert zarr.open_group(str(done.image), mode="r")["0"].dtype == np.uint16
    text = (path / "zarr.json").read_text(encoding="utf-8")
    assert json.loads(text)["attributes"]["live-restore"]["restored"] == [[0, 0, 1]]
    assert OmeZarrOutput().choose(request).taken
    for emptied in (False, True):
        shutil.rmtree(path)
        if emptied:  # as by a person who selects all that is in it, or a sync that went wrong
            (path / "0" / "c").mkdir(parents=True)
        again = OmeZarrOutput().choose(request)
        assert not again.taken, "without them, it has to be made again"
        assert again.image == done.image, "under the name that it had"
        published(OmeZarrOutput(), request, barred(some_volume(1, SHAPE), ErrorBars.of(BARS)))
        np.testing.assert_array_equal(zarr.open_group(str(path), mode="r")["0"][1, 0], BARS)


def test_a_result_that_grows_says_that_it_has_none(tmp_path: Path) -> None:
    request = replace(
        requested(tmp_path, times=2, axes="TZYX"), growth=Growth(goes_on=False, finished=False)
    )
    done = published(OmeTiffOutput(), request, barred(some_volume(1, SHAPE), ErrorBars.of(BARS)))
    assert any("no error bars are written" in note for note in done.notes)
    assert not error_bars_path(done.image).exists()
