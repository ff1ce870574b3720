"""Vendors' files through their readers in a child process, and children that misbehave."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest

from live_restore.errors import StackError, StackRefusedError, StackUnreadableError
from live_restore.formats.file_format import Arriving, Complete
from live_restore.formats.table import format_for, make_formats
from live_restore.formats.vendor import vendor_format
from live_restore.formats.vendor.protocol import Description, ProtocolError
from live_restore.formats.vendor.table import KINDS, kind_of
from live_restore.formats.vendor.vendor_format import VendorFormat
from live_restore.stack import StackIndex
from live_restore.testing.untouched import untouched
from tests.support import vendor_files

Writer = Callable[[Path], Any]

FILES: dict[str, Writer] = {
    "cell.nd2": vendor_files.write_nd2,
    "cell.czi": vendor_files.write_czi,
    "cell.lif": vendor_files.write_lif,
    "cell.lsm": vendor_files.write_lsm,
    "cell.stk": vendor_files.write_stk,
    "cell.ims": vendor_files.write_imaris,
    "cell.h5": vendor_files.write_big_data_viewer,
}
NAMES = {f"cell.{ending}": ("DAPI", "GFP") for ending in ("nd2", "czi", "ims")}
VOXELS = {"cell.stk": (0.3, None, None), "cell.h5": (None, None, None), "cell.czi": (0.5, 0.2, 0.1)}


def readable(name: str) -> bool:
    kind = kind_of(name)
    return kind is not None and not kind.obstacle()


def read_all(path: Path) -> tuple[Complete, np.ndarray]:
    found = VendorFormat().inspect(path)
    assert isinstance(found, Complete), found
    stacks = found.file_stacks
    with VendorFormat().open(stacks) as reader:
        volumes = [reader.read(index) for index in stacks.indices()]
    counts = (stacks.positions, stacks.times, stacks.channels)
    return found, np.array(volumes).reshape(*counts, *stacks.shape_zyx)


@pytest.mark.parametrize("name", FILES)
def test_every_kind_is_read_as_it_was_written(tmp_path: Path, name: str) -> None:
    if not readable(name):
        pytest.skip("its reader is not installed")
    image = FILES[name](tmp_path / name)
    with untouched(tmp_path):
        found, read = read_all(tmp_path / name)
    np.testing.assert_array_equal(read, image, strict=True)
    assert found.declared is False, "only quiet says that nobody writes to it"
    stacks = found.file_stacks
    assert stacks.channel_names == NAMES.get(name, ())
    voxel = (stacks.voxel.z_um, stacks.voxel.y_um, stacks.voxel.x_um)
    assert voxel == pytest.approx(VOXELS.get(name, (0.5, 0.1, 0.1)))
    assert stacks.notes[0].startswith("read as ")
    assert format_for(tmp_path / name, make_formats()).name == "vendor"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", FILES)
def test_a_copy_that_is_not_finished_is_waited_for(tmp_path: Path, name: str) -> None:
    if not readable(name):
        pytest.skip("its reader is not installed")
    path = tmp_path / name
    FILES[name](path)
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) * 9 // 10):
        path.write_bytes(whole[:length])
        found = VendorFormat().inspect(path)
        assert isinstance(found, Arriving), length
        assert found.reason.startswith("its reader cannot open it (")


def test_what_is_no_stack_of_its_kind_is_refused_or_waited_for(tmp_path: Path) -> None:
    import h5py

    other = tmp_path / "weights.h5"
    with h5py.File(other, "w") as file:
        file["layer"] = np.ones(3)
    with pytest.raises(StackRefusedError, match="neither Imaris's nor BigDataViewer's"):
        VendorFormat().inspect(other)
    outside = tmp_path / "linked.ims"
    vendor_files.write_imaris(outside)
    with h5py.File(outside, "r+") as file:
        group = file["DataSet/ResolutionLevel 0/TimePoint 0/Channel 0"]
        del group["Data"]
        group.create_dataset(
            "Data", (8, 16, 16), np.uint16, external=[(str(tmp_path / "x"), 0, 4096)]
        )
    with pytest.raises(StackRefusedError, match="in other files"):
        VendorFormat().inspect(outside)


@pytest.mark.skipif(not readable("a.oib"), reason="its reader is not installed")
def test_olympus_oib_by_its_twin_of_a_file_and_a_folder(tmp_path: Path) -> None:
    """Nobody here writes an OIB's container; its reader is the same from there on."""
    from live_restore.formats.vendor import oib_files

    image = vendor_files.write_oif(tmp_path / "cell.oif")
    file = oib_files.open_file(tmp_path / "cell.oif")
    for time_point in range(vendor_files.TIMES):
        for channel in range(vendor_files.CHANNELS):
            np.testing.assert_array_equal(
                file.read(0, time_point, channel), image[0, time_point, channel]
            )
    assert file.description.voxel_um == pytest.approx((0.5, 0.1, 0.1))


