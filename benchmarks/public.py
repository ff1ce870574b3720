"""The public sets of noisy and clean images, in the tables of their papers.

    python benchmarks/public.py --root /data/public --model fast --table public.json
    python benchmarks/public.py --root /data/Denoising_Planaria --model mine.onnx --most 5

The sets are large and are fetched by hand, by whoever has agreed to their terms; nothing is
downloaded here. Below ``--root``, at any of its folders, these layouts are known:

``CARE``     Denoising_Planaria, Denoising_Tribolium: ``test_data/condition_N/*.tif`` and
             ``test_data/GT`` with the same names (Weigert et al. 2018;
             publications.mpi-cbg.de/publications-sites/7207)
``3D-RCAN``  ``Denoising/STRUCTURE/Test.../Raw/*.tif`` and ``GT`` beside it, matched by sorted name
             (Chen et al. 2021; zenodo.org/record/4624364)
``FMD``      ``Confocal_FISH/raw/19/*.png``, ``avg2`` ... ``avg16``, ``gt``: field 19 is for tests;
             and ``test_mix`` (Zhang et al. 2019; github.com/yinhaoz/denoising-fluorescence)
``W2S``      ``Image081/wf_channel0.npy``: 400 shots; fields 81 to 120 are for tests (Zhou et al.
             2020; github.com/IVRL/w2s)
``BioTISR``  ``BioTISR_CCPs/Cell_001/RawSIMData_level_01.mrc`` ... : wide-field images are the means
             of the patterns of a time point, and the highest level serves as truth (Qiao et al.
             2025; zenodo.org/records/13843670)

PSNR and SSIM as CARE defines them (Weigert et al., Nature Methods 15, 1090 (2018), supplement): the
truth is scaled by its percentiles 0.1 and 99.9, and the result by the straight line that brings it
nearest to that, so that only structure counts and not the exposure.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.errors import LiveRestoreError, UsageError
from live_restore.files.publish import publishing
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings

Image = NDArray[Any]

_DEPTH = 6
_TRUTH_RANKS = (0.1, 99.9)
_FMD_TEST_FIELD = "19"
_FMD_LEVELS = ("raw", "avg2", "avg4", "avg8", "avg16")
_W2S_TEST_FIELDS = range(81, 121)
_W2S_SHOTS = (1, 2, 4, 8, 16)
_MRC_TYPES = {0: "i1", 1: "<i2", 2: "<f4", 6: "<u2"}
_MRC_HEADER = 1024
_SSIM_WINDOW = 7


@dataclass(frozen=True)
class Pair:
    """A noisy image and its truth, both read as (Z, Y, X) when they are asked for."""

    group: str
    """Which set and condition: a line of the table."""
    name: str
    read: Callable[[], tuple[Image, Image]]


# Scores ---------------------------------------------------------------------------------------


def normalised(truth: Image) -> NDArray[np.float32]:
    """Return a truth with 0 and 1 at its percentiles 0.1 and 99.9."""
    low, high = np.percentile(truth, _TRUTH_RANKS)
    return np.asarray((truth.astype(np.float32) - low) / max(high - low, 1e-20), np.float32)


def brought_near(image: Image, truth: Image) -> NDArray[np.float32]:
    """Return ``a * image + b`` with the a and b of the least squared error to the truth."""
    x, y = image.astype(np.float64), truth.astype(np.float64)
    spread = x - x.mean()
    a = float((spread * y).mean() / max(float((spread**2).mean()), 1e-30))
    return np.asarray(a * spread + y.mean(), np.float32)


def scores(image: Image, truth: Image) -> tuple[float, float]:
    """Return PSNR (dB) and SSIM of an image (Z, Y, X) against its truth, both as CARE does."""
    from skimage.metrics import structural_similarity

    wanted = normalised(truth)
    got = brought_near(image, wanted)
    error = float(np.mean((got - wanted) ** 2, dtype=np.float64))
    deep = len(wanted) >= _SSIM_WINDOW  # SSIM's window is a cube, of a few planes a square
    similar = [
        structural_similarity(a, b, data_range=1.0)
        for a, b in ([(got, wanted)] if deep else zip(got, wanted, strict=True))
    ]
    return -10 * float(np.log10(max(error, 1e-12))), float(np.mean(similar))


# Layouts --------------------------------------------------------------------------------------


def care(folder: Path) -> Iterator[Pair]:
    """Yield the test pairs of CARE's Planaria and Tribolium, if this is the folder of one."""
    tests = folder / "test_data"
    for condition in sorted(tests.glob("condition_*")):
        for path in sorted(condition.glob("*.tif")):
            truth = tests / "GT" / path.name
            if truth.is_file():
                yield Pair(
                    f"CARE {folder.name}, {condition.name}",
                    path.name,
                    partial(_tiff_pair, path, truth),
                )


