"""Formats of other packages, installed as packages are: a folder with metadata on ``sys.path``."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from live_restore.cli.main import main
from live_restore.doctor.checks import examine
from live_restore.engine.daemon import Daemon
from live_restore.errors import StackChangedError, StackUnreadableError
from live_restore.formats import plug_ins
from live_restore.formats.file_format import Complete
from live_restore.formats.table import (
    acquisition_format_for,
    format_for,
    make_acquisition_formats,
    make_formats,
    problems,
)
from live_restore.journal.journal import Journal
from live_restore.journal.states import State
from live_restore.settings.load import load_settings
from live_restore.stack import StackIndex
from tests.support.fakes import fake_shelf
from tests.support.tiffs import BY_NAME, written
from tests.support.watched import Scene

Install = Callable[..., None]

RAW = """
from contextlib import contextmanager
import numpy as np
from live_restore.formats.file_format import Complete
from live_restore.stack import FileStacks, Fingerprint

class RawFormat:
    name = "raw"
    def recognises(self, path):
        return path.suffix == ".raw"
    def inspect(self, path):
        shape, dtype = (3, 4, 5), np.dtype("uint16")
        return Complete(FileStacks(path, Fingerprint.of(path.stat()), 1, 1, 1, shape, dtype), True)
    @contextmanager
    def open(self, file_stacks):
        yield Reader(file_stacks)

class Reader:
    def __init__(self, file_stacks):
        self.file_stacks = file_stacks
    def read(self, stack_index):
        return np.ones(self.file_stacks.shape_zyx, self.file_stacks.dtype)
"""

READ = "return np.ones(self.file_stacks.shape_zyx, self.file_stacks.dtype)"

FOLDERS = """
from live_restore.formats.acquisition_format import AcquisitionInfo, AcquisitionState

class FoldersFormat:
    name = "folders"
    def recognises(self, folder, names):
        return "folders.txt" in names
    def follow(self, folder):
        return Follower(folder)

class Follower:
    def __init__(self, folder):
        self.folder = folder
    def poll(self, *, over=False, plan=None):
        return AcquisitionState(AcquisitionInfo(self.folder.name, "folders"))
    def read(self, stack_index):
        return None
