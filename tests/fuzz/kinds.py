"""How inputs of each kind are mutated, and the entry points that have to cope with them."""

from __future__ import annotations

import io
import random
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from live_restore.errors import LiveRestoreError
from tests.fuzz.mutate import damage, mutate_json, mutate_text
from tests.fuzz.mutate_onnx import mutate_onnx, with_card
from tests.fuzz.mutate_tiff import (
    description_of,
    mutate_description,
    mutate_tiff,
    replace_block,
    survey,
)
from tests.fuzz.seeds import SEEDS
from tests.fuzz.tree import Tree

MAX_STACKS_READ = 12
MAX_LINE = 4000
ODD = ("fifo", "socket", "folder", "loop", "up", "device")

Mutator = Callable[[random.Random, Tree], None]
User = Callable[[random.Random, Path, Tree, Tree], None]


class WrongError(Exception):
    """What came out is neither a valid result nor an error of the project's in one line."""


def check_line(error: LiveRestoreError) -> None:
    """Check that an error is one printable line of bearable length."""
    said = str(error)
    if "\n" in said or len(said) > MAX_LINE or not said.isprintable():
        raise WrongError(f"not one line: {said[:200]!r} ({len(said)} characters)")


# Mutators ---------------------------------------------------------------------------------------


def _file_like(rng: random.Random, tree: Tree, *endings: str) -> str | None:
    names = [name for name in tree.files if name.endswith(endings)]
    return rng.choice(names) if names else None


def _tiff_in(rng: random.Random, tree: Tree, name: str) -> None:
    tree.files[name], size = mutate_tiff(rng, tree.files[name])
    if size is not None:
        tree.sizes[name] = size
    elif name in tree.sizes and rng.random() < 0.5:
        del tree.sizes[name]


def _text_in(rng: random.Random, tree: Tree) -> None:
    name = rng.choice(list(tree.files))
    data = tree.files[name]
    where = survey(data)
    found = description_of(data, where) if where else None
    if where is None or found is None:
        _tiff_in(rng, tree, name)
        return
    entry, text = found
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = mutate_description(rng, text)
    tree.files[name] = replace_block(data, where, entry, text, 2)


def _dataset(rng: random.Random, tree: Tree) -> None:
    """Change one file of a data set, by what it is, or put something odd in its place."""
    name = rng.choice(list(tree.files))
    what = rng.random()
    if what < 0.05:
        folders = [str(Path(each).parent) for each in tree.files if "/" in each]
        at = name if rng.random() < 0.7 or not folders else rng.choice(folders)
        tree.odd[at] = rng.choice(ODD)
    elif what < 0.08:
        tree.sizes[name] = rng.choice((2**20, 2**31, 2**32, 2**36))
    elif what < 0.11:
        tree.files[_odd_name(rng, name)] = tree.files[name]
    elif name.endswith((".json", ".zattrs", ".zarray")) or name.endswith("metadata.txt"):
        tree.files[name] = mutate_json(rng, tree.files[name])
    elif name.endswith(".index"):
        tree.files[name] = _mutate_index(rng, tree.files[name])
    elif name.endswith("MMStack_Pos0.ome.tif") and rng.random() < 0.7:
        tree.files[name] = _mutate_map(rng, tree.files[name])
    elif name.endswith(".tif"):
        if rng.random() < 0.4:
            tree.files[name] = _mutate_embedded_json(rng, tree.files[name])
        else:
            _tiff_in(rng, tree, name)
    else:
        tree.files[name] = damage(rng, tree.files[name])


def _odd_name(rng: random.Random, name: str) -> str:
    folder, _, last = name.rpartition("/")
    odd = rng.choice((
        last.replace("0", "9"), last.replace("0", "00000"), "0.0.0.0.0", "999999999", "x" + last,
        last.upper(), last + " ", last + ".", "a\nb" + last, last.replace("Pos0", "..\\x"),
        last.replace("000", "999999999"), "zarr.json", "metadata.txt", "NDTiff.index",
        "run_NDTiffStack_999999.tif", "\udcff" + last,
    ))  # fmt: skip
    return f"{folder}/{odd}" if folder else odd


def _mutate_index(rng: random.Random, data: bytes) -> bytes:
    """Change a number of an index entry, its axes, or repeat the whole."""
    what = rng.randrange(5)
    if what == 0:
        return data * rng.choice((2, 50))
    if what in (1, 2):
        return _mutate_embedded_json(rng, data)
    words = range(0, max(1, len(data) - 4), 4)
    at = rng.choice(words) if what == 3 else max(0, data.find(b".tif") + 4 + 4 * rng.randrange(8))
    from tests.fuzz.mutate import number

    return data[:at] + (number(rng) % 2**32).to_bytes(4, "little") + data[at + 4 :]


