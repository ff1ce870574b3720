"""A stack is assessed by the worker that restored it."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.engine import channel_groups
from live_restore.engine.channel_groups import ChannelGroups
from live_restore.engine.job import RawStack
from live_restore.engine.jobs import Jobs
from live_restore.engine.pipeline import Pipeline
from live_restore.engine.progress import Progress
from live_restore.formats.table import make_acquisition_formats, make_formats
from live_restore.inference.model.envelope import Envelope
from live_restore.inference.model_set import ModelSet
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from live_restore.stack import StackIndex, VoxelSize
from live_restore.trust.snr import estimate_snr
from live_restore.trust.stack_trust import StackTrust, assess
from live_restore.trust.statistics import image_statistics
from tests.support.fakes import a_dataset, fake_model, fake_restorer, fake_shelf, fingerprint_of
from tests.support.keys import key_at
from tests.support.lights import CAMERA, TOLD
from tests.support.processes import wait_for

VOXEL = VoxelSize(0.3, 0.1, 0.1)


def raw_stack() -> np.ndarray:
    return np.random.default_rng(1).integers(100, 200, (3, 24, 24)).astype(np.uint16)


def test_a_stack_that_was_left_has_numbers_and_no_doubts() -> None:
    raw = raw_stack()
    assert assess(raw, None, None, VOXEL) == StackTrust(
        raw_crc32=zlib.crc32(raw.data),
        before=image_statistics(raw),
        signal_to_noise=estimate_snr(raw),
    )


def test_the_checksum_is_that_of_the_voxels_in_c_order() -> None:
    raw = raw_stack()
    turned = np.asfortranarray(raw)
    assert assess(turned, None, None, VOXEL).raw_crc32 == zlib.crc32(raw.data)


def test_doubts_in_their_order_and_those_of_the_group_once() -> None:
    raw = raw_stack()
    raw[1, 11:14, 11:14] = 1200  # what optics leave around a point
    raw[1, 12, 12] = 9000
    restored = fake_restorer().restore(raw)
    card = fake_model(
        envelope=Envelope(snr=(5000, 9000)), trained_voxel_um={"z": (1, 2)}, truth_psf_width=0.5
    ).card
    trust = assess(raw, restored, card, VOXEL)
    assert [doubt.split()[1] for doubt in trust.doubts] == [
        "signal-to-noise",
        "voxels",
        "brightest",
    ]
    assert trust.after == image_statistics(restored.volume)
    assert trust.notes[0].startswith("fake sharpens")
    further = assess(raw, restored, card, VOXEL, speaks_for_group=False)
    assert further.doubts == trust.doubts[:2]


def test_one_setting_switches_off_all_that_is_estimated(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a known camera and the bundled model, and of two stacks of a time-lapse."""
    raw = [LivingCell((12, 64, 64), 30.0, 3.0, camera=CAMERA).exposed(time) for time in range(2)]
    stacks = replace(a_dataset(shape_zyx=raw[0].shape, times=2), voxel=VOXEL)
    camera = TOLD.model_dump(exclude_none=True)
    found = {}
    for enabled in (True, False):
        settings = load_settings(
            None, {"camera": camera, "trust": {"every": 1, "enabled": enabled}}
        )
        model_set = ModelSet.load(settings, ["cpu"])
        groups, tiles = ChannelGroups(stacks, model_set), tiles_of(model_set, monkeypatch)
        done = [
            groups.feed(RawStack(StackIndex(time=t), each, 0.0))[0] for t, each in enumerate(raw)
        ]
        found[enabled] = (done[1], len(tiles))
    (on, tiles_on), (off, tiles_off) = found[True], found[False]
    assert on.restored.gain is not None
    assert on.trust.flux is not None
    assert on.trust.sharpness is not None
    assert (
        off.restored.gain
        is off.restored.less_light
        is off.trust.flux
        is off.trust.sharpness
        is None
    )
    assert (tiles_off, tiles_on) == (2, 7), "the network runs once for each stack, and no more"
    assert any("was not looked at" in note for note in off.trust.notes)
    assert not any("was not looked at" in note for note in on.trust.notes)
    np.testing.assert_array_equal(on.volume, off.volume)


def tiles_of(model_set: ModelSet, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """Return a list that gets the shape of every tile that the network is given."""
    (model,) = model_set.models
    run, tiles = model.session.run, []

    def counted(batch: np.ndarray) -> np.ndarray:
        tiles.append(batch.shape)
        return run(batch)

    monkeypatch.setattr(model.session, "run", counted)
    return tiles


def test_the_worker_assesses_and_not_the_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def watched(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            seen.append(threading.current_thread().name)
            return function(*arguments, **named)

        return call

    monkeypatch.setattr(channel_groups, "assess", watched(assess))
    for name in ("image_statistics", "estimate_snr"):
        function = getattr(__import__("live_restore.trust.stack_trust", fromlist=[name]), name)
        monkeypatch.setattr(f"live_restore.trust.stack_trust.{name}", watched(function))
    root = tmp_path / "watched"
    root.mkdir()
    image = np.stack([raw_stack(), np.full((3, 24, 24), 7, np.uint16)])
    tifffile.imwrite(root / "a.tif", image, photometric="minisblack", metadata={"axes": "TZYX"})
    with Journal(tmp_path / "state" / "j.sqlite", root, recipe="r" * 64) as journal:
        journal.record(key_at("a.tif"), fingerprint_of(root / "a.tif"), State.WAITING, stacks=2)
        model_set, settings = fake_shelf(), load_settings()
        jobs = Jobs(root, make_formats(), make_acquisition_formats(), model_set, settings)
        pipeline = Pipeline(
            journal,
            jobs,
            model_set,
            settings,
            Progress(),
            lambda _: None,
            retry=False,
        )
        pipeline.start()
        try:
            wait_for(lambda: pipeline.idle() or pipeline.crash is not None, "the pipeline", 20)
        finally:
            pipeline.stop()
        assert pipeline.crash is None
        assert next(iter(journal.entries())).state is State.DONE
    # Two stacks: one restored (statistics twice), one left as it is.
    assert len(seen) == 2 + 3 + 2
    assert all(name.startswith("worker") for name in seen), seen
