"""The Windows bundle, built on Linux, in a fresh Windows under Wine and without a network."""

from __future__ import annotations

import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bundle import isolated
from tests.bundle.builds import (
    ROOT,
    build,
    paths_in_texts,
    planted_instead_of,
    program_in,
    unpack,
)
from tests.page.runs import spots, write_file
from tests.support.systems import posix

pytestmark = [posix, pytest.mark.slow, pytest.mark.timeout(2400)]
BED = Path(os.environ.get("LIVE_RESTORE_WINDOWS_BED", ROOT / "build" / "windows"))
# What the bed itself adds, see tests/windows/README.md.
_OF_THE_BED = ("bcryptprimitives.dll",)
PLACE = r"C:\live restore ä\live-restore"


@pytest.fixture(scope="module")
def bed_python() -> Path:
    """The embeddable Python of the bed."""
    if not shutil.which("wine") or not (BED / "python" / "python.exe").exists():
        pytest.skip(f"no bed in {BED}; tests/windows/build makes one")
    if problem := isolated.why_not():
        pytest.skip(problem)
    return BED / "python"


@pytest.fixture(scope="module")
def archive(bed_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    with zipfile.ZipFile(folder / "python.zip", "w") as files:
        for path in bed_python.iterdir():
            if path.is_file() and path.name not in _OF_THE_BED:
                files.write(path, path.name)
    (folder / "constraints.txt").write_text("numpy==1.26.4\n")
    options = (
        "--python",
        str(folder / "python.zip"),
        "--constraints",
        str(folder / "constraints.txt"),
    )
    built = build(folder / "windows.zip", "windows", *options)
    print(built)
    lock = str(program_in(unpack(folder / "windows.zip", folder / "again")) / "requirements.lock")
    same = build(folder / "same.zip", "windows", *options[:2], "--lock", lock)
    assert same["sha256"] == built["sha256"]
    return folder / "windows.zip"


@pytest.fixture
def drive(bed_python: Path, tmp_path: Path) -> Iterator[Path]:
    """Drive C: of a fresh Windows, with what Wine 8 lacks."""
    prefix = tmp_path / "prefix"
    for program in (["wineboot", "--init"], ["wineserver", "--wait"]):
        subprocess.run(program, env=wine(prefix), capture_output=True, timeout=300, check=True)
    drive = prefix / "drive_c"
    shutil.copy2(bed_python / "bcryptprimitives.dll", drive / "windows" / "system32")
    (prefix / "dosdevices" / "d:").symlink_to(tmp_path / "drive_d")
    (tmp_path / "drive_d" / "data").mkdir(parents=True)
    yield drive
    subprocess.run(["wineserver", "--kill"], env=wine(prefix), check=False)


def wine(prefix: Path) -> dict[str, str]:
    """Return an environment without this computer's Python; tests/windows/python says why."""
    return {
        "PATH": os.environ["PATH"], "HOME": str(prefix.parent), "LANG": "C.UTF-8",
        "WINEPREFIX": str(prefix), "WINEARCH": "win64", "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "explorer.exe=d;winedbg.exe=d;mscoree=d;mshtml=d",
    }  # fmt: skip


def run_in(
    drive: Path, script: str, *arguments: str, given: str = "\n"
) -> subprocess.CompletedProcess[str]:
    """Start a script of the bundle, as a double click does; return what it said."""
    command = [*isolated.COMMAND, "/", "wine", "cmd", "/c", rf"{PLACE}\{script}", *arguments]
    done = subprocess.run(
        command, input=given, env=wine(drive.parent), cwd=drive, capture_output=True, text=True,
        errors="replace", timeout=600, check=False,
    )  # fmt: skip
    print(script, arguments, done.stdout, done.stderr, sep="\n")
    return done


def documented_lines() -> list[list[str]]:
    """Return the words of what a facility is told to run on each PC."""
    page = (ROOT / "docs" / "how-to" / "install.md").read_text("utf-8")
    (block,) = [each for each in page.split("```") if "\\\\server" in each]
    start = ".\\live-restore "
    return [line.removeprefix(start).split() for line in block.splitlines() if start in line]


def test_what_a_facility_is_told_to_run(drive: Path, archive: Path) -> None:
    """Word by word, but for PowerShell's own commands, which Wine does not have."""
    bundle = unpack(archive, drive / "live restore ä")
    settings = drive / "ProgramData" / "live-restore" / "config.toml"
    settings.parent.mkdir(parents=True)
    settings.write_text("[watch]\nstall_s = 77.0\n")
    lines = documented_lines()
    assert [words[0] for words in lines] == ["bundle", "config", "doctor", "service"]
    for words in lines:
        assert run_in(drive, "live-restore.cmd", *words).returncode == 0, words
    shown = run_in(drive, "live-restore.cmd", "config", "show").stdout
    assert "watch.stall_s = 77.0" in shown
    assert r"D:\data" in run_in(drive, "live-restore.cmd", "service", "status").stdout
    uninstall = run_in(drive, "uninstall.cmd", given="y\r\n")
    assert "live-restore-data-" in uninstall.stdout
    assert not list(bundle.glob("app-*"))


def test_from_the_zip_to_the_uninstallation(drive: Path, archive: Path) -> None:
    bundle = unpack(archive, drive / "live restore ä")
    assert paths_in_texts(bundle) == []
    assert "PYTHONWARNINGS" not in os.environ
    licences = next(bundle.glob("app-*/licences/index.txt")).read_text("utf-8")
    assert "msvc_runtime" in licences.partition("before you pass this bundle on")[2]

    doctor = run_in(drive, "doctor.cmd")
    assert "ready" in doctor.stdout.splitlines()
    assert run_in(drive, "live-restore.cmd", "bundle", "--verify").returncode == 0

    demo = run_in(drive, "live-restore.cmd", "demo", "--times", "2", "--out", r"C:\users")
    assert demo.returncode == 0
    results = drive / "users" / "live-restore-demo" / "acquisition" / "restored"
    assert list(results.glob("*.ome.tif"))

    data = drive / "data"
    data.mkdir()
    write_file(data / "cell.tif", spots(0))
    assert run_in(drive, "live-restore.cmd", "watch", r"C:\data", "--once").returncode == 0
    assert (data / "restored" / "cell.ome.tif").exists()

    # Nothing was added meanwhile; and what is added is not run, and found.
    program = program_in(bundle)
    assert run_in(drive, "live-restore.cmd", "bundle", "--verify").returncode == 0
    packages = program / "python" / "Lib" / "site-packages"
    assert [path.name for path in packages.glob("*.pth")] == ["live-restore.pth"]
    planted = planted_instead_of(packages / "live_restore" / "__init__.py")
    verify = run_in(drive, "live-restore.cmd", "bundle", "--verify")
    assert verify.returncode == 1
    assert f"/{planted.name}" in verify.stdout
    assert "not as it was built" in verify.stdout
    shutil.rmtree(planted.parent)

    # A newer bundle over this one: here the same under another name.
    shutil.copytree(program, program.with_name("app-0.0.9-00000000"))
    update = run_in(drive, "update.cmd")
    assert "not used any more" in update.stdout
    assert "done" in run_in(drive, "live-restore.cmd", "status", r"C:\data").stdout

    uninstall = run_in(drive, "uninstall.cmd", given="y\r\n")
    assert "journals, logs" in uninstall.stdout
    # Wine 8 leaves the empty folder; why was not found out.
    assert not bundle.exists() or not list(bundle.iterdir())
    assert list(drive.glob("users/*/AppData/Local/live-restore"))
    assert (data / "restored" / "cell.ome.tif").exists()
