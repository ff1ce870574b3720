"""Bad input: one clear line, the right exit code, and the other stacks go on."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import tifffile

from live_restore.simulation.scene import LivingCell
from tests.support.processes import digests, run_command, status


def good_stack(path: Path, seed: int = 1) -> None:
    stack = LivingCell(shape_zyx=(6, 40, 48), seed=seed).exposed(0)
    tifffile.imwrite(path, stack, imagej=True, metadata={"axes": "ZYX"})


def write_truncated(path: Path) -> None:
    good_stack(path)
    path.write_bytes(path.read_bytes()[:-5000])


def write_corrupt(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 500, (6, 40, 48), dtype=np.uint16)
    tifffile.imwrite(path, noise, photometric="minisblack", compression="zlib")
    with tifffile.TiffFile(path) as tif:
        start, count = tif.pages[3].dataoffsets[0], tif.pages[3].databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start + 10 : start + count] = b"\xff" * (count - 10)
    path.write_bytes(content)


def write_not_finite(path: Path) -> None:
    stack = LivingCell(shape_zyx=(6, 40, 48)).exposed(0).astype(np.float32)
    stack[2, 3, 4], stack[1, 1, 1] = np.nan, np.inf
    tifffile.imwrite(path, stack, photometric="minisblack")


def write_huge_claim(path: Path) -> None:
    """A few kilobytes that claim a plane of 10^6 x 10^6."""
    tifffile.imwrite(path, np.zeros((2, 8, 8), np.uint16), photometric="minisblack", metadata=None)
    with tifffile.TiffFile(path, mode="r+") as tif:
        for page in tif.pages:
            page.tags["ImageWidth"].overwrite(1_000_000, dtype="I")
            page.tags["ImageLength"].overwrite(1_000_000, dtype="I")


BAD = {
    "truncated.tif": (write_truncated, "arriving", "ends before its last plane"),
    "empty.tif": (lambda p: p.write_bytes(b""), "arriving", ""),
    "corrupt.tif": (write_corrupt, "failed", "plane"),
    "text.tif": (lambda p: p.write_text("not a TIFF at all " * 100), "failed", "TIFF"),
    "flat image.tif": (
        lambda p: tifffile.imwrite(p, np.ones((64, 64), np.uint16), photometric="minisblack"),
        "refused",
        "2-D",
    ),
    "one plane.tif": (
        lambda p: tifffile.imwrite(
            p, np.ones((1, 64, 64), np.uint16), ome=True, metadata={"axes": "ZYX"}
        ),
        "refused",
        "plane",
    ),
    "constant.tif": (
        lambda p: tifffile.imwrite(p, np.full((6, 32, 32), 7, np.uint16), photometric="minisblack"),
        "refused",
        "constant",
    ),
    "not finite.tif": (write_not_finite, "refused", "NaN"),
    "rgb.tif": (
        lambda p: tifffile.imwrite(p, np.ones((4, 32, 32, 3), np.uint8), photometric="rgb"),
        "refused",
        "",
    ),
    "huge claim.tif": (write_huge_claim, None, ""),
    "five-D.tif": (
        lambda p: tifffile.imwrite(
            p,
            np.random.default_rng(0).integers(0, 99, (2, 3, 4, 16, 16), dtype=np.uint16),
            photometric="minisblack",
            metadata={"axes": "EHZYX"},
        ),
        "refused",
        "",
    ),
}


def test_every_bad_file_gets_its_line_and_the_good_ones_are_restored(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    for name, (write, _, _) in BAD.items():
        write(folder / name)
    good = ["aaa.tif", "mit Leerzeichen und ümläut.tif", "zzz.tif"]
    if os.name == "posix":
        good.append("new\nline.tif")
    for number, name in enumerate(good):
        good_stack(folder / name, number)
    before = digests(folder)

    done = run_command(state, "watch", folder, "--once")

    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr
    said = {f["source"]: f for f in status(state, folder)["files"]}
    for name, (_, expected_state, word) in BAD.items():
        entry = said[name]
        if expected_state is not None:
            assert entry["state"] == expected_state, entry
        assert entry["state"] != "done"
        assert word in entry["reason"], entry
        assert entry["reason"]
        assert "\n" not in entry["reason"]
    for name in good:
        assert said[name]["state"] == "done"
        assert (folder / "restored" / name.replace(".tif", ".ome.tif")).exists()
    assert digests(folder) == before
    assert sorted(p.suffix for p in (folder / "restored").iterdir()) == sorted(
        [".json", ".tif"] * len(good)
    )


def test_results_folder_that_cannot_be_made(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    good_stack(folder / "a.tif")
    (folder / "restored").write_text("somebody's file")
    done = run_command(state, "watch", folder, "--once")
    assert done.returncode == 1
    (entry,) = status(state, folder)["files"]
    assert entry["state"] == "waiting"
    assert "cannot be written" in entry["reason"]
    (folder / "restored").unlink()
    assert run_command(state, "watch", folder, "--once").returncode == 0
    assert status(state, folder)["counts"]["done"] == 1


def test_a_file_that_cannot_be_read_is_not_called_good(tmp_path: Path) -> None:
    state, folder = tmp_path / "state", tmp_path / "data"
    folder.mkdir()
    good_stack(folder / "good.tif")
    good_stack(folder / "held.tif")
    if os.name != "posix" or shutil.which("setpriv") is None or os.geteuid() != 0:
        pytest.skip("needs root and setpriv to take its own rights away")
    (folder / "held.tif").chmod(0)
    rights = "-dac_override,-dac_read_search"
    done = run_command(
        state, "watch", folder, "--once",
        before=["setpriv", "--bounding-set", rights, "--inh-caps", "-all"],
    )  # fmt: skip
    (folder / "held.tif").chmod(0o644)
    assert done.returncode == 1, done.stderr
    assert status(state, folder)["counts"]["done"] == 1
    assert run_command(state, "watch", folder, "--once").returncode == 0
    assert status(state, folder)["counts"]["done"] == 2


def one_line(stderr: str) -> bool:
    return stderr.count("\n") == 1 and "Traceback" not in stderr


@pytest.mark.parametrize("command", ["watch", "status"])
def test_a_folder_that_does_not_exist(tmp_path: Path, command: str) -> None:
    done = run_command(tmp_path / "state", command, tmp_path / "nowhere")
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert "nowhere" in done.stderr


def test_a_model_that_is_none(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    folder.mkdir()
    model = tmp_path / "model.onnx"
    model.write_bytes(b"this is no model")
    for text in (model, tmp_path / "missing.onnx"):
        done = run_command(tmp_path / "state", "watch", folder, "--model", text)
        assert done.returncode == 2
        assert one_line(done.stderr), done.stderr
        assert str(text) in done.stderr


def test_a_config_with_a_wrong_type(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[watch]\nstall_s = "soon"\n')
    done = run_command(tmp_path / "state", "watch", tmp_path, "--config", config)
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert "watch.stall_s" in done.stderr


def test_a_flag_that_does_not_exist(tmp_path: Path) -> None:
    done = run_command(tmp_path / "state", "watch", tmp_path, "--fast")
    assert done.returncode == 2
    assert one_line(done.stderr)


def test_cuda_where_there_is_none(tmp_path: Path) -> None:
    if shutil.which("nvidia-smi"):
        pytest.skip("this computer has an NVIDIA GPU")
    done = run_command(tmp_path / "state", "watch", tmp_path, "--once", "--device", "cuda")
    assert done.returncode == 2
    assert one_line(done.stderr)
    assert "cuda" in done.stderr


def test_restore_goes_on_after_a_bad_file(tmp_path: Path) -> None:
    good_stack(tmp_path / "good.tif")
    write_truncated(tmp_path / "bad.tif")
    done = run_command(
        tmp_path, "restore", tmp_path / "bad.tif", tmp_path / "no.tif", tmp_path / "good.tif"
    )
    assert done.returncode == 1
    assert (tmp_path / "restored" / "good.ome.tif").exists()
    lines = [line for line in done.stderr.splitlines() if "running on the CPU" not in line]
    assert len(lines) == 2, done.stderr
    assert "bad.tif" in lines[0]
    assert "no.tif" in lines[1]
