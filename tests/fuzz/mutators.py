"""Changes of whole inputs: which file, which part of it, and by what it is."""

from __future__ import annotations

import io
import random
import re
import zipfile
from collections.abc import Callable
from pathlib import Path

from tests.fuzz.mutate import TEXTS, damage, mutate_json, mutate_text, number
from tests.fuzz.mutate_onnx import mutate_onnx, with_card
from tests.fuzz.mutate_tiff import (
    description_of,
    mutate_description,
    mutate_tiff,
    replace_block,
    survey,
)
from tests.fuzz.tree import Tree

ODD = ("fifo", "socket", "folder", "loop", "up", "device")

Mutator = Callable[[random.Random, Tree], None]


def tiff_in(rng: random.Random, tree: Tree, name: str) -> None:
    tree.files[name], size = mutate_tiff(rng, tree.files[name])
    if size is not None:
        tree.sizes[name] = size
    elif name in tree.sizes and rng.random() < 0.5:
        del tree.sizes[name]


def any_tiff(rng: random.Random, tree: Tree) -> None:
    """Change one TIFF file."""
    tiff_in(rng, tree, rng.choice(list(tree.files)))


def text_in(rng: random.Random, tree: Tree) -> None:
    name = rng.choice(list(tree.files))
    data = tree.files[name]
    where = survey(data)
    found = description_of(data, where) if where else None
    if where is None or found is None:
        tiff_in(rng, tree, name)
        return
    entry, text = found
    for _ in range(rng.choice((1, 1, 2, 3))):
        text = mutate_description(rng, text)
    tree.files[name] = replace_block(data, where, entry, text, 2)


UNITS = (
    "\u00b5m", "um", "nm", "Mm", "mm", "\u00c5", "pixel", "reference frame", "furlong", "s", "ms",
    "min", "", "0,3", "-0.3", "1e308", "1e-320", "nan", "inf", "2024-13-41T25:61:61",
    "0000-00-00T00:00:00", "99999999999", "-2147483649",
)  # fmt: skip
_IN_SET = re.compile(
    rb'((?:Unit|Physical|Delta|Exposure|Position|Color|Wavelength|Increment)[A-Za-z]*)="([^"]*)"'
)
_NAMES_IN_SET = re.compile(rb'(?:FileName|MetadataFile)="([^"]*)"')


def ome_set(rng: random.Random, tree: Tree) -> None:
    """Change a file of a set: what it names, its units, its plane; or the file itself."""
    name = rng.choice(list(tree.files))
    what = rng.random()
    if what < 0.1:
        tree.odd[name] = rng.choice(ODD)
    elif what < 0.2 and len(tree.files) > 1:
        del tree.files[name]
        tree.sizes.pop(name, None)
    elif what < 0.3:
        tree.files[_odd_name(rng, name)] = tree.files[name]
    elif what < 0.4 or not (name.endswith(".ome") or description_in(tree.files[name])):
        tree.files[name] = damage(rng, tree.files[name])
    elif name.endswith(".ome"):
        tree.files[name] = _mutate_set_xml(rng, tree.files[name], list(tree.files))
    else:
        data = tree.files[name]
        where = survey(data)
        found = description_of(data, where) if where else None
        if where is None or found is None:
            return
        text = _mutate_set_xml(rng, found[1], list(tree.files))
        tree.files[name] = replace_block(data, where, found[0], text, 2)


def description_in(data: bytes) -> bool:
    """Return whether a file has XML that can be changed."""
    return b"<OME" in data


def _mutate_set_xml(rng: random.Random, text: bytes, files: list[str]) -> bytes:
    """Change a unit, a value, or the name of a file; or anything."""
    pattern = rng.choice((_IN_SET, _NAMES_IN_SET, None))
    places = list(pattern.finditer(text)) if pattern else []
    if not places:
        return mutate_description(rng, text)
    start, end = rng.choice(places).span(places[0].re.groups)
    put = rng.choice(UNITS if pattern is _IN_SET else (*TEXTS, *files))
    raw = put.encode(errors="surrogatepass").replace(b"&", b"&amp;").replace(b'"', b"&quot;")
    return text[:start] + raw.replace(b"<", b"&lt;") + text[end:]