def rcan(folder: Path) -> Iterator[Pair]:
    """Yield the test pairs of 3D-RCAN, if this is a folder with ``Raw`` and ``GT`` for tests."""
    if not folder.name.lower().startswith("test"):
        return
    inside = {path.name.lower(): path for path in folder.iterdir() if path.is_dir()}
    if not {"raw", "gt"} <= inside.keys():
        return
    raws, truths = (sorted(inside[name].glob("*.tif")) for name in ("raw", "gt"))
    if len(raws) != len(truths):
        raise UsageError(
            f"holds {len(raws)} raw stacks and {len(truths)} truths", folder, "fetch it again"
        )
    for raw, truth in zip(raws, truths, strict=True):
        yield Pair(f"3D-RCAN {folder.parent.name}", raw.name, partial(_tiff_pair, raw, truth))


def fmd(folder: Path) -> Iterator[Pair]:
    """Yield the test pairs of FMD, if this is the folder of a sample or the mixed test."""
    truths = folder / "gt"
    if not (truths.is_dir() and (folder / "raw").is_dir()):
        return
    field = truths / _FMD_TEST_FIELD
    for level in _FMD_LEVELS:
        group = f"FMD {folder.name}, {level}"
        if field.is_dir():
            truth = next(iter(sorted(field.glob("*.png"))), None)
            noisy = sorted((folder / level / _FMD_TEST_FIELD).glob("*.png"))
            pairs = [(path, truth) for path in noisy if truth is not None]
        else:
            pairs = [
                (path, truths / path.name)
                for path in sorted((folder / level).glob("*.png"))
                if (truths / path.name).is_file()
            ]
        for path, its in pairs:
            yield Pair(group, path.name, partial(_png_pair, path, its))


def w2s(folder: Path) -> Iterator[Pair]:
    """Yield the test pairs of W2S, if this is the folder of a field for tests."""
    match = re.fullmatch(r"Image(\d{3})", folder.name)
    if match is None or int(match[1]) not in _W2S_TEST_FIELDS:
        return
    for path in sorted(folder.glob("wf_channel?.npy")):
        for shots in _W2S_SHOTS:
            yield Pair(
                f"W2S {path.stem}, mean of {shots}",
                f"{folder.name} {path.name}",
                partial(_shots_pair, path, shots),
            )


def biotisr(folder: Path) -> Iterator[Pair]:
    """Yield pairs of wide-field images of BioTISR, if this is the folder of a cell."""
    if not folder.name.startswith("Cell_") or not (folder / "SIM_gt.mrc").is_file():
        return
    levels = sorted(folder.glob("RawSIMData_level_*.mrc"))
    for path in levels[:-1]:
        level = path.stem.removeprefix("RawSIMData_")
        yield Pair(
            f"BioTISR {folder.parent.name}, {level}",
            f"{folder.name} {path.name}",
            partial(_patterns_pair, path, levels[-1], folder / "SIM_gt.mrc"),
        )


LAYOUTS = (care, rcan, fmd, w2s, biotisr)


def pairs_below(root: Path, most: int) -> list[Pair]:
    """Return the test pairs of every set below a folder, at most so many of each group.

    Raises
    ------
    UsageError
        There is no set there.
    """
    chosen: dict[str, list[Pair]] = {}
    for folder in _folders(root, _DEPTH):
        for layout in LAYOUTS:
            for pair in layout(folder):
                chosen.setdefault(pair.group, []).append(pair)
    if not chosen:
        raise UsageError(
            "holds none of the sets that are known (CARE, 3D-RCAN, FMD, W2S, BioTISR), or only "
            "what they train with",
            root,
            "fetch one by hand and unpack it there: `python benchmarks/public.py --help` says "
            "from where, and how it lies",
        )
    return [pair for group in sorted(chosen) for pair in islice(chosen[group], most)]


def _folders(root: Path, depth: int) -> Iterator[Path]:
    yield root
    if depth:
        for path in sorted(root.iterdir()):
            if path.is_dir() and not path.is_symlink():
                yield from _folders(path, depth - 1)


# Files ----------------------------------------------------------------------------------------


def _as_stack(image: Image) -> Image:
    """Return an image of two or three axes as (Z, Y, X)."""
    image = np.squeeze(image)
    if image.ndim not in (2, 3):
        raise UsageError(f"has {image.ndim} axes, and not two or three")
    return image if image.ndim == 3 else image[np.newaxis]


def _tiff_pair(noisy: Path, truth: Path) -> tuple[Image, Image]:
    return _as_stack(tifffile.imread(noisy)), _as_stack(tifffile.imread(truth))


def _png_pair(noisy: Path, truth: Path) -> tuple[Image, Image]:
    from PIL import Image as Picture

    return tuple(_as_stack(np.asarray(Picture.open(p).convert("L"))) for p in (noisy, truth))  # type: ignore[return-value]


