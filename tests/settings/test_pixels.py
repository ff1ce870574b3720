"""Every setting says whether it can change a restored voxel, and the digest holds those that do."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from live_restore.settings.camera import CameraSettings
from live_restore.settings.load import load_settings
from live_restore.settings.model import LISTS, Settings

CAMERA = {"gain_adu_per_e": 2.17, "offset_adu": 100, "read_noise_e": 1.6}

# Computed with the version that listed by hand what changes pixels. Results that are there were
# recorded under these: another digest would restore all of them again.
RECORDED: list[tuple[dict[str, Any], str]] = [
    ({}, "15f92c9dff05c28c652481a0810654c0e9f4db1d6bc6c118aa06300580ef323f"),
    (
        {"inference": {"precision": "fp32"}},
        "413e20dcea6a58e71dd41b5eb64b9f76a8d87b49df7b132132d3a9827415580d",
    ),
    (
        {"inference": {"tiling": "reference", "block_zyx": [16, 256, 256]}},
        "5c66bcfe6d834065bf08b142a08a5bd665325c0e5934fc8dcc920e2ccf74a872",
    ),
    (
        {"inference": {"max_tile_mvoxel": 1.5}},
        "4359d6390cb64703728fcb8c918c823ae19293edb61d2e52951e7fe514eabb5e",
    ),
    (
        {"inference": {"overlap_zyx": [4, 16, 16]}},
        "6b72633de83317891474400917bb4b183e9906c79721aeab0a178ffc1737e854",
    ),
    (
        {"inference": {"percentiles": [1, 99.5]}},
        "49b8c137167d90bd5e1f1b60a1f7a4fc25cf2e4b8cc1d6ae7681abf48b6b1fe1",
    ),
    (
        {"output": {"units": "camera-float"}},
        "424c48220e5fcc9e25ed767439b835da5f1e8978645ecca8c44aede1b9a24b99",
    ),
    (
        {"files": {"undeclared_axis": "T"}},
        "203aff00f7109c8fddd5e620151c69e00b4c05479df677983ad0d7551733abb8",
    ),
    ({"camera": CAMERA}, "ebf255e26054d9970953af854a6bb2f8b8a054f95cef98ca5ab620710a69482e"),
    (
        {
            "files": {"undeclared_axis": "T"},
            "inference": {
                "precision": "fp32",
                "max_tile_mvoxel": 2,
                "overlap_zyx": [2, 8, 8],
                "block_zyx": [8, 64, 64],
                "percentiles": [0, 100],
            },
            "output": {"units": "camera-float"},
            "camera": {"gain_adu_per_e": 0.5, "offset_adu": 99.5, "read_noise_e": 0},
        },
        "880adf353ce58a52a02dccbdd29cb8ab5b1874cb1022c27eb2775d21b8a247ec",
    ),
]

# For every key a value that is neither its default nor that of BASE below.
OTHER: dict[str, Any] = {
    "watch.recursive": False,
    "watch.use_events": False,
    "watch.scan_interval_s": 3,
    "watch.settle_s": 3,
    "watch.quiet_s": 3,
    "watch.stall_s": 3,
    "watch.newest_first": True,
    "files.undeclared_axis": "T",
    "files.interleaved_channels": 2,
    "files.blank_planes": "restore",
    "files.partial_stacks": "restore",
    "files.plane_pattern": r"(?P<z>\d+)\.tif",
    "inference.device": "cpu",
    "inference.precision": "fp32",
    "inference.threads": 1,
    "inference.gpu_memory_gb": 3,
    "inference.tiling": "reference",
    "inference.max_tile_mvoxel": 3,
    "inference.overlap_zyx": [1, 2, 3],
    "inference.block_zyx": [1, 2, 3],
    "inference.percentiles": [1, 2],
    "camera.gain_adu_per_e": 3,
    "camera.offset_adu": 3,
    "camera.read_noise_e": 3,
    "camera.bad_pixels": "/somewhere.tif",
    "output.template": "{folder}/{name}.ome.tif",
    "output.acquisitions": "ome-zarr",
    "output.min_free_gb": 3,
    "output.shared": True,
    "output.units": "camera-float",
    "output.defects": "mend",
    "output.error_bars": True,
    "output.keep_flux": True,
    "trust.enabled": False,
    "trust.every": 3,
    "trust.less_light_every": 3,
    "journal.folder": "/somewhere",
    "journal.max_attempts": 5,
    "journal.retry_s": 3,
    "journal.lease_s": 3,
    "process.priority": "normal",
    "process.while_acquiring": "full",
    "process.cores": [0],
    "adapt.after_stacks": 40,
    "adapt.minutes": 10.0,
    "alerts.to": ["json://127.0.0.1/"],
    "alerts.command": ["horn"],
    "alerts.behind_stacks": 3,
    "alerts.doubtful_share": 0.1,
    "alerts.quiet_min": 5,
    "alerts.disk_free_gb": 1,
    "alerts.failed": False,
    "alerts.died": False,
    "alerts.hold_off_min": 5,
    "cluster.certificates": "certificates",
    "cluster.stacks_ahead": 3,
    "cluster.most_ahead_mb": 100,
    "cluster.timeout_s": 3,
    "cluster.paths": {"/data": "/mnt/data"},
    "log.level": "debug",
    "log.format": "json",
}


OTHER_OF_SEVERAL: dict[str, Any] = {
    "cameras.gain_adu_per_e": 3,
    "cameras.offset_adu": 3,
    "cameras.read_noise_e": 3,
    "cameras.bad_pixels": "/somewhere.tif",
    "cameras.serial": "A1",
    "cameras.channels": ["GFP"],
}


def fields() -> dict[str, FieldInfo]:
    """Return every key of the tree, "section.key"."""
    found: dict[str, FieldInfo] = {}
    for name, field in Settings.model_fields.items():
        section: Any = {"camera": CameraSettings, **LISTS}.get(name, field.annotation)
        assert issubclass(section, BaseModel), name
        found |= {f"{name}.{key}": each for key, each in section.model_fields.items()}
    return found


def declared(key: str) -> Any:
    extra = fields()[key].json_schema_extra
    return extra.get("pixels") if isinstance(extra, dict) else None


@pytest.mark.parametrize(("flags", "digest"), RECORDED)
def test_results_of_earlier_versions_are_recognised(flags: dict[str, Any], digest: str) -> None:
    assert load_settings(None, flags).pixel_digest() == digest


def test_every_key_declares_whether_it_changes_pixels() -> None:
    for key in fields():
        assert declared(key) in ("digest", "recipe", "none"), key
        # These count where what the files hold is known: see tests of the model set.
        of_a_file = key.startswith("models.") or key.endswith(".bad_pixels")
        assert (declared(key) == "recipe") is of_a_file, key


def test_the_table_above_has_every_key() -> None:
    sections = {key for key in fields() if key.partition(".")[0] not in LISTS}
    assert set(OTHER) == sections
    assert set(OTHER_OF_SEVERAL) == {key for key in fields() if key.startswith("cameras.")}


@pytest.mark.parametrize("key", OTHER)
def test_the_digest_changes_with_what_changes_pixels_and_with_nothing_else(key: str) -> None:
    section, name = key.split(".")
    needs_one = section == "camera" or key == "output.error_bars"
    base: dict[str, Any] = {"camera": CAMERA} if needs_one else {}
    changed = {**base, section: {**base.get(section, {}), name: OTHER[key]}}
    before, after = load_settings(None, base), load_settings(None, changed)
    assert getattr(getattr(before, section), name) != getattr(getattr(after, section), name)
    assert (after.pixel_digest() != before.pixel_digest()) is (declared(key) == "digest")


@pytest.mark.parametrize("key", OTHER_OF_SEVERAL)
def test_of_several_cameras_each_key_counts(key: str) -> None:
    changed = {**CAMERA, key.partition(".")[2]: OTHER_OF_SEVERAL[key]}
    before, after = (load_settings(None, {"cameras": [each]}) for each in (CAMERA, changed))
    assert after.cameras != before.cameras
    assert (after.pixel_digest() != before.pixel_digest()) is (declared(key) == "digest")
    assert before.pixel_digest() not in {digest for _, digest in RECORDED}


def test_no_two_keys_of_the_digest_have_one_name() -> None:
    """They are in it without their sections, as they always were."""
    names = [
        key.partition(".")[2]
        for key in fields()
        if declared(key) == "digest" and not key.startswith(("camera.", "cameras."))
    ]
    assert len(names) == len(set(names))
