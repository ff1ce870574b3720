"""Arrays are restored as files are, and what cannot be restored is refused in one line."""

from __future__ import annotations

import json
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

import live_restore
from live_restore.engine import arrays
from live_restore.simulation.scene import LivingCell
from tests.support.processes import environment, run_command

ROOT = Path(__file__).resolve().parents[2]
VOXEL_UM = (0.3, 0.1, 0.1)


@pytest.fixture(scope="module")
def stack() -> Any:
    return LivingCell(shape_zyx=(8, 48, 56)).exposed(0)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "float32"])
def test_pixels_and_doubts_are_those_of_the_command_line(
    tmp_path: Path, stack: Any, dtype: str
) -> None:
    raw = np.clip(stack, 0, 255).astype(dtype)
    tifffile.imwrite(
        tmp_path / "a.ome.tif", raw, ome=True, photometric="minisblack",
        metadata={
            "axes": "ZYX",
            **{f"PhysicalSize{a}": size for a, size in zip("ZYX", VOXEL_UM, strict=True)},
        },
    )  # fmt: skip
    done = run_command(tmp_path, "restore", tmp_path / "a.ome.tif", "--device", "cpu", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = json.loads(done.stdout)
    expected = tifffile.imread(line["result"])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        restored = live_restore.restore(raw, voxel_size=VOXEL_UM, device="cpu")
    assert (restored.shape, restored.dtype) == (raw.shape, raw.dtype)
    assert np.array_equal(restored, expected)
    assert not np.array_equal(restored, raw)
    doubts = [str(each.message) for each in caught]
    assert doubts == [warning.partition(": ")[2] for warning in line["warnings"]]


def test_a_stack_unlike_the_training_is_doubted_where_the_caller_stands(stack: Any) -> None:
    with pytest.warns(live_restore.DoubtfulWarning, match="voxel") as caught:
        live_restore.restore(stack, voxel_size=(5.0, 2.0, 2.0), device="cpu")
    assert caught[0].filename == __file__


def test_views_and_foreign_byte_order_are_restored_alike(stack: Any) -> None:
    def restored(array: Any) -> Any:
        return live_restore.restore(array, voxel_size=VOXEL_UM, device="cpu")

    before = stack.copy()
    expected = restored(stack)
    foreign = stack.astype(stack.dtype.newbyteorder(">"))
    assert restored(foreign).dtype == foreign.dtype
    assert np.array_equal(restored(foreign), expected)
    assert np.array_equal(restored(np.asfortranarray(stack)), expected)
    assert np.array_equal(stack, before)


def test_models_stay_warm_and_the_last_two_only(
    stack: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    loaded: list[str] = []
    load = arrays.ModelSet.load

    def counted(settings: Any) -> Any:
        loaded.append(settings.models[0].model)
        return load(settings)

    monkeypatch.setattr(arrays.ModelSet, "load", counted)
    monkeypatch.setattr(arrays, "_model_sets", arrays.OrderedDict())
    copy = tmp_path / "mine.onnx"
    fast = ROOT / "live_restore" / "models" / "fast.onnx"
    copy.write_bytes(fast.read_bytes())
    for model in ("fast", "fast", str(copy), "fast"):
        live_restore.restore(stack, VOXEL_UM, model=model, device="cpu")
    assert loaded == ["fast", str(copy)]
    copy.touch()  # trained anew: what is warm is another model
    live_restore.restore(stack, VOXEL_UM, model=str(copy), device="cpu")
    assert loaded == ["fast", str(copy), str(copy)]
    assert len(arrays._model_sets) == 2


def test_settings_say_what_the_arguments_leave_open(stack: Any) -> None:
    settings = live_restore.Settings(output={"units": "camera-float"}, inference={"device": "cpu"})
    restored = live_restore.restore(stack, VOXEL_UM, settings=settings)
    assert restored.dtype == np.float32
    assert np.array_equal(
        np.rint(restored).astype(stack.dtype),
        live_restore.restore(stack, VOXEL_UM, device="cpu"),
    )


@pytest.mark.parametrize(
    ("array", "more", "said"),
    [
        (np.zeros((4, 4), np.uint16), {}, r"shape \(4, 4\); give it \(Z, Y, X\)"),
        (np.zeros((0, 4, 4), np.uint16), {}, r"shape \(0, 4, 4\)"),
        (np.zeros((4, 8, 8)), {}, "dtype float64; convert it to"),
        (np.ma.masked_less(np.ones((4, 8, 8), np.uint16), 2), {}, "is masked, .*; fill it first"),
        (np.zeros((2, 4, 8, 8), np.uint16), {}, "restore it channel by channel"),
        (np.zeros((4, 8, 8), np.uint16), {"voxel_size": (0.3, 0.1)}, r"\(z, y, x\) in micro"),
        (np.zeros((4, 8, 8), np.uint16), {"voxel_size": (0, 1, 1)}, r"\(z, y, x\) in micro"),
        (np.zeros((4, 8, 8), np.uint16), {"voxel_size": "abc"}, r"'abc'; .*\(z, y, x\) in micro"),
        (np.zeros((4, 8, 8), np.uint16), {"voxel_size": 0.3}, r"\(z, y, x\) in micro"),
        (np.zeros((4, 8, 8), np.uint16), {"voxel_size": (1, 1, None)}, r"\(z, y, x\) in micro"),
        (np.zeros((4, 8, 8), np.uint16), {"voxel_size": (1, 10**400, 1)}, r"\(z, y, x\) in micro"),
        (np.zeros((4, 8, 8), np.uint16), {"model": "fsat"}, "bundled are: fast"),
        (np.zeros((4, 8, 8), np.uint16), {"device": "toaster"}, "toaster"),
    ],
)
def test_wrong_use_is_refused(array: Any, more: dict[str, Any], said: str) -> None:
    with pytest.raises(live_restore.UsageError, match=said) as error:
        live_restore.restore(array, **{"device": "cpu", **more})
    assert "\n" not in str(error.value)


def test_what_holds_nothing_to_restore_is_refused() -> None:
    with pytest.raises(live_restore.StackRefusedError, match="the array: is constant"):
        live_restore.restore(np.full((4, 16, 16), 7, np.uint16), device="cpu")
    with pytest.raises(live_restore.StackRefusedError, match="not finite"):
        live_restore.restore(np.full((4, 16, 16), np.nan, np.float32), device="cpu")


def test_the_example_runs(tmp_path: Path) -> None:
    raw = LivingCell(shape_zyx=(6, 40, 48)).exposed(0)
    tifffile.imwrite(tmp_path / "raw.tif", raw, photometric="minisblack")
    example = ROOT / "examples" / "restore_array.py"
    for names in ([], [tmp_path / "raw.tif", tmp_path / "restored.tif"]):
        done = subprocess.run(
            [sys.executable, example, *names],
            env=environment(tmp_path / "state"), cwd=tmp_path, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        if not names:
            before, after = (float(line.split()[1]) for line in done.stdout.splitlines())
            assert after < before / 2
    assert tifffile.imread(tmp_path / "restored.tif").shape == raw.shape
