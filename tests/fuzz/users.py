"""The entry points that mutated inputs go through, as the program itself uses them."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.errors import LiveRestoreError
from tests.fuzz.tree import Tree

MAX_STACKS_READ = 12
MAX_LINE = 4000

_TIMES_NS = (0, 1, -1, -(10**18), 10**18, 10**19, 2**63 - 1, 2**63, -(2**63), 4 * 10**18)
"""The years 1677 to 2286, and beyond."""

User = Callable[[random.Random, Path, Tree, Tree], None]


class WrongError(Exception):
    """What came out is neither a valid result nor an error of the project's in one line."""


def check_line(error: LiveRestoreError) -> None:
    """Check that an error is one printable line of bearable length."""
    said = str(error)
    if "\n" in said or len(said) > MAX_LINE or not said.isprintable():
        raise WrongError(f"not one line: {said[:200]!r} ({len(said)} characters)")


def _model_set() -> Any:
    from tests.support.fakes import fake_shelf

    return fake_shelf(overlap_zyx=(1, 4, 4))


def _publish(path: Path, datasets: str = "ome-tiff") -> None:
    """Restore what is at ``path`` with a network that does nothing, as the command does."""
    from live_restore.engine.one_shot import OneShot
    from live_restore.settings.model import Settings

    settings = Settings()
    update = {
        "watch": settings.watch.model_copy(update={"settle_s": 0.001}),
        "output": settings.output.model_copy(update={"acquisitions": datasets}),
    }
    shot = OneShot(_model_set(), settings.model_copy(update=update))
    for number, attempt in enumerate(shot.restore_all(path)):
        if isinstance(attempt, LiveRestoreError):
            check_line(attempt)
        elif not attempt.image.resolve().is_relative_to(path.parent.resolve()):
            raise WrongError(f"a result at {attempt.image}")
        if number >= 3:
            return