"""


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    """Install a package of one module with these entry points."""
    site = tmp_path / "site-packages"
    monkeypatch.syspath_prepend(str(site))
    before = set(sys.modules)

    def install(module: str, source: str, **groups: str) -> None:
        metadata = site / f"{module}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (site / f"{module}.py").write_text(textwrap.dedent(source))
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(
            "".join(f"[live_restore.{group}]\n{points}\n" for group, points in groups.items())
        )
        plug_ins.installed.cache_clear()

    plug_ins.installed.cache_clear()
    yield install
    plug_ins.installed.cache_clear()
    for name in set(sys.modules) - before:
        if getattr(sys.modules[name], "__file__", None) and str(site) in str(
            sys.modules[name].__file__
        ):
            del sys.modules[name]


def test_a_format_of_another_package_reads_its_files(tmp_path: Path, install: Install) -> None:
    install("lr_raw", RAW, file_formats="raw = lr_raw:RawFormat")
    path = tmp_path / "cell.raw"
    path.write_bytes(b"1")
    kind = format_for(path, make_formats())
    assert kind is not None
    assert kind.name == "raw"
    found = kind.inspect(path)
    assert isinstance(found, Complete)
    with kind.open(found.file_stacks) as reader:
        np.testing.assert_array_equal(reader.read(StackIndex()), np.ones((3, 4, 5), "uint16"))
    assert problems() == ()


def test_a_format_of_another_package_follows_its_folders(tmp_path: Path, install: Install) -> None:
    install("lr_folders", FOLDERS, acquisition_formats="folders = lr_folders:FoldersFormat")
    run = tmp_path / "run_1"
    run.mkdir()
    (run / "folders.txt").touch()
    kind = acquisition_format_for(run, make_acquisition_formats())
    assert kind is not None
    assert kind.follow(run).poll().info.format == "folders"
    with pytest.raises(StackUnreadableError, match=r'the format "folders" failed .*no array of'):
        kind.follow(run).read(StackIndex())


def test_our_own_come_first_and_plug_ins_by_name(install: Install) -> None:
    source = "\n".join(
        RAW.replace("RawFormat", f"{name.upper()}Format").replace('"raw"', f'"{name}"')
        for name in "ba"
    )
    install("lr_two", source, file_formats="b = lr_two:BFormat\na = lr_two:AFormat")
    install("lr_raw", RAW, file_formats="raw = lr_raw:RawFormat")
    assert [each.name for each in make_formats()] == ["tiff", "vendor", "a", "b", "raw"]


BROKEN = {
    "cannot be imported": ("raise RuntimeError('two\\nlines')", "X", r"RuntimeError: two\nlines"),
    "ends the process": ("import sys\nsys.exit(3)", "X", "SystemExit: 3"),
    "is not there": ("", "X", "AttributeError"),
    "wants arguments": (RAW + "\ndef x(a): pass", "x", "TypeError"),
    "is no format": ("class X:\n    name = 'broken'", "X", "lacks recognises, inspect, open"),
    "has another name": (RAW, "RawFormat", "calls itself 'raw'"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_one_is_left_out_and_reported(tmp_path: Path, install: Install, kind: str) -> None:
    source, name, said = BROKEN[kind]
    install("lr_broken", source, file_formats=f"broken = lr_broken:{name}")
    install("lr_raw", RAW, file_formats="raw = lr_raw:RawFormat")
    (problem,) = problems()
    assert said in problem
    assert problem.startswith('the format "broken" of lr_broken 1.0 (lr_broken:')
    with pytest.warns(RuntimeWarning, match='the format "broken"'):
        formats = make_formats()
    assert [each.name for each in formats] == ["tiff", "vendor", "raw"]


def test_names_that_are_taken(install: Install) -> None:
    source = RAW.replace('"raw"', '"tiff"')
    install("lr_tiff", source, file_formats="tiff = lr_tiff:RawFormat")
    install("lr_raw", RAW, file_formats="raw = lr_raw:RawFormat")
    install("lr_raw2", RAW, file_formats="raw = lr_raw2:RawFormat")
    assert len([line for line in problems() if "of that name already" in line]) == 2
    assert [each.name for each in make_formats(warn=[].append)] == ["tiff", "vendor", "raw"]


def test_one_that_fails_at_recognising_is_out_and_said_so_once(
    tmp_path: Path, install: Install
) -> None:
    source = RAW.replace('return path.suffix == ".raw"', "return 1 / 0")
    install("lr_raw", source, file_formats="raw = lr_raw:RawFormat")
    said: list[str] = []
    formats = make_formats(warn=said.append)
    tiff = written(BY_NAME["plain"], tmp_path)
    assert format_for(tiff, formats) is formats[0]
    for name in ("a.raw", "b.raw"):
        assert format_for(tmp_path / name, formats) is None
    assert said == [
        'the format "raw" is out: it failed at recognising (ZeroDivisionError: division by zero)'
    ]


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("shape, dtype =", "raise KeyError('a'); shape, dtype =", "KeyError"),
        ("return Complete(", "return (", "inspect returned tuple"),
        ("yield Reader", "1 / 0; yield Reader", "ZeroDivisionError"),
        ("return np.ones(", "return 1 / 0 * np.ones(", "ZeroDivisionError"),
        (READ, "return []", "read returned list"),
        (READ, f"{READ}[1:]", "announced uint16 of (3, 4, 5)"),
        (READ, f"{READ}.astype('>u2')", "read >u2"),
    ],
)
def test_one_that_fails_at_work_fails_that_file(
    tmp_path: Path, install: Install, good: str, bad: str, said: str
) -> None:
    assert good in RAW
    install("lr_raw", RAW.replace(good, bad), file_formats="raw = lr_raw:RawFormat")
    path = tmp_path / "cell.raw"
    path.write_bytes(b"1")
    kind = format_for(path, make_formats())
    assert kind is not None

    def use() -> None:
        found = kind.inspect(path)
        assert isinstance(found, Complete)
        with kind.open(found.file_stacks) as reader:
            reader.read(StackIndex())

    with pytest.raises(StackUnreadableError) as caught:
        use()
    assert said in str(caught.value)
    assert 'cell.raw: the format "raw" failed' in str(caught.value)
    assert caught.value.remedy == "report it to that plug-in's author, or uninstall it"


def test_errors_of_our_own_and_of_the_caller_pass(tmp_path: Path, install: Install) -> None:
    source = "from live_restore.errors import StackChangedError" + RAW.replace(
        "shape, dtype =", "\n        if not path.exists(): raise StackChangedError('gone', path)\n"
        "        shape, dtype =",
    )  # fmt: skip
    install("lr_raw", source, file_formats="raw = lr_raw:RawFormat")
    path = tmp_path / "cell.raw"
    kind = format_for(path, make_formats())
    assert kind is not None
    with pytest.raises(StackChangedError, match="gone"):
        kind.inspect(path)
    path.write_bytes(b"1")
    found = kind.inspect(path)
    assert isinstance(found, Complete)
    with pytest.raises(LookupError, match="the caller's"), kind.open(found.file_stacks):
        raise LookupError("the caller's")


def test_doctor_says_so(install: Install) -> None:
    install("lr_broken", "", file_formats="broken = lr_broken:X")
    # What is looked at later takes seconds.
    finding = next(each for each in examine(load_settings()) if each.what == "plug-in")
    assert finding.verdict == "bad"
    assert finding.found.startswith('the format "broken" of lr_broken 1.0')


def test_the_daemon_says_so_at_its_start(tmp_path: Path, install: Install) -> None:
    install("lr_broken", "", acquisition_formats="broken = lr_broken:X")
    with Journal(tmp_path / "j.sqlite", tmp_path, recipe="one") as journal:
        daemon = Daemon(tmp_path, load_settings(), fake_shelf(), journal)
        (warning,) = daemon.progress.snapshot().warnings
    assert warning.startswith('the format "broken" of lr_broken 1.0')


def test_the_command_line_reports_a_broken_one_in_one_line(
    tmp_path: Path, install: Install, capsys: pytest.CaptureFixture[str]
) -> None:
    install("broken", "raise ImportError('no numpy')", file_formats="broken = broken:Made")
    assert main(["restore", str(tmp_path / "absent.tif"), "--device", "cpu"]) == 1
    lines = capsys.readouterr().err.splitlines()
    (line,) = (line for line in lines if 'the format "broken"' in line)
    assert line.startswith("live-restore: ")
    assert "is left out: it cannot be loaded" in line


STACKS = """
import numpy as np
from live_restore.errors import SettingsError, StackIncompleteError
from live_restore.formats.acquisition_format import *
from live_restore.stack import StackIndex

