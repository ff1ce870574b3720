"""The layouts of the public sets, on tiny stand-ins, and the scores that their papers use."""

from __future__ import annotations

import importlib.util
import json
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from training_files import clean_stack, write_stack

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def public() -> ModuleType:
    """Return the benchmark, which is a script."""
    spec = importlib.util.spec_from_file_location("public_sets", ROOT / "benchmarks" / "public.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


def noisy(clean: NDArray[np.float32], seed: int) -> NDArray[np.uint16]:
    return np.random.default_rng(seed).poisson(100 + 50 * clean).astype(np.uint16)


def write_care(root: Path) -> None:
    for number in range(2):
        clean = clean_stack(number)
        write_stack(root / "Denoising_Planaria/test_data/GT" / f"{number}.tif", 9 * clean)
        for condition in (1, 2, 3):
            path = root / "Denoising_Planaria/test_data" / f"condition_{condition}"
            write_stack(path / f"{number}.tif", noisy(clean, condition))


def write_rcan(root: Path) -> None:
    for part in ("Training", "Testing"):
        for number in range(2):
            folder = root / "Denoising" / "Actin" / part
            write_stack(folder / "Raw" / f"{number}.tif", noisy(clean_stack(number), 1))
            write_stack(folder / "GT" / f"{number}.tif", noisy(clean_stack(number), 2))


def write_png(path: Path, image: NDArray[np.generic]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(path)


def write_fmd(root: Path) -> None:
    clean = 100 * clean_stack(3)[3]
    for level in ("raw", "avg2", "avg16"):
        for field in ("1", "19"):
            write_png(root / "Confocal_FISH" / level / field / "0001.png", clean + 5)
        write_png(root / "test_mix" / level / "Confocal_FISH_1.png", clean)
    write_png(root / "Confocal_FISH" / "gt" / "19" / "avg50.png", clean)
    write_png(root / "test_mix" / "gt" / "Confocal_FISH_1.png", clean)


def write_w2s(root: Path) -> None:
    for field in (80, 81):
        folder = root / f"Image{field:03d}"
        folder.mkdir(parents=True)
        shots = np.stack([noisy(clean_stack(1)[3], seed) for seed in range(20)])
        np.save(folder / "wf_channel0.npy", shots)


def write_mrc(path: Path, sections: NDArray[np.generic], extra: int = 0) -> None:
    header = np.zeros(256, "<i4")
    header[:3] = sections.shape[::-1]
    header[3] = {"uint16": 6, "float32": 2}[str(sections.dtype)]
    header[23] = extra
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(header.tobytes() + bytes(extra) + sections.tobytes())


def write_biotisr(root: Path) -> None:
    cell = root / "BioTISR_CCPs" / "Cell_001"
    clean = clean_stack(2)[3]
    for level in (1, 2, 3):
        patterns = np.stack([noisy(clean * level, seed) for seed in range(18)])
        write_mrc(cell / f"RawSIMData_level_{level:02d}.mrc", patterns, extra=8)
    write_mrc(cell / "SIM_gt.mrc", np.zeros((2, 48, 48), np.float32))


@pytest.mark.parametrize(
    ("write", "groups", "shape"),
    [
        (
            write_care,
            {f"CARE Denoising_Planaria, condition_{n}": 2 for n in (1, 2, 3)},
            (6, 24, 24),
        ),
        (write_rcan, {"3D-RCAN Actin": 2}, (6, 24, 24)),
        (
            write_fmd,
            {
                f"FMD {sample}, {level}": 1
                for sample in ("Confocal_FISH", "test_mix")
                for level in ("raw", "avg2", "avg16")
            },
            (1, 24, 24),
        ),
        (
            write_w2s,
            {f"W2S wf_channel0, mean of {n}": 1 for n in (1, 2, 4, 8, 16)},
            (1, 24, 24),
        ),
        (write_biotisr, {f"BioTISR BioTISR_CCPs, level_0{n}": 1 for n in (1, 2)}, (1, 24, 24)),
    ],
    ids=["CARE", "3D-RCAN", "FMD", "W2S", "BioTISR"],
)
def test_what_is_for_tests_is_found(
    public: ModuleType,
    tmp_path: Path,
    write: Callable[[Path], None],
    groups: dict[str, int],
    shape: tuple[int, ...],
) -> None:
    write(tmp_path / "sets")
    pairs = public.pairs_below(tmp_path, 99)
    assert {g: [p.group for p in pairs].count(g) for g in {p.group for p in pairs}} == groups
    for pair in pairs:
        image, truth = pair.read()
        assert image.shape == truth.shape == shape
        assert np.corrcoef(image.ravel(), truth.ravel())[0, 1] > 0.3
    assert len(public.pairs_below(tmp_path, 1)) == len(groups)


def test_wide_field_is_the_mean_of_the_patterns(public: ModuleType, tmp_path: Path) -> None:
    write_biotisr(tmp_path)
    cell = tmp_path / "BioTISR_CCPs" / "Cell_001"
    pair = public.pairs_below(tmp_path, 1)[0]
    sections = public.read_mrc(cell / "RawSIMData_level_01.mrc")
    assert sections.shape == (18, 24, 24)
    assert pair.read()[0][0] == pytest.approx(sections[:9].mean(axis=0), rel=1e-6)
    (cell / "RawSIMData_level_01.mrc").write_bytes(
        (cell / "RawSIMData_level_01.mrc").read_bytes()[:-1]
    )
    with pytest.raises(public.UsageError, match="cut off"):
        public.read_mrc(cell / "RawSIMData_level_01.mrc")


def test_scores_are_those_of_care(public: ModuleType) -> None:
    """By hand, on numbers: exposure and offset of a result do not count, structure does."""
    truth = clean_stack(0, (8, 32, 32))
    assert public.scores(7 * truth + 3, truth)[0] > 60
    assert public.scores(7 * truth + 3, truth)[1] > 0.999
    result = truth + np.random.default_rng(0).normal(0, 0.05, truth.shape).astype(np.float32)
    low, high = np.percentile(truth, (0.1, 99.9))
    wanted = (truth - low) / (high - low)
    a, b = np.polyfit(result.ravel().astype(float), wanted.ravel().astype(float), 1)
    mse = float(np.mean((a * result + b - wanted) ** 2))
    assert public.scores(result, truth)[0] == pytest.approx(-10 * np.log10(mse), abs=0.01)


def test_it_makes_a_table_and_says_that_sets_are_fetched_by_hand(
    public: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert public.main(["--root", str(tmp_path)]) == 2
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert "by hand" in told
    write_care(tmp_path)
    table = tmp_path / "table.json"
    arguments = ["--root", str(tmp_path), "--model", "fast", "--most", "1", "--table", str(table)]
    assert public.main(arguments) == 0
    row = json.loads(table.read_text())["CARE Denoising_Planaria, condition_1"]
    assert row["raw"]["images"] == 1
    assert row["fast"]["psnr_db"] > row["raw"]["psnr_db"]
    assert "| CARE Denoising_Planaria, condition_3 | 1 |" in capsys.readouterr().out
