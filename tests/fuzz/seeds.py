"""What is mutated: small good inputs of every kind, made anew by every worker."""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import tifffile

from live_restore.formats.vendor.protocol import HEADER, Description, Kind
from tests.fuzz.tree import Tree
from tests.support import plane_files, protobuf
from tests.support.small_runs import RUNS, zarr_run

ROOT = Path(__file__).resolve().parents[2]
Maker = Callable[[Path], None]

CARD: dict[str, Any] = {
    "format": "live-restore-card/1",
    "name": "tiny",
    "version": "1",
    "description": "doubles",
    "axes": "NCZYX",
    "input_channels": 1,
    "output_channels": 1,
    "percentiles": [2.0, 99.9],
    "shape_multiple_zyx": [1, 2, 2],
    "overlap_zyx": [1, 4, 4],
    "trained_patch_zyx": [8, 16, 16],
    "trained_voxel_um": {"z": [0.1, 0.5], "xy": [0.05, 0.2]},
    "precision": "fp32",
    "weights_sha256": "0" * 64,
    "architecture": {"channels": 8, "groups": 1, "lateral_shuffle": 2},
    "training": {"steps": 10},
    "metrics": {"psnr": [1.0, 2.0]},
    "envelope": {
        "snr": [1.0, 50.0],
        "limits": {"blur": {"quantity": "blur", "tested": [1, 4], "helps": [1, 2]}},
        "measured": "on stacks",
    },
}

RDF = """\
format_version: 0.5.0
type: model
name: tiny network
license: CC-BY-4.0
version: 0.1.0
cite: &c [{text: nobody, doi: 10.1/1}]
more: *c
inputs:
- id: raw
  axes:
  - {type: batch}
  - {type: channel, channel_names: [signal]}
  - {type: space, id: z, size: {min: 4, step: 2}}
  - {type: space, id: y, size: {min: 4, step: 2}}
  - {type: space, id: x, size: {min: 4, step: 2}}
  preprocessing:
  - {id: ensure_dtype, kwargs: {dtype: float32}}
  - id: scale_range
    kwargs: {axes: [channel, z, y, x], min_percentile: 2.0, max_percentile: 99.9}
outputs:
- id: restored
  axes:
  - {type: batch}
  - {type: channel, channel_names: [signal]}
  - {type: space, id: z}
  - {type: space, id: y}
  - {type: space, id: x}
weights:
  onnx: {source: tiny.onnx, opset_version: 17}
"""


def image(*shape: int, dtype: str = "uint16") -> np.ndarray[Any, Any]:
    """Return an image of which no plane is zero."""
    return np.random.default_rng(sum(shape)).integers(1, 250, shape).astype(dtype)


def _tiff(stack: np.ndarray[Any, Any], **options: Any) -> Maker:
    def make(folder: Path) -> None:
        tifffile.imwrite(folder / "cell.tif", stack, **{"photometric": "minisblack", **options})

    return make


OME = {
    "axes": "TCZYX", "PhysicalSizeX": 0.1, "PhysicalSizeXUnit": "µm", "PhysicalSizeZ": 300.0,
    "PhysicalSizeZUnit": "nm", "TimeIncrement": 2.0, "Name": "cell 1",
    "Channel": {"Name": ["DAPI", "FITC"]},
}  # fmt: skip
IMAGEJ = {"axes": "TZCYX", "spacing": 0.5, "unit": "um", "finterval": 2.5}


def _one_directory(folder: Path) -> None:
    stack = image(4, 9, 11)
    text = f"ImageJ=1.54f\nimages={len(stack)}\nslices={len(stack)}\nunit=um\nspacing=0.3\n"
    _tiff(stack[:1], metadata=None, description=text)(folder)
    with (folder / "cell.tif").open("ab") as stream:
        stream.write(stack[1:].tobytes())