def use_tiff(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Inspect and read every file; sometimes restore it."""
    from live_restore.formats.file_format import Complete
    from live_restore.formats.tiff.tiff_format import TiffFormat

    hurt.write(folder)
    for name in hurt.files:
        path = folder / name
        if rng.random() < 0.1:
            with suppress(OSError, OverflowError):  # what this file system cannot keep
                os.utime(path, ns=(0, rng.choice(_TIMES_NS)), follow_symlinks=False)
        if rng.random() < 0.1:
            _publish(path)
        for axis in ("Z", "T"):
            try:
                tiff = TiffFormat(undeclared_axis="Z" if axis == "Z" else "T")
                found = tiff.inspect(path)
                if isinstance(found, Complete):
                    with tiff.open(found.file_stacks) as reader:
                        for key in found.file_stacks.indices()[:MAX_STACKS_READ]:
                            volume = reader.read(key)
                            if volume.shape != found.file_stacks.shape_of(key.position):
                                raise WrongError(f"a volume of {volume.shape}")
            except LiveRestoreError as error:
                check_line(error)


def use_dataset(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Follow a run that grows and is then damaged, read what is complete, sometimes restore it."""
    from live_restore.formats.following import Following
    from live_restore.formats.table import make_acquisition_formats, recognised_by

    run = folder / "run_1"
    young = pristine.copy() if rng.random() < 0.5 else hurt
    if young is not hurt:
        for name in rng.sample(list(young.files), rng.randrange(len(young.files))):
            if rng.random() < 0.5:
                del young.files[name]
                young.sizes.pop(name, None)
            else:
                young.files[name] = young.files[name][: rng.randrange(len(young.files[name]) + 1)]
    young.write(run)
    formats = make_acquisition_formats()
    names = {path.name for path in run.iterdir()}
    kind = recognised_by(run, names, formats)
    if kind is None:
        return
    following = Following(run, kind)
    for group, over in enumerate((False, False, True)):
        if group == 1 and young is not hurt:
            hurt.write(run)
        try:
            state = following.poll(over=over)
        except LiveRestoreError as error:
            check_line(error)
            continue
        for line in state.problems:
            if "\n" in line or len(line) > MAX_LINE:
                raise WrongError(f"a problem of {len(line)} characters: {line[:200]!r}")
        info = state.info
        for label in (*info.channel_names[:100], *info.position_names[:100]):
            if len(label) > 1000:
                raise WrongError(f"a name of {len(label)} characters")
        for key in list(state.stacks)[:MAX_STACKS_READ]:
            info.channel_name(key.channel), info.position_name(key.position)
            try:
                volume = following.read(key)
            except LiveRestoreError as error:
                check_line(error)
                continue
            if volume.ndim != 3 or not volume.any():
                raise WrongError(f"a volume of {volume.shape} for {key}")
    if rng.random() < 0.1:
        _publish(run, rng.choice(("ome-tiff", "ome-tiff", "ome-zarr")))


def use_vendor_child(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Let a child say what it says, and then end, hang or go on; believe none of it."""
    from live_restore.formats.file_format import Complete
    from live_restore.formats.vendor import vendor_format

    hurt.write(folder)
    path = folder / "cell.stk"
    path.write_bytes(bytes(1000))
    then = rng.choice(("", "", "", "sleep 60", "cat /dev/zero"))
    said = (str(folder / "said"),)
    vendor_format.PYTHON = ("/bin/sh", "-c", f'cat "$0"; exec {then or "true"}', *said)  # type: ignore[assignment]
    vendor_format._DESCRIBE_S = vendor_format._READ_S = 0.3
    kind = vendor_format.VendorFormat()
    try:
        found = kind.inspect(path)
        if isinstance(found, Complete):
            with kind.open(found.file_stacks) as reader:
                for key in found.file_stacks.indices()[:MAX_STACKS_READ]:
                    volume = reader.read(key)
                    if volume.shape != found.file_stacks.shape_zyx:
                        raise WrongError(f"a volume of {volume.shape}")
    except LiveRestoreError as error:
        check_line(error)


def use_model(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Load a model and use what its card says."""
    from live_restore.inference.device.check import known_tile, trusted_shape
    from live_restore.inference.device.tile_size import largest_tile_voxels
    from live_restore.inference.load import find_model, load_model
    from live_restore.inference.restorer import Restorer
    from live_restore.settings.model import InferenceSettings
    from live_restore.stack import VoxelSize
    from live_restore.trust.doubts import light_doubt, unknown_voxel_note, voxel_doubt

    hurt.write(folder)
    for path in (folder, *(folder / name for name in hurt.files)):
        try:
            model = load_model(find_model(str(path)), "cpu")
            card = model.card
            device = replace(model.session.device, memory_bytes=2**32, mvoxel_per_s=1.0)
            largest_tile_voxels(card, device)
            known_tile(trusted_shape((1, card.input_channels, 8, 200, 200), card), card)
            if card.envelope is not None:
                card.envelope.in_words()
                light_doubt(card.envelope, 3.0)
            voxel = VoxelSize(0.3, 0.1, 0.1)
            voxel_doubt(voxel, card.trained_voxel_um)
            unknown_voxel_note(voxel, card.trained_voxel_um)
            stack = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8)
            taken = stack if card.input_channels == 1 else np.stack([stack] * card.input_channels)
            Restorer(model, InferenceSettings()).restore(taken)
        except LiveRestoreError as error:
            check_line(error)


def use_records(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Read back what this program is supposed to have written."""
    from live_restore.files.naming import report_path, template_in
    from live_restore.formats.acquisition_format import AcquisitionInfo
    from live_restore.formats.script_plan import PlanReader
    from live_restore.inference.device.cache import DeviceCache
    from live_restore.outputs.output import AcquisitionStack, ResultPath, ResultRequest
    from live_restore.outputs.provenance import is_current, published_doubt, restored_pixels
    from live_restore.outputs.table import OUTPUTS, is_own_result
    from live_restore.stack import StackIndex
    from tests.support.fakes import a_dataset

    hurt.write(folder)
    dataset = a_dataset(folder / "cell.tif")
    image = folder / "restored" / "cell.ome.tif"
    place = ResultPath(image, report_path(image), "0123456789abcdef", True)
    of_file = ResultRequest(dataset, "{folder}/restored/{name}.ome.tif", "m", "r" * 64, "s")
    of_stack = ResultRequest(
        a_dataset(folder / "run" / "p000_t0000_c00"), template_in(folder / "results"), "m", "r",
        "s", acquisition_stack=AcquisitionStack(AcquisitionInfo("run", "any"), StackIndex(0, 0, 0)),
    )  # fmt: skip
    for ask in (
        lambda: OUTPUTS["ome-tiff"]().choose(of_file),
        lambda: is_current(place, dataset),
        lambda: published_doubt(place),
        lambda: restored_pixels(place.report),
        lambda: is_own_result(image),
        lambda: is_own_result(folder / "results" / "p000.ome.zarr"),
        lambda: OUTPUTS["ome-zarr"]().choose(of_stack),
        lambda: _plan(PlanReader(folder / "run_1").read()),
        lambda: DeviceCache(folder / "backends.json").get("key"),
        lambda: DeviceCache(folder / "backends.json").array("a", (1, 1, 2, 3, 3)),
    ):  # fmt: skip
        try:
            ask()
        except LiveRestoreError as error:
            check_line(error)


def _plan(plan: Any) -> None:
    if plan is not None:
        plan.stacks(), plan.volumes()
        for place in list(plan.z_of)[:20]:
            plan.planes(place)


def use_config(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Load the settings, and use the template."""
    from live_restore.files.naming import candidates, output_folder_name
    from live_restore.settings.load import load_settings

    hurt.write(folder)
    try:
        settings = load_settings(folder / "config.toml")
        settings.pixel_digest()
        list(candidates(folder / "a.tif", settings.output.template, "m", "r"))
        output_folder_name(settings.output.template)
    except LiveRestoreError as error:
        check_line(error)


def use_journal(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Open the journal and go on with it."""
    from live_restore.journal.journal import Journal
    from live_restore.journal.states import State

    hurt.write(folder)
    try:
        with Journal(folder / "a.sqlite", folder, recipe="r") as journal:
            journal.recover(3)
            for entry in journal.entries():
                entry.reason_now(0.0)
                if len(entry.reason) > 10**6:
                    raise WrongError("a reason without end")
            journal.counts(), journal.doubtful(), journal.redo_missing(folder)
            claimed = journal.lease(30.0)
            if claimed is not None:
                journal.finish(claimed, State.DONE, result="x")
    except LiveRestoreError as error:
        check_line(error)


def use_checkpoint(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Read trained weights."""
    from live_restore_export.checkpoints.base import NOTHING_SAID
    from live_restore_export.checkpoints.find import load_checkpoint

    hurt.write(folder)
    for name in hurt.files:
        try:
            load_checkpoint(folder / name, NOTHING_SAID)
        except LiveRestoreError as error:
            check_line(error)