class FoldersFormat:
    name = "folders"
    def recognises(self, folder, names):
        return "folders.txt" in names
    def follow(self, folder):
        return Follower()

class Follower:
    def poll(self, *, over=False, plan=None):
        info = AcquisitionInfo("run", "folders", np.dtype("uint16"), (4, 5))
        evidence = StackEvidence(Stage.COMPLETE, (0, 1, 2))
        return AcquisitionState(info, {StackIndex(): evidence})
    def read(self, stack_index):
        return np.ones((3, 4, 5), "uint16")
"""


@pytest.mark.parametrize(
    ("good", "bad", "said"),
    [
        ("return np.ones((3, 4, 5)", "return np.ones((2, 4, 5)", "read uint16 of (2, 4, 5)"),
        ('(3, 4, 5), "uint16")', '(3, 4, 5), "uint8")', "announced uint16 of (3, 4, 5)"),
        ("{StackIndex(): evidence}", "{StackIndex(): None}", "poll returned NoneType"),
        ("info = Acq", "raise StackIncompleteError('no'); info = Acq", "StackIncompleteError: no"),
        ("info = Acq", "raise SettingsError('no'); info = Acq", "SettingsError: no"),
    ],
)
def test_an_acquisition_format_that_fails_at_work_fails_that_folder(
    tmp_path: Path, install: Install, good: str, bad: str, said: str
) -> None:
    assert good in STACKS
    install("lr_f", STACKS.replace(good, bad), acquisition_formats="folders = lr_f:FoldersFormat")
    (tmp_path / "folders.txt").touch()
    kind = acquisition_format_for(tmp_path, make_acquisition_formats())
    assert kind is not None
    follower = kind.follow(tmp_path)

    def use() -> None:
        follower.poll()
        follower.read(StackIndex())

    with pytest.raises(StackUnreadableError) as caught:
        use()
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("return Follower()", "return 1 / 0"),
        ("info = Acq", "raise StackIncompleteError('no'); info = Acq"),
    ],
)
def test_an_acquisition_that_no_plug_in_can_follow_costs_the_others_nothing(
    tmp_path: Path, install: Install, good: str, bad: str
) -> None:
    install("lr_f", STACKS.replace(good, bad), acquisition_formats="folders = lr_f:FoldersFormat")
    root = tmp_path / "watched"
    (root / "run").mkdir(parents=True)
    (root / "run" / "folders.txt").touch()
    written(BY_NAME["plain"], root)
    scene = Scene(root, tmp_path / "j.sqlite")
    scene.settle()
    scene.settle()
    states = {entry.key.path.name: entry.state for entry in scene.journal.entries()}
    assert states.pop("run") is State.REFUSED
    assert set(states.values()) == {State.WAITING}
    assert scene.bad == [(Path("run"), State.REFUSED)]
    scene.journal.close()