TIFFS: dict[str, Maker] = {
    "plain": _tiff(image(3, 9, 11), metadata=None),
    "big endian": _tiff(image(3, 9, 11), metadata=None, byteorder=">"),
    "bigtiff": _tiff(image(3, 9, 11), metadata=None, bigtiff=True),
    "strips": _tiff(image(3, 20, 11), metadata=None, rowsperstrip=4),
    "zlib": _tiff(image(3, 9, 11), metadata=None, compression="zlib", predictor=True),
    "lzw": _tiff(image(3, 9, 11, dtype="uint8"), metadata=None, compression="lzw"),
    "zstd tiles": _tiff(image(3, 40, 33), metadata=None, compression="zstd", tile=(16, 16)),
    "packbits": _tiff(image(3, 9, 11, dtype="uint8"), metadata=None, compression="packbits"),
    "float": _tiff(
        image(3, 9, 11, dtype="float32"), metadata=None, compression="zlib", predictor=3
    ),
    "one directory": _one_directory,
}
TEXTS: dict[str, Maker] = {
    "imagej": _tiff(image(2, 3, 2, 9, 11), imagej=True, metadata=IMAGEJ, resolution=(10.0, 5.0)),
    "shaped": _tiff(image(2, 3, 9, 11), metadata={"axes": "TZYX", "spacing": 0.3, "unit": "um"}),
    "one directory": _one_directory,
    "units": _tiff(
        image(2, 3, 9, 11), metadata=None, resolution=(0.01, 0.01),
        description="ImageJ=1.54f\nimages=6\nslices=3\nframes=2\nunit=nm\nyunit=nm\n"
        "zunit=\\u00B5m\nspacing=-0,3\nfinterval=5\ntunit=min\nfps=7\n",
    ),
    "time": _tiff(image(4, 9, 11), metadata={"finterval": 0.1, "fps": 10.0}),
    "palette": _tiff(
        image(3, 9, 11, dtype="uint8"), metadata=None, photometric="palette",
        colormap=np.stack([np.arange(256) * 257] * 3).astype("uint16"),
    ),
}  # fmt: skip
PLANES = {
    "DeltaT": [0.5 * n for n in range(12)], "DeltaTUnit": ["s"] * 12, "ExposureTime": [50.0] * 12,
    "ExposureTimeUnit": ["ms"] * 12, "PositionX": [1.0] * 12, "PositionZ": [0.3] * 12,
    "PositionZUnit": ["mm"] * 12,
}  # fmt: skip


def _positions(folder: Path) -> None:
    with tifffile.TiffWriter(folder / "cell.tif", ome=True) as writer:
        for depth, width in ((3, 11), (4, 11), (3, 12), (1, 20)):
            metadata = {"axes": "ZYX", "AcquisitionDate": "2024-03-01T22:15:00"}
            writer.write(image(depth, 9, width), photometric="minisblack", metadata=metadata)


OMES: dict[str, Maker] = {
    "planes": _tiff(image(2, 2, 3, 9, 11), ome=True, metadata={**OME, "Plane": PLANES}),
    "positions": _positions,
    "ome": _tiff(image(2, 2, 3, 9, 11), ome=True, metadata=OME),
    "ome zlib": _tiff(image(2, 2, 3, 9, 11), ome=True, metadata=OME, compression="zlib"),
}


def _set(text: str, files: dict[str, np.ndarray[Any, Any]], companion: str = "") -> Maker:
    def make(folder: Path) -> None:
        for name, stack in files.items():
            tifffile.imwrite(folder / name, stack, photometric="minisblack", metadata=None,
                             description=text.encode())  # fmt: skip
        if companion:
            (folder / "a.companion.ome").write_text(companion, encoding="utf-8")

    return make


def _set_xml(names: list[str], planes: int) -> str:
    blocks = "".join(
        f'<TiffData FirstZ="{planes * n}" IFD="0" PlaneCount="{planes}">'
        f'<UUID FileName="{name}">urn:uuid:{n}</UUID></TiffData>'
        for n, name in enumerate(names)
    )
    return (
        '<?xml version="1.0"?><OME><Image ID="Image:0"><AcquisitionDate>2024-03-01T22:15:00'
        '</AcquisitionDate><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" SizeX="11" '
        f'SizeY="9" SizeZ="{planes * len(names)}" SizeC="1" SizeT="1" PhysicalSizeZ="300" '
        f'PhysicalSizeZUnit="nm"><Channel ID="Channel:0:0" Color="65280"/>{blocks}'
        '<Plane TheC="0" TheZ="0" TheT="0" DeltaT="1" DeltaTUnit="min" PositionZ="1"/>'
        "</Pixels></Image></OME>"
    )


_SET = ["a_0.ome.tif", "a_1.ome.tif", "a_2.ome.tif"]
SETS: dict[str, Maker] = {
    "planes": _set(_set_xml(_SET, 1), {name: image(1, 9, 11) for name in _SET}),
    "files": _set(_set_xml(_SET[:2], 2), {name: image(2, 9, 11) for name in _SET[:2]}),
    "companion": _set(
        '<OME><BinaryOnly MetadataFile="a.companion.ome" UUID="urn:uuid:9"/></OME>',
        {name: image(1, 9, 11) for name in _SET}, _set_xml(_SET, 1),
    ),
}  # fmt: skip


def _run(name: str) -> Maker:
    return RUNS[name][1]


