"""Raw and restored as arrays for a viewer, plane by plane; and `open` where there is none."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.overview.run import Run
from live_restore.page.layers import LazyStacks, Place, places_of
from live_restore.page.pixels import Pixels
from tests.page.runs import CHANNELS, SHAPE, Recorded, spots
from tests.support.processes import run_command


@pytest.fixture
def overview(recorded: Recorded) -> Run:
    return Run.read(recorded.root, recorded.journal)


def night(overview: Run) -> list[Place]:
    return places_of(overview.shown(), "night_1")


def test_a_series_has_a_place_per_position_and_channel(overview: Run) -> None:
    places = night(overview)
    assert [(place.position, place.channel_name) for place in places] == [
        (position, channel) for position in range(2) for channel in CHANNELS
    ]
    assert [len(place.stacks) for place in places] == [3] * 4
    assert places[3].name == "night_1 pos 1 mCherry"
    assert places[0].scale_um == (1.0, 0.3, 0.1, 0.1)
    assert places_of(overview.shown(), "no such") == []
    assert places_of([]) == []


KEYS: list[Any] = [
    0, -1, slice(None), (1, 2), (slice(1, None), 0), (0, slice(None), 3), (2, 3, slice(4, 9)),
    (slice(None), slice(None), 5, 6), (..., 7), (1, ...), (1, 2, 3, 4), (slice(0, 2), slice(1, 3)),
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_it_is_indexed_as_numpy_does(overview: Run, recorded: Recorded, key: Any) -> None:
    place, pixels = night(overview)[2], Pixels(recorded.root)
    raw = np.stack([spots(100 + 10 * time) for time in range(3)])
    assert np.array_equal(LazyStacks(place, pixels, "raw")[key], raw[key])
    folder = recorded.root / "night_1_restored"
    restored = np.stack([tifffile.imread(folder / f"p001_t{t:04}_c00.ome.tif") for t in range(3)])
    lazy = LazyStacks(place, pixels, "restored")
    assert (lazy.shape, lazy.dtype, lazy.ndim, len(lazy)) == ((3, *SHAPE), np.uint16, 4, 3)
    assert np.array_equal(lazy[key], restored[key])


def test_what_cannot_be_read_is_dark(overview: Run, tmp_path: Path) -> None:
    lazy = LazyStacks(night(overview)[0], Pixels(tmp_path), "raw")
    assert not lazy[0, 0].any()


def test_without_napari_it_says_what_to_do(recorded: Recorded) -> None:
    if importlib.util.find_spec("napari") is not None:
        pytest.skip("napari is installed")
    done = run_command(recorded.state, "open", recorded.root)
    assert done.returncode == 2
    assert "Fiji" in done.stderr
    assert done.stderr.count("\n") == 1


def test_napari_shows_them_and_what_comes_later(recorded: Recorded) -> None:
    pytest.importorskip("napari", reason="napari is not installed")
    from napari.components import ViewerModel

    from live_restore.page.napari_view import NapariView

    viewer, run = ViewerModel(), Run.read(recorded.root, recorded.journal)
    view = NapariView(viewer, run, Pixels(recorded.root), "night_1")
    assert len(viewer.layers) == 8
    view.look()
    assert viewer.layers["night_1 pos 0 GFP restored"].data.shape == (3, *SHAPE)