def _shots_pair(path: Path, shots: int) -> tuple[Image, Image]:
    stack = np.load(path, mmap_mode="r", allow_pickle=False)
    few, all_of_them = (v.mean(axis=0, dtype=np.float64) for v in (stack[:shots], stack))
    return _as_stack(few.astype(np.float32)), _as_stack(all_of_them.astype(np.float32))


def read_mrc(path: Path) -> Image:
    """Return the sections of an MRC file (N, Y, X).

    The format of CCP-EM (Cheng et al., Journal of Structural Biology 192, 146 (2015)): sizes and
    type in the first four numbers of the header, the length of what follows it in the 24th.

    Raises
    ------
    UsageError
        No MRC file, or not all of one.
    """
    with path.open("rb") as file:
        header = np.frombuffer(file.read(_MRC_HEADER), "<i4")
        if len(header) < _MRC_HEADER // 4 or int(header[3]) not in _MRC_TYPES:
            raise UsageError("is no MRC file that can be read", path, "fetch it again")
        x, y, n = (int(v) for v in header[:3])
        kind = np.dtype(_MRC_TYPES[int(header[3])])
        begins = _MRC_HEADER + int(header[23])
        if min(x, y, n, begins) < 1 or path.stat().st_size < begins + x * y * n * kind.itemsize:
            raise UsageError("is cut off", path, "fetch it again")
        file.seek(begins)
        return np.fromfile(file, kind, x * y * n).reshape(n, y, x)


def _patterns_pair(noisy: Path, truth: Path, sim: Path) -> tuple[Image, Image]:
    """Return the first time point in wide field: the mean of the patterns that light it."""
    times = len(read_mrc(sim))
    return tuple(_as_stack(_wide_field(path, times)) for path in (noisy, truth))  # type: ignore[return-value]


def _wide_field(path: Path, times: int) -> NDArray[np.float32]:
    sections = read_mrc(path)
    patterns, rest = divmod(len(sections), times)
    if rest or not patterns:
        raise UsageError(
            f"holds {len(sections)} sections, which are no patterns of {times} time points", path
        )
    return np.asarray(sections[:patterns].mean(axis=0), np.float32)


# The table ------------------------------------------------------------------------------------


def measure(pairs: list[Pair], methods: dict[str, Callable[[Image], Image]]) -> dict[str, Any]:
    """Return per group and method the means of PSNR and SSIM, and how many there are."""
    found: dict[str, dict[str, list[tuple[float, float]]]] = {}
    for pair in pairs:
        noisy, truth = pair.read()
        for name, method in methods.items():
            row = found.setdefault(pair.group, {}).setdefault(name, [])
            row.append(scores(method(noisy), truth))
            print(f"{pair.group}, {pair.name}: {name} {row[-1][0]:.2f} dB, {row[-1][1]:.3f}")
    return {
        group: {
            name: {
                "psnr_db": round(float(np.mean([v[0] for v in values])), 3),
                "ssim": round(float(np.mean([v[1] for v in values])), 4),
                "images": len(values),
            }
            for name, values in row.items()
        }
        for group, row in found.items()
    }


def markdown(table: dict[str, Any]) -> str:
    """Return the table: a line per set and condition, PSNR / SSIM per method."""
    methods = list(dict.fromkeys(name for row in table.values() for name in row))
    lines = [f"| set | images | {' | '.join(methods)} |", "|---" * (len(methods) + 2) + "|"]
    for group, row in table.items():
        cells = [f"{v['psnr_db']:.2f} / {v['ssim']:.3f}" for v in (row[m] for m in methods)]
        lines.append(f"| {group} | {row[methods[0]]['images']} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--root", type=Path, required=True, help="where sets lie")
    parser.add_argument("--model", action="append", default=[], help="bundled name or ONNX file")
    parser.add_argument("--most", type=int, default=10**9, help="images of each condition")
    parser.add_argument("--table", type=Path, help="JSON file to write")
    options = parser.parse_args(argv)
    try:
        pairs = pairs_below(options.root, options.most)
        methods: dict[str, Callable[[Image], Image]] = {"raw": lambda noisy: noisy}
        for name in options.model:
            model = load_model(find_model(name), "cpu")
            restorer = Restorer(model, InferenceSettings(), "camera-float")
            methods[Path(name).stem] = lambda noisy, its=restorer: its.restore(noisy).volume  # type: ignore[misc]
        table = measure(pairs, methods)
    except LiveRestoreError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    if options.table is not None:
        with publishing(options.table) as temporary:
            temporary.write_text(json.dumps(table, indent=1) + "\n")
    print(markdown(table))
    return 0


if __name__ == "__main__":
    sys.exit(main())