def _zarr_v2(folder: Path) -> None:
    """OME-Zarr 0.4, compressed, one position of a bioformats2raw layout."""
    import imagecodecs

    (folder / ".zattrs").write_text(json.dumps({"bioformats2raw.layout": 3}))
    (folder / "OME").mkdir()
    (folder / "OME" / ".zattrs").write_text(json.dumps({"series": ["0"]}))
    axes = [{"name": n, "type": "space", "unit": "micrometer"} for n in "czyx"]
    scale = [{"type": "scale", "scale": [1, 0.5, 0.1, 0.1]}]
    multiscales = [{"axes": axes, "datasets": [{"path": "0", "coordinateTransformations": scale}]}]
    omero = {"channels": [{"label": "DAPI"}, {"label": "FITC"}]}
    (folder / "0" / "0").mkdir(parents=True)
    (folder / "0" / ".zattrs").write_text(json.dumps({"multiscales": multiscales, "omero": omero}))
    array = {
        "zarr_format": 2, "shape": [2, 3, 4, 8], "chunks": [1, 3, 4, 8], "dtype": "<u2",
        "compressor": {"id": "zlib", "level": 1}, "filters": None, "order": "C",
        "dimension_separator": ".", "fill_value": 0,
    }  # fmt: skip
    (folder / "0" / "0" / ".zarray").write_text(json.dumps(array))
    for c in range(2):
        chunk = imagecodecs.zlib_encode(image(3, 4, 8).tobytes())
        (folder / "0" / "0" / f"{c}.0.0.0").write_bytes(chunk)


def _zarr_sequence(folder: Path) -> None:
    """OME-Zarr as pymmcore-plus writes it, with its sequence and the frames in one row."""
    zarr_run(folder)
    group = json.loads((folder / "zarr.json").read_text())
    ome = group["attributes"]["ome"]
    ome["multiscales"][0]["axes"] = [{"name": "t", "unit": "second"}, {"name": "y"}, {"name": "x"}]
    ome["multiscales"][0]["datasets"][0]["coordinateTransformations"] = []
    sequence = {
        "axis_order": ["t", "p", "c", "z"],
        "channels": [{"config": "DAPI", "exposure": 10.0, "do_stack": True, "acquire_every": 1}],
        "stage_positions": [{"name": "A"}],
        "z_plan": {"range": 2.0, "step": 1.0},
        "time_plan": {"interval": 1.0, "loops": 1},
    }
    group["attributes"]["pymmcore_plus"] = {"summary_metadata": {"mda_sequence": sequence}}
    group["attributes"]["ome_writers"] = {"version": "0.3", "frame_metadata": [{}, {}, {}]}
    (folder / "zarr.json").write_text(json.dumps(group))
    array = json.loads((folder / "0" / "zarr.json").read_text())
    array["shape"] = [3, 4, 8]
    array["chunk_grid"]["configuration"]["chunk_shape"] = [1, 4, 8]
    (folder / "0" / "zarr.json").write_text(json.dumps(array))
    shutil.rmtree(folder / "0" / "c")
    for t in range(3):
        chunk = folder / "0" / "c" / str(t) / "0" / "0"
        chunk.parent.mkdir(parents=True)
        chunk.write_bytes(image(4, 8).tobytes())


def _planes(name: str, folder: Path) -> None:
    for _ in plane_files.grow(folder, plane_files.NAMINGS[name], channels=1):
        pass


DATASETS: dict[str, dict[str, Maker]] = {
    "mm-stack": {"run": _run("mm-stack")},
    "ndtiff": {"micro-manager": _run("ndtiff"), "pycromanager": _run("ndtiff-python")},
    "mm-series": {"run": _run("mm-series")},
    "ome-zarr": {"0.5": zarr_run, "0.4": _zarr_v2, "sequence": _zarr_sequence},
    "plane-files": {name: partial(_planes, name) for name in ("generic", "yokogawa", "metaxpress")},
}


def _said(folder: Path) -> None:
    """Write what a child that reads a vendor's file says, and the file."""
    described = Description(1, 2, 1, (2, 4, 5), "uint16", channel_names=("DAPI",)).to_json()
    said = HEADER.pack(Kind.DESCRIPTION.encode(), len(described)) + described
    for value in (1, 2):
        said += HEADER.pack(Kind.VOXELS.encode(), 80) + bytes([value]) * 80
    (folder / "said").write_bytes(said)


def _model(folder: Path) -> None:
    (folder / "tiny.onnx").write_bytes(protobuf.doubling(CARD))


def _package_folder(folder: Path) -> None:
    (folder / "rdf.yaml").write_text(RDF)
    (folder / "tiny.onnx").write_bytes(protobuf.doubling(None))