def dataset(rng: random.Random, tree: Tree) -> None:
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
    elif name.endswith((".json", ".zattrs", ".zarray", "metadata.txt")):
        tree.files[name] = mutate_json(rng, tree.files[name])
    elif name.endswith(".index"):
        tree.files[name] = _mutate_index(rng, tree.files[name])
    elif name.endswith("MMStack_Pos0.ome.tif") and rng.random() < 0.7:
        tree.files[name] = _mutate_map(rng, tree.files[name])
    elif name.endswith(".tif"):
        if rng.random() < 0.4:
            tree.files[name] = _mutate_embedded_json(rng, tree.files[name])
        else:
            tiff_in(rng, tree, name)
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
    return data[:at] + (number(rng) % 2**32).to_bytes(4, "little") + data[at + 4 :]


def _mutate_map(rng: random.Random, data: bytes) -> bytes:
    """Change a record of Micro-Manager's index map, its header or its summary."""
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
    """Change a JSON object somewhere in a file, within its length or with the length before it."""
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
    counted = start >= 4 and data[start - 4 : start] == len(old).to_bytes(4, "little")
    if counted and (rng.random() < 0.5 or len(new) > len(old)):
        # A length stands before it; what follows moves.
        return data[: start - 4] + len(new).to_bytes(4, "little") + new + data[end:]
    return data[:start] + new[: len(old)].ljust(len(old)) + data[end:]


def package(rng: random.Random, tree: Tree) -> None:
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
    b"<<: *c\n",
    b"a: &a [*a]\n",
    b"b: &b {<<: *b}\n",
    b"n: " + b"1:" * 3000 + b"1\n",
    b"? [x]\n: y\n",
    b"d: 2001-13-45\n",
    b"e: !!python/object/apply:os.system [true]\n",
    b"f: !!binary x\n",
    b"g: .inf\n",
    b"h: 1e400\n",
    b"i: 0x" + b"f" * 5000 + b"\n",
    b"---\n",
    b"%YAML 9.9\n---\n",
    b"k: !!set {a, b}\n",
    b"config: {live_restore: {card: {name: x, overlap_zyx: [999999999, 0, 0]}}}\n",
    b"l: [" * 2000,
)


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


def records(rng: random.Random, tree: Tree) -> None:
    name = rng.choice(list(tree.files))
    if rng.random() < 0.05:
        tree.odd[name] = rng.choice(ODD)
    elif name.endswith(".json"):
        tree.files[name] = mutate_json(rng, tree.files[name])
    elif name.endswith(".jsonl"):
        lines = tree.files[name].split(b"\n")
        place = rng.randrange(len(lines))
        lines[place] = mutate_json(rng, lines[place] or lines[0])
        tree.files[name] = b"\n".join(lines)
    else:
        tree.files[name] = damage(rng, tree.files[name])


def each(change: Callable[[random.Random, bytes], bytes]) -> Mutator:
    def mutate(rng: random.Random, tree: Tree) -> None:
        name = rng.choice(list(tree.files))
        tree.files[name] = change(rng, tree.files[name])

    return mutate


def torch(rng: random.Random, data: bytes) -> bytes:
    """Change a member of the zip that torch writes; its checksum fits again."""
    if rng.random() < 0.3:
        return damage(rng, data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    except Exception:  # noqa: BLE001 - a mutation of before has made it no zip any more
        return damage(rng, data)
    if not members:
        return damage(rng, data)
    number = rng.randrange(len(members))
    weighted = [n for n, (name, _) in enumerate(members) if name.endswith(".pkl")]
    number = rng.choice(weighted) if weighted and rng.random() < 0.7 else number
    name, content = members[number]
    members[number] = (name, damage(rng, content))
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members:
            archive.writestr(name, content)
    return buffer.getvalue()


def card(rng: random.Random, data: bytes) -> bytes:
    return with_card(data, lambda text: mutate_json(rng, text))
