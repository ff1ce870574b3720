"""Tiles against whole stacks: how much they differ, where, and why, as tables and a picture.

    python benchmarks/tiles.py STACK.tif ... [--model fast --model standard] [--picture seams.png]

The whole stack is one tile in the first run. In the others tiles have at most so many voxels; the
smallest that "auto" takes anywhere is the first of them. PSNR is in network units, where 1 is the
peak. "Inside" leaves out what is nearer to a cut than the overlap: there no convolution has seen
the cut, and what differs is channel attention alone, which averages over the tile. "Step" is the
mean jump of the difference across the middle of an overlap, over the mean change of the image there
from voxel to voxel: what a seam would be seen against.
"""

from __future__ import annotations

import argparse
import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tifffile
from numpy.typing import NDArray

from live_restore.inference.device.hardware import cpu_name
from live_restore.inference.device.tile_size import SMALLEST_VOXELS
from live_restore.inference.image.tiling import TilePlan, plan_tiles
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model.model import Model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings

Floats = NDArray[np.float64]
_AMPLIFIED = 100


@dataclass(frozen=True)
class Compared:
    """One stack, whole and in tiles (network units)."""

    plan: TilePlan
    whole: Floats
    tiled: Floats

    @property
    def difference(self) -> Floats:
        """Tiled minus whole."""
        return self.tiled - self.whole


def psnr(difference: Floats) -> float:
    """Return the PSNR (dB) where the peak is 1."""
    return float(-10 * np.log10(np.mean(difference**2)))


def restored(model: Model, stack: NDArray[np.generic], voxels: float) -> Floats:
    """Restore with tiles of at most so many voxels."""
    settings = InferenceSettings(max_tile_mvoxel=voxels / 1e6)
    return Restorer(model, settings, "network").restore(stack).volume.astype(np.float64)


def cuts(plan: TilePlan, axis: int) -> list[int]:
    """Return where, along an axis, the middles of the overlaps are."""
    starts, tile = plan.starts_zyx[axis], plan.tile_zyx[axis]
    return [(after + before + tile) // 2 for before, after in itertools.pairwise(starts)]


def inside(plan: TilePlan, overlap: tuple[int, int, int]) -> NDArray[np.bool_]:
    """Return which voxels are farther from every end of a tile, in the stack, than the overlap."""
    kept = np.ones(plan.stack_zyx, bool)
    for axis in range(3):
        along = np.ones(plan.stack_zyx[axis], bool)
        for start in plan.starts_zyx[axis]:
            for end in (start, start + plan.tile_zyx[axis]):
                if 0 < end < plan.stack_zyx[axis]:
                    along[max(0, end - overlap[axis]) : end + overlap[axis]] = False
        kept &= np.expand_dims(along, [a for a in range(3) if a != axis])
    return kept


def step(compared: Compared) -> float:
    """Return the largest jump of the difference across a cut, over the image's own there."""
    jumps = [0.0]
    for axis in range(3):
        jump = np.abs(np.diff(compared.difference, axis=axis))
        own = np.abs(np.diff(compared.whole, axis=axis))
        jumps += [
            float(np.take(jump, cut - 1, axis).mean() / np.take(own, cut - 1, axis).mean())
            for cut in cuts(compared.plan, axis)
        ]
    return max(jumps)


def show(path: Path, rows: list[tuple[str, Compared]]) -> None:
    """Write a plane of each stack: whole, tiled, and the difference, amplified."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, axes = plt.subplots(len(rows), 3, figsize=(11, 3.4 * len(rows)), squeeze=False)
    for row, (name, compared) in zip(axes, rows, strict=True):
        plane = len(compared.whole) // 2
        span = 0.5 / _AMPLIFIED
        row[0].imshow(compared.whole[plane], cmap="gray", vmin=0, vmax=1)
        row[1].imshow(compared.tiled[plane], cmap="gray", vmin=0, vmax=1)
        row[2].imshow(compared.difference[plane], cmap="RdBu", vmin=-span, vmax=span)
        titles = ("whole", f"tiles of {compared.plan.tile_zyx}", f"difference x {_AMPLIFIED}")
        for ax, title in zip(row, titles, strict=True):
            ax.set_title(f"{name}: {title}" if title == "whole" else title, fontsize=9)
            ax.set_axis_off()
        for cut in cuts(compared.plan, 1):
            row[2].plot([-4, -1], [cut, cut], "k", lw=1, clip_on=False)
        for cut in cuts(compared.plan, 2):
            row[2].plot([cut, cut], [-4, -1], "k", lw=1, clip_on=False)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    """Print a table; draw the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("stacks", nargs="+", type=Path, metavar="STACK.tif")
    parser.add_argument("--model", action="append", default=[])
    parser.add_argument("--smaller", type=int, default=3, help="times that tiles are halved")
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    print(cpu_name())
    print("| model | stack | tiles | PSNR | inside | step |")
    print("|---|---|---|---:|---:|---:|")
    drawn = []
    for name in arguments.model or ["fast"]:
        model = load_model(find_model(name), reduced=False)
        card = model.card
        for path in arguments.stacks:
            stack = tifffile.imread(path)
            whole = restored(model, stack, 2.0 * stack.size)
            for halved in range(arguments.smaller + 1):
                voxels = SMALLEST_VOXELS >> halved
                plan = plan_tiles(stack.shape, voxels, card.overlap_zyx, card.shape_multiple_zyx)
                if plan.tile_count == 1:
                    continue
                compared = Compared(plan, whole, restored(model, stack, voxels))
                if not halved:
                    drawn.append((f"{name}, {path.stem}", compared))
                kept = compared.difference[inside(plan, card.overlap_zyx)]
                within = f"{psnr(kept):.1f} dB" if kept.size else "–"
                tiles = f"{plan.tile_count} of {' x '.join(map(str, plan.tile_zyx))}"
                print(
                    f"| {name} | {path.stem} | {tiles} | {psnr(compared.difference):.1f} dB "
                    f"| {within} | {step(compared):.1%} |",
                    flush=True,
                )
    if arguments.picture:
        show(arguments.picture, drawn)


if __name__ == "__main__":
    main()
