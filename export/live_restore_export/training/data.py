"""The data of one run: what is trained on, what it is judged by, and what of it is held at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from live_restore.errors import StackRefusedError, UsageError
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.options import CleanData, DataOptions, PairedData, TrainingOptions
from live_restore_export.training.patches import Patch
from live_restore_export.training.sources import CleanSource, PairedSource, SimulatedSource, Source
from live_restore_export.training.stacks import (
    PairRef,
    StackRef,
    file_stacks_in,
    pairs_in,
    stacks_of,
    voxel_um_of,
)

FIRST_VALIDATION_SEED = 1_000_000_000
"""Seeds of training, validation and test scenes never overlap: each set has its own range."""

_LIGHT_BYTES = 4
"""Per voxel of a clean stack, which is held as float32."""

_Ref = TypeVar("_Ref", StackRef, PairRef)


@dataclass(frozen=True)
class TrainingData:
    """The data of one run.

    Parameters
    ----------
    training, validation
        Where subjects come from.
    held
        How many subjects of ``training`` are in memory at a time.
    lines
        What was found, for people: the matching of names.
    summary
        One sentence for the model's card.
    voxel_um
        Range of voxel sizes, keys ``z`` and ``xy``, as far as they are known.
    """

    training: Source
    validation: Source
    held: int
    lines: tuple[str, ...]
    summary: str
    voxel_um: dict[str, tuple[float, float]]


def gather(
    data: DataOptions, options: TrainingOptions, simulation: SimulationConfig, seed: int, base: Path
) -> TrainingData:
    """Find the data of a run; paths count from ``base``.

    Raises
    ------
    UsageError
        A folder that is missing or empty, or whose stacks do not belong together or do not suffice.
    StackError
        A file that cannot be learnt from; every one of them is read once here, so that a run does
        not end on its second day because of the last.
    """
    if isinstance(data, PairedData):
        return _paired(data, options, seed, base)
    if isinstance(data, CleanData):
        return _clean(data, options, simulation, seed, base)
    # An empty stack is worth training on; it has no signal-to-noise ratio to be judged by.
    filled = simulation.model_copy(update={"empty_share": 0.0})
    return TrainingData(
        SimulatedSource(simulation, seed),
        SimulatedSource(filled, FIRST_VALIDATION_SEED),
        options.scenes_kept,
        (),
        "Trained on simulated stacks only.",
        {"z": simulation.voxel_z_um, "xy": simulation.voxel_xy_um},
    )


def _paired(data: PairedData, options: TrainingOptions, seed: int, base: Path) -> TrainingData:
    pairs = pairs_in(base / data.raw, base / data.gt, data.channel)
    if data.validation_raw is not None and data.validation_gt is not None:
        kept, judged = (
            pairs,
            pairs_in(base / data.validation_raw, base / data.validation_gt, data.channel),
        )
    else:
        kept, judged = _hold_out(pairs, data.held_out_share, seed, base / data.raw)
    training = PairedSource(tuple(kept), options, data.truth_scale, seed)
    validation = PairedSource(tuple(judged), options, data.truth_scale)
    _check(training, [ref.raw for ref in kept], options)
    _check(validation, [ref.raw for ref in judged], options)
    largest = max(_bytes(ref.raw) + _bytes(ref.truth) for ref in kept)
    return TrainingData(
        training,
        validation,
        _held(largest, len(kept), data.memory_gb, options),
        tuple(
            f"{role} {ref.raw.label} <-> {ref.truth.label}  "
            f"{' x '.join(map(str, ref.raw.shape_zyx))}  "
            f"{ref.raw.file_stacks.dtype} <-> {ref.truth.file_stacks.dtype}"
            for role, refs in (("train   ", kept), ("validate", judged))
            for ref in refs
        ),
        f"Trained on measured pairs of stacks ({len(kept)}).",
        voxel_um_of([ref.raw.file_stacks for ref in kept]),
    )


def _clean(
    data: CleanData,
    options: TrainingOptions,
    simulation: SimulationConfig,
    seed: int,
    base: Path,
) -> TrainingData:
    refs = stacks_of(file_stacks_in(base / data.clean), data.channel)
    if data.validation_clean is not None:
        kept, judged = refs, stacks_of(file_stacks_in(base / data.validation_clean), data.channel)
    else:
        kept, judged = _hold_out(refs, data.held_out_share, seed, base / data.clean)
    training = CleanSource(tuple(kept), simulation, seed)
    validation = CleanSource(tuple(judged), simulation)
    _check(training, kept, options)
    _check(validation, judged, options)
    largest = max(ref.file_stacks.stack_voxels * _LIGHT_BYTES for ref in kept)
    return TrainingData(
        training,
        validation,
        _held(largest, len(kept), data.memory_gb, options),
        tuple(
            f"{role} {ref.label}  {' x '.join(map(str, ref.shape_zyx))}  {ref.file_stacks.dtype}"
            for role, some in (("train   ", kept), ("validate", judged))
            for ref in some
        ),
        f"Trained on clean stacks ({len(kept)}) with simulated camera noise.",
        voxel_um_of([ref.file_stacks for ref in kept]),
    )


def _hold_out(
    refs: list[_Ref], share: float, seed: int, folder: Path
) -> tuple[list[_Ref], list[_Ref]]:
    """Return the stacks to train on and those to judge by, chosen by ``seed``."""
    if len(refs) < 2:
        raise UsageError(
            "holds one stack only, so that none is left to judge the network by",
            folder,
            "add a second one, or name a folder for validation",
        )
    count = min(max(1, round(share * len(refs))), len(refs) - 1)
    chosen = set(np.random.default_rng(seed).permutation(len(refs))[:count].tolist())
    kept = [ref for index, ref in enumerate(refs) if index not in chosen]
    return kept, [refs[index] for index in sorted(chosen)]


def _check(source: Source, refs: Sequence[StackRef], options: TrainingOptions) -> None:
    """Read every stack once, and refuse what is too small before the first is read."""
    for ref in refs:
        if any(p > s for p, s in zip(options.patch_zyx, ref.shape_zyx, strict=True)):
            shape, patch = (" x ".join(map(str, v)) for v in (ref.shape_zyx, options.patch_zyx))
            raise StackRefusedError(
                f"is smaller ({shape}) than the patch ({patch})",
                ref.path,
                "leave it out, or make training.patch_zyx smaller",
            )
    for number in range(len(refs)):
        source.load(number)


def _bytes(ref: StackRef) -> int:
    return ref.file_stacks.stack_voxels * ref.file_stacks.dtype.itemsize


def _held(largest: int, stacks: int, memory_gb: float, options: TrainingOptions) -> int:
    """Return how many stacks are held: what is asked for, what there is, what memory allows."""
    return max(1, min(options.scenes_kept, stacks, int(memory_gb * 1e9 / largest)))


def validation_patches(source: Source, options: TrainingOptions) -> list[Patch]:
    """Return the patches by which a run is followed: always the same, never trained on.

    All lie on structure: of an empty patch there is nothing to be seen.

    Raises
    ------
    UsageError
        The truth is flat in one of them, so that no signal-to-noise ratio exists.
    """
    patches = []
    for index in range(options.validation_patches):
        rng = np.random.default_rng((FIRST_VALIDATION_SEED + index, index))
        patch = source.load(index).cut(options, 1.0, rng)
        if patch.truth.min() == patch.truth.max():
            raise UsageError(
                f"validation patch {index} has no structure at all",
                None,
                "use larger patches, or other stacks for validation",
            )
        patches.append(patch)
    return patches