def _mutate_map(rng: random.Random, data: bytes) -> bytes:
    """Change a record of Micro-Manager's index map, its header or its summary."""
    from tests.fuzz.mutate import number

    start = data.find((3453623).to_bytes(4, "little"))
    what = rng.randrange(5)
    if what == 0 or start < 0:
        return _mutate_embedded_json(rng, data)
    at = 4 * rng.randrange(10) if what == 1 else start + 4 + 4 * rng.randrange(1 + 5 * 7)
    if what == 4:  # many records of one image
        record = start + 8 + 20 * rng.randrange(6)
        copies = rng.choice((10, 900))
        return (
            data[: start + 8]
            + data[record : record + 20] * copies
            + data[start + 8 + 20 * copies :]
        )
    return data[:at] + (number(rng) % 2**32).to_bytes(4, "little") + data[at + 4 :]


def _mutate_embedded_json(rng: random.Random, data: bytes) -> bytes:
    """Change a JSON object somewhere in a file and keep all lengths; or put a longer one at last."""
    starts = [n for n in range(min(len(data), 60_000)) if data[n : n + 2] == b'{"']
    if not starts:
        return damage(rng, data)
    start = rng.choice(starts)
    depth, end = 0, start
    while end < len(data) and end - start < 8000:
        depth += (data[end] == 0x7B) - (data[end] == 0x7D)
        end += 1
        if depth == 0:
            break
    old = data[start:end]
    new = mutate_json(rng, old)
    if start >= 4 and data[start - 4 : start] == len(old).to_bytes(4, "little"):
        # A length stands before it; what follows moves.
        if rng.random() < 0.5 or len(new) > len(old):
            return data[: start - 4] + len(new).to_bytes(4, "little") + new + data[end:]
    return data[:start] + new[: len(old)].ljust(len(old)) + data[end:]


def _package(rng: random.Random, tree: Tree) -> None:
    name = rng.choice(list(tree.files))
    data = tree.files[name]
    if name.endswith(".zip"):
        tree.files[name] = _mutate_zip(rng, data)
    elif rng.random() < 0.06:
        tree.odd[name] = rng.choice(ODD)
    elif name.endswith(".yaml"):
        tree.files[name] = _mutate_yaml(rng, data)
    else:
        tree.files[name] = mutate_onnx(rng, data)


_YAML = (
    b"<<: *c\n", b"a: &a [*a]\n", b"b: &b {<<: *b}\n", b"n: " + b"1:" * 3000 + b"1\n", b"? [x]\n: y\n",
    b"d: 2001-13-45\n", b"e: !!python/object/apply:os.system [true]\n", b"f: !!binary x\n", b"g: .inf\n",
    b"h: 1e400\n", b"i: 0x" + b"f" * 5000 + b"\n", b"---\n", b"%YAML 9.9\n---\n", b"k: !!set {a, b}\n",
    b"config: {live_restore: {card: {name: x, overlap_zyx: [999999999, 0, 0]}}}\n", b"l: [" * 2000,
)  # fmt: skip


def _mutate_yaml(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.3:
        lines = data.splitlines(keepends=True)
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(_YAML))
        return b"".join(lines)
    return mutate_text(rng, data)


