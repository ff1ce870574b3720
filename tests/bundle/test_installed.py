"""On the other computer: services go over to a newer bundle, and an uninstallation spares data."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from live_restore.bundle.hashes import LIST_NAME, sha256_of, write_list
from live_restore.bundle.installed import processes_of, services_of
from live_restore.cli.main import main
from live_restore.installation import BUNDLE_RECORD, install_with
from live_restore.service import installed
from live_restore.service.definition import Service
from tests.support.systems import posix

pytestmark = posix
Become = Callable[[Path], None]


def unpacked(top: Path, name: str) -> Path:
    """Lay out the program folder of a bundle; return the Python in it."""
    python = top / name / "python" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    shutil.copyfile("/bin/sh", python)
    python.chmod(0o755)
    (top / name / BUNDLE_RECORD).write_text("{}")
    files = ["python/bin/python3", BUNDLE_RECORD]
    hashes = {file: sha256_of(top / name / file) for file in files}
    (top / name / LIST_NAME).write_text(write_list(hashes))
    return python


@pytest.fixture
def runs_from(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Become:
    """Make this process one of a bundle, on a computer whose ``systemctl`` agrees to everything."""
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "systemctl").write_text("#!/bin/sh\nexit 0\n")
    (tools / "systemctl").chmod(0o755)
    monkeypatch.setenv("PATH", str(tools), prepend=":")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))

    def become(python: Path) -> None:
        monkeypatch.setattr(sys, "executable", str(python))
        monkeypatch.setattr(sys, "prefix", str(python.parents[1]))

    return become


def test_services_go_over_to_the_newer_bundle(
    tmp_path: Path, runs_from: Become, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "live restore $ä %n"
    old, new = unpacked(top, "app-1-a"), unpacked(top, "app-2-b")
    service = Service(tmp_path / "data", ("--no-events",))
    runs_from(old)
    installed.install(service, tmp_path / "journal")
    assert [each.service for each in services_of(top / "app-1-a")] == [service]
    assert not services_of(top / "app-2-b")

    runs_from(new)
    assert main(["bundle", "--update"]) == 0
    assert [each.service for each in services_of(top / "app-2-b")] == [service]
    assert not services_of(top / "app-1-a")
    assert f"not used any more: {top / 'app-1-a'};" in capsys.readouterr().out


def test_an_uninstallation_removes_its_services_and_names_what_stays(
    tmp_path: Path, runs_from: Become, capsys: pytest.CaptureFixture[str], state_folder: Path
) -> None:
    bundle, other = tmp_path / "bundle", tmp_path / "other"
    here = Service(tmp_path / "data")
    elsewhere = Service(tmp_path / "more data")
    runs_from(unpacked(other, "app-1-a"))
    installed.install(elsewhere, tmp_path / "journal")
    runs_from(unpacked(bundle, "app-1-a"))
    installed.install(here, tmp_path / "journal")
    (bundle / "notes.txt").touch()
    assert main(["bundle", "--uninstall"]) == 0
    assert [each.service for each in installed.all_installed()] == [elsewhere]
    said = capsys.readouterr().out
    assert f"  {state_folder}: journals" in said
    assert f"  {bundle / 'notes.txt'}: not of the bundle" in said


def test_nothing_is_uninstalled_where_somebody_keeps_data(
    tmp_path: Path, runs_from: Become, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "bundle"
    python = unpacked(top, "app-1-a")
    runs_from(python)
    installed.install(Service(tmp_path / "data"), tmp_path / "journal")
    (python.parent / "__pycache__").mkdir()
    (python.parent / "__pycache__" / "a.cpython-311.pyc").touch()
    (python.parent / "cell.tif").write_bytes(b"the only copy")
    assert main(["bundle", "--uninstall"]) == 2
    assert "not of the bundle: python/bin/cell.tif;" in capsys.readouterr().err
    assert len(installed.all_installed()) == 1


def test_nothing_is_uninstalled_under_a_running_watch(
    tmp_path: Path, runs_from: Become, capsys: pytest.CaptureFixture[str]
) -> None:
    top = tmp_path / "bundle"
    python = unpacked(top, "app-1-a")
    runs_from(python)
    with subprocess.Popen([str(python), "-c", "read x"], stdin=subprocess.PIPE) as watch:
        assert processes_of(top) == [watch.pid]
        assert main(["bundle", "--uninstall"]) == 2
        assert f"process {watch.pid}" in capsys.readouterr().err
        watch.communicate()
    assert main(["bundle", "--uninstall"]) == 0


def test_a_process_of_which_the_system_tells_nothing_hides_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under Wine, where to ask is an error."""
    python, told = unpacked(tmp_path / "bundle", "app-1-a"), psutil.Process.exe

    def exe(process: psutil.Process) -> str:
        if process.pid != watch.pid:
            raise OSError(22, "Invalid parameter")
        return told(process)

    with subprocess.Popen([str(python), "-c", "read x"], stdin=subprocess.PIPE) as watch:
        monkeypatch.setattr(psutil.Process, "exe", exe)
        assert processes_of(tmp_path / "bundle") == [watch.pid]
        watch.communicate()


def test_in_a_bundle_nobody_is_sent_to_pip(tmp_path: Path, runs_from: Become) -> None:
    runs_from(unpacked(tmp_path / "bundle", "app-1-a"))
    install_with.cache_clear()
    try:
        assert install_with("zarr").startswith("unpack a bundle that holds zarr")
    finally:
        install_with.cache_clear()