def _package_zip(folder: Path) -> None:
    with zipfile.ZipFile(folder / "tiny.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bioimageio.yaml", RDF)
        archive.writestr("tiny.onnx", protobuf.doubling(CARD))


PLAN = ({"z": [0, 1, 2], "stacks": [[0, 0, 0], [0, 1, 0]]}, {"z": [5], "stacks": [[0, 0, 1]]})
REPORT = {
    "format": "live-restore-report/1",
    "source": {"name": "cell.tif", "size": 1000, "mtime_ns": 10**18},
    "stacks": [{"raw_crc32": 7, "doubts": ["its signal-to-noise ratio is about 1.0"]}],
}
MARK = {
    "attributes": {
        "live-restore": {
            "result": "0" * 16, "shape_zyx": [3, 5, 6], "restored": [[0, 0, 1]], "pending": [],
        }
    }
}  # fmt: skip


def _records(folder: Path) -> None:
    """What this program wrote, and reads back: plan, report, mark, measurements."""
    (folder / "run_1_restored").mkdir()
    lines = "".join(f"{json.dumps(line)}\n" for line in PLAN)
    (folder / "run_1_restored" / ".live-restore-plan.jsonl").write_text(lines)
    (folder / "restored").mkdir()
    (folder / "restored" / "cell.json").write_text(json.dumps(REPORT))
    tifffile.imwrite(
        folder / "restored" / "cell.ome.tif", image(3, 5, 6), ome=True,
        software="live-restore 1.0 (result 0123456789abcdef)",
    )  # fmt: skip
    (folder / "results" / "p000.ome.zarr").mkdir(parents=True)
    (folder / "results" / "p000.ome.zarr" / "zarr.json").write_text(json.dumps(MARK))
    (folder / "backends.json").write_text(json.dumps({"key": {"mvoxel_per_s": 1.5}}))
    (folder / "known_answers").mkdir()
    (folder / "known_answers" / "a.f32").write_bytes(np.ones((1, 1, 2, 3, 3), "<f4").tobytes())


def _config(folder: Path) -> None:
    lines = (ROOT / "config.toml").read_text(encoding="utf-8").splitlines()
    kept = [line.split("  #")[0] for line in lines if line and not line.startswith("#")]
    text = "\n".join(kept) + '\n[[models]]\nchannels = ["GFP*", 3]\nmodel = "m/x.onnx"\n'
    (folder / "config.toml").write_text(text)


def _journal(folder: Path) -> None:
    from live_restore.journal.journal import Journal
    from live_restore.journal.states import State
    from live_restore.stack import Fingerprint, StackKey

    with Journal(folder / "a.sqlite", folder, recipe="r") as journal:
        for number in range(4):
            key = StackKey(Path(f"cell_{number}.tif"))
            journal.record(key, Fingerprint(10, 20), State.WAITING, "", 1)
        entry = journal.lease(30.0)
        assert entry is not None
        journal.finish(entry, State.DONE, result="restored/x.ome.tif")
    with sqlite3.connect(folder / "a.sqlite") as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    db.close()
    for rest in ("a.sqlite-wal", "a.sqlite-shm", "a.lock"):
        (folder / rest).unlink(missing_ok=True)


def _torch(folder: Path) -> None:
    import torch
    from live_restore_export.network import RCAN, RCANConfig

    network = RCAN(RCANConfig(groups=1, blocks=1, channels=2, reduction=1))
    torch.save(
        {"format": "live-restore-rcan", "architecture": {}, "state_dict": network.state_dict()},
        folder / "net.pth",
    )


def _keras(folder: Path) -> None:
    import sys

    sys.path.insert(0, str(ROOT / "tests" / "export"))
    from keras_files import KerasRCAN

    KerasRCAN().write(folder / "net.hdf5")


SEEDS: dict[str, dict[str, Maker]] = {
    "tiff": TIFFS,
    "tiff-text": TEXTS,
    "ome-xml": OMES,
    "ome-set": SETS,
    **DATASETS,
    "vendor-child": {"said": _said},
    "card": {"model": _model},
    "onnx": {"model": _model},
    "package": {"folder": _package_folder, "zip": _package_zip},
    "records": {"all": _records},
    "config": {"example": _config},
    "journal": {"some": _journal},
    "torch": {"own": _torch},
    "keras": {"own": _keras},
}


BEYOND = frozenset({"keras"})
"""Kinds that a library in C reads, which some damaged files make hang: run them by name."""


def seed_trees(kind: str) -> list[Tree]:
    """Return the good inputs of one kind."""
    trees = []
    for make in SEEDS[kind].values():
        with tempfile.TemporaryDirectory(prefix="seed") as name:
            folder = Path(name)
            make(folder)
            trees.append(Tree.read(folder))
    return trees