def _mutate_zip(rng: random.Random, data: bytes) -> bytes:
    what = rng.randrange(4)
    if what == 0:
        return damage(rng, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            yaml, onnx = (archive.read(info) for info in archive.infolist()[:2])
    except Exception:  # noqa: BLE001 - a mutation of before has made it no zip any more
        return damage(rng, data)
    if what == 1:
        yaml = _mutate_yaml(rng, yaml)
    elif what == 2:
        onnx = mutate_onnx(rng, onnx)
    else:
        onnx = bytes(rng.choice((10**6, 10**7)))
        yaml += b"# " + bytes(10)
    packing = rng.choice(
        (zipfile.ZIP_DEFLATED, zipfile.ZIP_STORED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
    )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", packing) as archive:
        archive.writestr(rng.choice(("bioimageio.yaml", "rdf.yaml")), yaml)
        archive.writestr(rng.choice(("tiny.onnx", "../tiny.onnx", "/tiny.onnx")), onnx)
    packed = bytearray(buffer.getvalue())
    if rng.random() < 0.3:  # a size, a checksum or a method of the directory
        entry = packed.rindex(b"PK\x01\x02") + rng.choice((8, 10, 16, 20, 24, 28, 42))
        packed[entry : entry + 4] = rng.choice((0, 1, 2**30 - 1, 2**31, 2**32 - 1)).to_bytes(
            4, "little"
        )
    return bytes(packed)


def _records(rng: random.Random, tree: Tree) -> None:
    name = rng.choice(list(tree.files))
    if rng.random() < 0.05:
        tree.odd[name] = rng.choice(ODD)
    elif name.endswith(".json"):
        tree.files[name] = mutate_json(rng, tree.files[name])
    else:
        tree.files[name] = damage(rng, tree.files[name])


def _each(change: Callable[[random.Random, bytes], bytes]) -> Mutator:
    def mutate(rng: random.Random, tree: Tree) -> None:
        name = rng.choice(list(tree.files))
        tree.files[name] = change(rng, tree.files[name])

    return mutate


def _torch(rng: random.Random, data: bytes) -> bytes:
    """Change a member of the zip that torch writes; its checksum fits again."""
    if rng.random() < 0.3:
        return damage(rng, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # noqa: BLE001 - a mutation of before has made it no zip any more
        return damage(rng, data)
    number = rng.randrange(len(members))
    weighted = [n for n, (name, _) in enumerate(members) if name.endswith(".pkl")]
    number = rng.choice(weighted) if rng.random() < 0.7 else number
    name, content = members[number]
    members[number] = (name, damage(rng, content))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


# Users ------------------------------------------------------------------------------------------


def _shelf() -> Any:
    from tests.support.fakes import fake_shelf

    return fake_shelf(overlap_zyx=(1, 4, 4))


def _publish(path: Path, datasets: str = "ome-tiff") -> None:
    """Restore what is at ``path`` with a network that does nothing, as the command does."""
    from live_restore.one_shot import OneShot
    from live_restore.settings import Settings

    settings = Settings()
    update = {
        "watch": settings.watch.model_copy(update={"settle_s": 0.001}),
        "output": settings.output.model_copy(update={"datasets": datasets}),
    }
    shot = OneShot(_shelf(), settings.model_copy(update=update))
    for number, attempt in enumerate(shot.restore_all(path)):
        if isinstance(attempt, LiveRestoreError):
            check_line(attempt)
        elif not attempt.image.resolve().is_relative_to(path.parent.resolve()):
            raise WrongError(f"a result at {attempt.image}")
        if number >= 3:
            return


def use_tiff(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Inspect and read every file; sometimes restore it."""
    from live_restore.formats.base import Complete
    from live_restore.formats.tiff import TiffFormat

    hurt.write(folder)
    for name in hurt.files:
        path = folder / name
        if rng.random() < 0.1:
            _publish(path)
        for axis in ("Z", "T"):
            try:
                tiff = TiffFormat(undeclared_axis="Z" if axis == "Z" else "T")
                found = tiff.inspect(path)
                if isinstance(found, Complete):
                    with tiff.open(found.dataset) as reader:
                        for key in found.dataset.keys()[:MAX_STACKS_READ]:
                            volume = reader.read(key)
                            if volume.shape != found.dataset.shape_zyx:
                                raise WrongError(f"a volume of {volume.shape}")
            except LiveRestoreError as error:
                check_line(error)


def use_dataset(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Follow a run that grows and is then damaged, read what is complete, sometimes restore it."""
    from live_restore.following import Following
    from live_restore.formats.table import claimed_by, make_dataset_formats

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
    formats = make_dataset_formats()
    names = {path.name for path in run.iterdir()}
    kind = claimed_by(run, names, formats)
    if kind is None:
        return
    following = Following(run, kind)
    for turn, over in enumerate((False, False, True)):
        if turn == 1 and young is not hurt:
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


def use_model(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Load a model and use what its card says."""
    from live_restore.inference.envelope import unknown_voxel, voxel_doubt
    from live_restore.inference.model import find_model, load_model
    from live_restore.inference.restorer import Restorer
    from live_restore.inference.tile_size import largest_tile_voxels
    from live_restore.settings import InferenceSettings
    from live_restore.stack import VoxelSize

    hurt.write(folder)
    for path in (folder, *(folder / name for name in hurt.files)):
        try:
            model = load_model(find_model(str(path)), "cpu")
            card = model.card
            device = replace(model.session.device, memory_bytes=2**32, mvoxel_per_s=1.0)
            largest_tile_voxels(card, device)
            if card.envelope is not None:
                card.envelope.in_words()
                card.envelope.doubt(3.0)
            voxel = VoxelSize(0.3, 0.1, 0.1)
            voxel_doubt(voxel, card.trained_voxel_um)
            unknown_voxel(voxel, card.trained_voxel_um)
            stack = np.arange(3 * 8 * 8, dtype=np.uint16).reshape(3, 8, 8)
            channels = np.stack([stack] * card.input_channels) if card.input_channels < 5 else stack
            Restorer(model, InferenceSettings()).restore(
                channels if channels.shape[0] > 1 and channels.ndim == 4 else stack
            )
        except LiveRestoreError as error:
            check_line(error)


def use_records(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Read back what this program is supposed to have written."""
    from live_restore.formats.dataset import Place as StackPlace
    from live_restore.inference.remembered import Remembered
    from live_restore.outputs.naming import report_path
    from live_restore.outputs.ome_tiff import read_token
    from live_restore.outputs.ome_zarr import choose_in_ome_zarr, is_own_ome_zarr
    from live_restore.outputs.result import (
        Place,
        choose_result,
        is_current,
        published_doubt,
        restored_pixels,
    )
    from live_restore.run_plan import PlanReader
    from tests.support.fakes import a_dataset

    hurt.write(folder)
    dataset = a_dataset(folder / "cell.tif")
    image = folder / "restored" / "cell.ome.tif"
    read_token(image)
    place = Place(image, report_path(image), "0123456789abcdef", True)
    for ask in (
        lambda: choose_result(dataset.path, "{folder}/restored/{name}.ome.tif", "m", "r" * 64),
        lambda: is_current(place, dataset),
        lambda: published_doubt(place),
        lambda: restored_pixels(place.report),
        lambda: is_own_ome_zarr(folder / "results" / "p000.ome.zarr"),
        lambda: choose_in_ome_zarr(
            a_dataset(folder / "run" / "p000_t0000_c00"), StackPlace(0, 0, 0), folder / "results",
            "m", "r",
        ),
        lambda: _plan(PlanReader(folder / "run_1").read()),
        lambda: Remembered(folder / "backends.json").get("key"),
        lambda: Remembered(folder / "backends.json").array("a", (1, 1, 2, 3, 3)),
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
    from live_restore.outputs.naming import candidates, output_folder_name
    from live_restore.settings import load_settings

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
    from live_restore.journal import Journal, State

    hurt.write(folder)
    try:
        with Journal(folder / "a.sqlite", folder, recipe="r") as journal:
            journal.recover(3)
            for entry in journal.entries():
                entry.told_reason(0.0)
                if len(entry.reason) > 10**6:
                    raise WrongError("a reason without end")
            journal.counts(), journal.doubtful(), journal.redo_missing(folder)
            claimed = journal.claim(30.0)
            if claimed is not None:
                journal.finish(claimed, State.DONE, result="x")
    except LiveRestoreError as error:
        check_line(error)


def use_checkpoint(rng: random.Random, folder: Path, pristine: Tree, hurt: Tree) -> None:
    """Read trained weights."""
    from export.checkpoints.base import NOTHING_SAID
    from export.checkpoints.find import load_checkpoint

    hurt.write(folder)
    for name in hurt.files:
        try:
            load_checkpoint(folder / name, NOTHING_SAID)
        except LiveRestoreError as error:
            check_line(error)


@dataclass(frozen=True)
class Kind:
    """One kind of input."""

    mutate: Mutator
    use: User


def _card(rng: random.Random, data: bytes) -> bytes:
    return with_card(data, lambda text: mutate_json(rng, text))


KINDS: dict[str, Kind] = {
    "tiff": Kind(lambda rng, tree: _tiff_in(rng, tree, rng.choice(list(tree.files))), use_tiff),
    "tiff-text": Kind(_text_in, use_tiff),
    "ome-xml": Kind(_text_in, use_tiff),
    "mm-stack": Kind(_dataset, use_dataset),
    "ndtiff": Kind(_dataset, use_dataset),
    "mm-series": Kind(_dataset, use_dataset),
    "ome-zarr": Kind(_dataset, use_dataset),
    "card": Kind(_each(_card), use_model),
    "onnx": Kind(_each(mutate_onnx), use_model),
    "package": Kind(_package, use_model),
    "records": Kind(_records, use_records),
    "config": Kind(_each(mutate_text), use_config),
    "journal": Kind(_each(damage), use_journal),
    "torch": Kind(_each(_torch), use_checkpoint),
    "keras": Kind(_each(damage), use_checkpoint),
}
assert set(KINDS) == set(SEEDS)


def mutated(kind: str, number: int, trees: list[Tree]) -> tuple[random.Random, Tree, Tree]:
    """Return the generator, the good input and the mutated one of a case; always the same."""
    rng = random.Random(f"{kind} {number}")
    pristine = trees[number % len(trees)]
    hurt = pristine.copy()
    for _ in range(rng.choice((1, 1, 1, 2, 2, 3, 5))):
        KINDS[kind].mutate(rng, hurt)
    return rng, pristine, hurt
