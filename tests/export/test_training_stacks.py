"""What a person may put into the folders, and what is said of the rest: one line, before a step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_restore_export.training.data import validation_patches
from live_restore_export.training.stacks import pairs_in
from training_files import SHAPE, clean_stack, tiny, write_config, write_pairs, write_stack

from live_restore.errors import LiveRestoreError

PAIRS: dict[str, Any] = {"source": "pairs", "raw": "raw", "gt": "gt"}


def _no_folder(folder: Path) -> None:
    (folder / "gt").rename(folder / "truth")


def _empty_folder(folder: Path) -> None:
    for path in (folder / "raw").iterdir():
        path.unlink()


def _one_too_many(folder: Path) -> None:
    write_stack(folder / "raw" / "zz.tif", clean_stack(1))


def _another_shape(folder: Path) -> None:
    write_stack(folder / "gt" / "cell_1_long.tif", clean_stack(1, (6, 24, 25)))


def _constant(folder: Path) -> None:
    write_stack(folder / "gt" / "cell_1_long.tif", np.full(SHAPE, 7, np.uint16))


def _saturated(folder: Path) -> None:
    bright = np.minimum(clean_stack(1) * 20_000, 4095).astype(np.uint16)
    write_stack(folder / "raw" / "cell_1.tif", bright)


def _not_a_number(folder: Path) -> None:
    stack = clean_stack(1)
    stack[2, 3, 4] = np.nan
    write_stack(folder / "gt" / "cell_1_long.tif", stack)


def _no_contrast(folder: Path) -> None:
    stack = np.zeros((6, 48, 48), np.uint16)
    stack[3, 5, 5:8] = (50, 60, 70)
    for name in ("raw/cell_1.tif", "gt/cell_1_long.tif"):
        write_stack(folder / name, stack)


def _too_small(folder: Path) -> None:
    for name in ("raw/cell_1.tif", "gt/cell_1_long.tif"):
        write_stack(folder / name, clean_stack(1, (3, 24, 24)))


def _cut_off(folder: Path) -> None:
    path = folder / "raw" / "cell_1.tif"
    path.write_bytes(path.read_bytes()[:-500])


def _text(folder: Path) -> None:
    (folder / "raw" / "cell_1.tif").write_text("not a TIFF")


def _another_field(folder: Path) -> None:
    (folder / "gt" / "cell_1_long.tif").unlink()
    inverse = 2 - clean_stack(1)
    write_stack(folder / "gt" / "cell_1_long.tif", inverse)


def _one_pair(folder: Path) -> None:
    for name in ("raw/cell_1.tif", "raw/cell_2.tif", "gt/cell_1_long.tif", "gt/cell_2_long.tif"):
        (folder / name).unlink()


MISTAKES: dict[Callable[[Path], None], tuple[str, str]] = {
    _no_folder: ("gt: is not a folder", "relative ones count from"),
    _empty_folder: ("raw: holds no TIFF stacks", "put .tif files there"),
    _one_too_many: ("raw: holds 4 files, but", "one ground truth"),
    _another_shape: ("cell_1.tif: holds 6 x 24 x 24, but", "cell_1_long.tif"),
    _constant: ("cell_1_long.tif is constant: every voxel is 7", "leave it out"),
    _saturated: ("cell_1.tif is saturated", "less light"),
    _not_a_number: ("cell_1_long.tif", "NaN"),
    _no_contrast: ("cell_1.tif has no contrast", "percentiles"),
    _too_small: ("cell_1.tif: is smaller (3 x 24 x 24) than the patch (4 x 16 x 16)", "leave it"),
    _cut_off: ("cell_1.tif", "leave it out, or save it again"),
    _text: ("cell_1.tif", "not a TIFF"),
    _another_field: ("cell_1.tif and its ground truth show different things", "check the order"),
    _one_pair: ("raw: holds one stack only", "add a second one"),
}


@pytest.mark.parametrize("spoil", MISTAKES, ids=lambda spoil: spoil.__name__)
def test_one_clear_line_before_the_first_step(
    spoil: Callable[[Path], None], tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_pairs(tmp_path)
    spoil(tmp_path)
    config = write_config(tmp_path, data=PAIRS)
    done = command("train", config, "-o", tmp_path / "run")
    assert done.code in (1, 2)
    assert done.err.count("\n") == 1, done.err
    for part in MISTAKES[spoil]:
        assert part in done.err
    assert not (tmp_path / "run").exists()


def test_files_are_matched_by_sorted_name_and_the_matching_is_told(tmp_path: Path) -> None:
    write_pairs(tmp_path, count=4)
    (tmp_path / "raw" / "notes.txt").write_text("mine")
    (tmp_path / "raw" / ".hidden.tif").write_text("somebody else's")
    pairs = pairs_in(tmp_path / "raw", tmp_path / "gt")
    names = [(pair.raw.path.name, pair.truth.path.name) for pair in pairs]
    assert names == [(f"cell_{i}.tif", f"cell_{i}_long.tif") for i in range(4)]
    data = tiny(tmp_path, data=PAIRS).gather(tmp_path)
    assert len(data.lines) == 4
    assert sum("validate" in line for line in data.lines) == 1
    assert any("cell_2.tif <-> cell_2_long.tif  6 x 24 x 24  uint16 <-> float32" in line
               for line in data.lines)  # fmt: skip


def test_what_is_held_out_is_not_trained_on(tmp_path: Path) -> None:
    write_pairs(tmp_path, count=5)
    data = tiny(tmp_path, data=PAIRS | {"held_out_share": 0.4}).gather(tmp_path)
    trained = {pair.raw.path for pair in data.training.pairs}  # type: ignore[attr-defined]
    judged = {pair.raw.path for pair in data.validation.pairs}  # type: ignore[attr-defined]
    assert (len(trained), len(judged)) == (3, 2)
    assert not trained & judged


def test_folders_for_validation_leave_all_others_for_training(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    write_pairs(tmp_path / "more", count=1)
    said = {"validation_raw": "more/raw", "validation_gt": "more/gt"}
    data = tiny(tmp_path, data=PAIRS | said).gather(tmp_path)
    assert (data.training.stacks, data.validation.stacks) == (3, 1)


def test_every_stack_has_its_turn_before_any_has_a_second(tmp_path: Path) -> None:
    write_pairs(tmp_path, count=5)
    source = tiny(tmp_path, data=PAIRS).gather(tmp_path).training
    raws = [source.load(number).raw for number in range(8)]  # type: ignore[attr-defined]
    for turn in (raws[:4], raws[4:]):
        assert len({raw.tobytes() for raw in turn}) == 4


def test_memory_bounds_how_many_are_held(tmp_path: Path) -> None:
    write_pairs(tmp_path, count=6)
    one_pair_gb = 6 * 24 * 24 * (2 + 4) / 1e9
    held = [
        tiny(tmp_path, data=PAIRS | {"memory_gb": memory_gb}, training={"scenes_kept": 4})
        .gather(tmp_path)
        .held
        for memory_gb in (4.0, 2.5 * one_pair_gb, 0.1 * one_pair_gb)
    ]
    assert held == [4, 2, 1]


def test_paired_patches_come_from_the_same_place(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    config = tiny(tmp_path, data=PAIRS, training={"validation_patches": 6})
    patches = validation_patches(config.gather(tmp_path).validation, config.training)
    for patch in patches:
        assert np.corrcoef(patch.noisy.ravel(), patch.truth.ravel())[0, 1] > 0.8
        # The truth is on the raw stack's scale, although its file is in other units.
        assert abs(float((patch.noisy - patch.truth).mean())) < 0.05


def test_a_stack_that_is_spoilt_later_stops_the_run(tmp_path: Path) -> None:
    write_pairs(tmp_path)
    source = tiny(tmp_path, data=PAIRS).gather(tmp_path).training
    for path in (tmp_path / "raw").iterdir():
        path.write_bytes(b"")
    with pytest.raises(LiveRestoreError):
        source.load(0)


@pytest.mark.parametrize(
    ("sections", "message"),
    [
        ({"data": {"source": "pair"}}, "data"),
        ({"data": {"source": "pairs", "raw": "raw"}}, "data.pairs.gt"),
        ({"data": PAIRS | {"validation_raw": "x"}}, "belong together"),
        ({"data": {"source": "clean", "clean": "raw", "gt": "gt"}}, "data.clean.gt"),
        ({"data": {"source": "clean", "clean": "raw", "channel": 1}}, "has no channel 1"),
    ],
)
def test_wrong_data_settings(
    sections: dict[str, Any], message: str, tmp_path: Path, command: Callable[..., Any]
) -> None:
    write_pairs(tmp_path)
    done = command("train", write_config(tmp_path, **sections), "-o", tmp_path / "run")
    assert (done.code, done.err.count("\n")) == (2, 1), done.err
    assert message in done.err