def test_missing_planes_are_not_restored_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "cell.stk"
    vendor_files.write_stk(path)
    data = bytearray(path.read_bytes())
    plane = vendor_files.HEIGHT * vendor_files.WIDTH * 2
    data[-plane:] = bytes(plane)
    path.write_bytes(data)
    with pytest.raises(StackUnreadableError, match="nothing but zeros"):
        read_all(path)


def test_modules_and_packages_of_the_table_are_there() -> None:
    for kind in KINDS:
        assert importlib.util.find_spec(f"live_restore.formats.vendor.{kind.module}")
        assert kind_of(f"x{kind.suffixes[0].upper()}") is kind


# Children that misbehave ----------------------------------------------------------------------


@pytest.fixture
def misbehaving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Path]:
    """Return a file whose reader does what it is told."""
    script = Path(vendor_files.__file__).with_name("false_reader.py")

    def prepare(mode: str) -> Path:
        monkeypatch.setattr(vendor_format, "PYTHON", (sys.executable, "-S", str(script), mode))
        path = tmp_path / "cell.stk"
        path.write_bytes(bytes(1000))
        return path

    return prepare


AT_ONCE = {
    "dies": r"died over it \(code -11\)",
    "nothing": "died over it",
    "floods": "an answer of kind",
    "endless description": "a description of 1,099,511,627,776 bytes",
    "pickles": "a description that is no JSON",
    "no such kind": "an answer of kind",
    "huge": "stacks of",
    "negative": "side is -1",
    "objects": "voxels of another type",
    "long names": "no JSON|died",
}


@pytest.mark.parametrize("mode", AT_ONCE)
def test_a_child_that_lies_or_dies_is_the_outcome_of_its_file(
    misbehaving: Callable[[str], Path], mode: str
) -> None:
    with pytest.raises(StackUnreadableError, match=AT_ONCE[mode]) as raised:
        VendorFormat().inspect(misbehaving(mode))
    assert str(raised.value).isprintable()


OVER_A_STACK = {
    "dies over a stack": "died over it",
    "hangs over a stack": "hung over it and was ended",
    "too much": "1,000 bytes of voxels where 80 belong",
    "an error of many lines": r"cannot be read \(one\\ntwo",
    "zeros": "nothing but zeros",
}


@pytest.mark.parametrize("mode", OVER_A_STACK)
def test_a_child_that_fails_over_a_stack(
    misbehaving: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, mode: str
) -> None:
    if mode.startswith("hangs"):
        monkeypatch.setattr(vendor_format, "_READ_S", 0.5)
    path = misbehaving(mode)
    found = VendorFormat().inspect(path)
    assert isinstance(found, Complete)
    with (
        VendorFormat().open(found.file_stacks) as reader,
        pytest.raises(StackError, match=OVER_A_STACK[mode]) as raised,
    ):
        reader.read(StackIndex())
    assert len(str(raised.value)) < 1000
    assert not psutil.Process().children()


def test_a_child_that_hangs_is_ended(
    misbehaving: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = misbehaving("hangs")
    monkeypatch.setattr(vendor_format, "_DESCRIBE_S", 0.3)
    began = time.monotonic()
    with pytest.raises(StackUnreadableError, match="hung over it and was ended"):
        VendorFormat().inspect(path)
    assert time.monotonic() - began < 20
    assert not psutil.Process().children()


def test_a_child_that_behaves_is_believed(misbehaving: Callable[[str], Path]) -> None:
    _, read = read_all(misbehaving("well"))
    np.testing.assert_array_equal(read.ravel().view(np.uint8), np.arange(1, 81))


@pytest.mark.skipif(sys.platform != "linux", reason="the memory of a process is limited on Linux")
def test_a_child_cannot_take_the_memory_or_write_files(tmp_path: Path) -> None:
    code = (
        "import sys; from live_restore.formats.vendor.child import _limit; _limit(0)\n"
        "try:\n    bytearray(8 * 2**30); sys.exit('memory')\nexcept MemoryError:\n    pass\n"
        "import signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        f"try:\n    open({str(tmp_path / 'x')!r}, 'wb', 0).write(b'x'); sys.exit('file')\n"
        "except OSError:\n    pass\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


def test_descriptions_are_compared_with_the_size_of_the_file() -> None:
    good = Description(1, 2, 2, (4, 12, 16), "uint16", (0.5, None, 0.1), ("a", "b"), ("p",), 2.0)
    assert Description.from_json(good.to_json(), 100) == good
    large = Description(1, 1, 1, (1000, 1000, 1000), "uint16")
    with pytest.raises(ProtocolError, match="in 1,000 bytes"):
        Description.from_json(large.to_json(), 1000)
    assert Description.from_json(large.to_json(), 10**9) == large
