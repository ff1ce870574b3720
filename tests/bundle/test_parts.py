"""Scripts, bill of materials, licences, Python and zip of a bundle, each by itself."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from live_restore.bundle.archive import write_zip
from live_restore.bundle.build import _install
from live_restore.bundle.licences import Licence, collect, table
from live_restore.bundle.packages import Platform
from live_restore.bundle.python import look_at, place
from live_restore.bundle.sbom import Component, sbom
from live_restore.bundle.scripts import read_me, scripts
from live_restore.errors import LiveRestoreError, UsageError
from tests.bundle.builds import planted_instead_of
from tests.support.systems import posix

PROGRAM = "app-1.2.3-0123abcd"


@pytest.mark.parametrize("platform", ["windows", "linux"])
@pytest.mark.parametrize("choices", [(), ("page",)])
def test_scripts_find_the_program_beside_them_wherever_that_is(
    platform: Platform, choices: tuple[str, ...]
) -> None:
    found = scripts(platform, PROGRAM, choices)
    end = ".cmd" if platform == "windows" else ""
    expected = {"live-restore", "demo", "doctor", "watch", "update", "uninstall", *choices}
    assert set(found) == {f"{name}{end}" for name in expected}
    for name, text in found.items():
        assert text.isascii()
        assert PROGRAM in text
        assert ("--page" in text) == ("page" in choices and name.partition(".")[0] in
                                      ("demo", "watch"))  # fmt: skip
        assert ("\r\n" in text) == (platform == "windows")
        # Without a number a script ends with 0, whatever the program said; nor is the number of a
        # crash, which is negative, one that "if errorlevel 1" takes for a failure.
        assert not re.search(r"exit /b(?! [!0-9])|if errorlevel", text)
        # Whoever uninstalls deletes every script.
        assert name in found[f"uninstall{end}"] or name == "uninstall.cmd"
        assert name.partition(".")[0] in read_me(platform, "1.2.3")


@posix
def test_scripts_run_from_a_folder_of_any_name(tmp_path: Path) -> None:
    folder = tmp_path / "live restore $HOME 'ä'"
    python = folder / PROGRAM / "python" / "bin" / "python3"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nfor each in "$@"; do echo "$each"; done\n')
    python.chmod(0o755)
    for name, text in scripts("linux", PROGRAM, ("page",)).items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)

    def said(name: str, *arguments: str, given: str = "") -> list[str]:
        command = [str(folder / name), *arguments]
        done = subprocess.run(
            command, cwd="/", input=given, env={"HOME": "/home/ö p", "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, encoding="utf-8", check=True,
        )  # fmt: skip
        return done.stdout.splitlines()

    run = ["-P", "-m", "live_restore"]
    assert said("live-restore", "status", "a b") == [*run, "status", "a b"]
    assert said("demo")[3:] == ["demo", "--page", "127.0.0.1:0", "--out", "/home/ö p"]
    assert said("watch", "/data/a b")[3:] == ["watch", "/data/a b", "--page", "127.0.0.1:0"]
    assert said("page", given="/data/a b\n")[-5:] == ["page", "/data/a b", "--open", "--port", "0"]

    (folder / "mine.txt").touch()
    assert said("uninstall", given="y\n")[-2:] == ["bundle", "--uninstall"]
    assert [path.name for path in folder.iterdir()] == ["mine.txt"]


def test_compiled_files_of_a_wheel_are_left_out_without_a_word(tmp_path: Path) -> None:
    wheel, about = tmp_path / "small-1-py3-none-any.whl", "small-1.dist-info"
    texts = {
        "small/__init__.py": "",
        "small/__pycache__/__init__.cpython-311.pyc": "compiled",
        f"{about}/METADATA": "Metadata-Version: 2.1\nName: small\nVersion: 1\n",
        f"{about}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    with zipfile.ZipFile(wheel, "w") as file:
        for name, text in texts.items():
            file.writestr(name, text)
        file.writestr(
            f"{about}/RECORD", "".join(f"{name},,\n" for name in [*texts, f"{about}/RECORD"])
        )
    _install(wheel, tmp_path / "program", tmp_path / "program" / "packages")
    assert [path.name for path in (tmp_path / "program/packages/small").iterdir()] == [
        "__init__.py"
    ]


def test_the_bill_of_materials_is_valid() -> None:
    # Here: it takes 1.5 s of whoever collects the tests, three of them side by side.
    from cyclonedx.schema import SchemaVersion
    from cyclonedx.validation.json import JsonStrictValidator

    components = [
        Component("numpy", "2.1.0", "BSD-3-Clause", "a" * 64),
        Component("Odd_Name", "1!2.0+local", "Apache 2.0 and more, see LICENSE"),
        Component("libssl.so.3", "", package=False),
    ]
    text = sbom("0.1.0", components)
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    read = json.loads(text)
    assert [each["purl"] for each in read["components"]] == [
        "pkg:generic/libssl.so.3", "pkg:pypi/numpy@2.1.0", "pkg:pypi/odd-name@1%212.0%2Blocal",
    ]  # fmt: skip
    assert text == sbom("0.1.0", components[::-1])


def test_licences_are_collected_with_their_texts(tmp_path: Path) -> None:
    packages = tmp_path / "packages"
    about = packages / "thing-1.0.dist-info"
    (about / "licenses" / "sub").mkdir(parents=True)
    (about / "METADATA").write_text(
        "Metadata-Version: 2.4\nName: thing\nVersion: 1.0\nLicense-Expression: MIT\n"
    )
    for name in ("licenses/LICENSE", "licenses/sub/LICENSE"):
        (about / name).write_text("you may")
    (about / "RECORD").write_text(
        "".join(f"{about.name}/{name},,\n" for name in
                ("METADATA", "licenses/LICENSE", "licenses/sub/LICENSE"))
    )  # fmt: skip
    found = collect(packages, tmp_path / "licences")
    assert table(found).endswith("thing 1.0: MIT; 2 texts\n")
    assert len(list((tmp_path / "licences" / "thing-1.0").iterdir())) == 2


def test_what_is_under_no_free_licence_is_named_once_more() -> None:
    free, closed = Licence("thing", "1.0", "MIT", 1), Licence("run time", "14", "Proprietary", 1)
    assert "pass this bundle on" not in table([free])
    assert table([free, closed]).endswith("before you pass this bundle on:\n\nrun time 14\n")


def test_the_zip_is_the_same_whenever_it_is_made(tmp_path: Path) -> None:
    hashes = []
    for name in ("a", "b"):
        folder = tmp_path / name / "top"
        (folder / "x").mkdir(parents=True)
        for file in ("x/ü.txt", "run") if name == "a" else ("run", "x/ü.txt"):
            (folder / file).write_bytes(b"content")
        (folder / "run").chmod(0o755)
        write_zip(folder, tmp_path / f"{name}.zip")
        hashes.append(hashlib.sha256((tmp_path / f"{name}.zip").read_bytes()).hexdigest())
    assert hashes[0] == hashes[1]
    with zipfile.ZipFile(tmp_path / "a.zip") as archive:
        assert archive.namelist() == ["top/run", "top/x/ü.txt"]
        if sys.platform != "win32":
            assert archive.getinfo("top/run").external_attr >> 16 == 0o100755
            assert archive.getinfo("top/x/ü.txt").external_attr >> 16 == 0o100644


def embeddable(path: Path, machine: int = 0x8664, **more: bytes) -> Path:
    """Write a zip that looks like python.org's."""
    program = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40) + b"PE\0\0"
    program += struct.pack("<H", machine)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("python.exe", program)
        archive.writestr("python312.dll", b"")
        archive.writestr("python312._pth", "python312.zip\n.\n#import site\n")
        for name, content in more.items():
            archive.writestr(name, content)
    return path


def test_an_embeddable_python_reads_its_own_packages_only(tmp_path: Path) -> None:
    archive = embeddable(tmp_path / "python.zip", **{"../evil.dll": b"x", "sub/evil.dll": b"x"})
    source = look_at(archive, "windows")
    assert source.version == (3, 12)
    assert source.sha256 == hashlib.sha256(archive.read_bytes()).hexdigest()
    placed = place(source, "windows", tmp_path / "program" / "python")
    assert placed.packages == tmp_path / "program" / "python" / "Lib" / "site-packages"
    lines = (tmp_path / "program" / "python" / "python312._pth").read_text().split()
    assert lines == ["python312.zip", ".", r"Lib\site-packages", "import", "site"]
    assert not list(tmp_path.rglob("evil.dll"))
    (line,) = (placed.packages / "live-restore.pth").read_text().splitlines()
    assert line.startswith("import "), "only then it is run"
    assert "pycache_prefix" in line


def test_another_python_than_a_64_bit_one_for_windows_is_refused(tmp_path: Path) -> None:
    source = look_at(embeddable(tmp_path / "x86.zip", machine=0x14C), "windows")
    with pytest.raises(LiveRestoreError, match="64-bit"):
        place(source, "windows", tmp_path / "python")
    (tmp_path / "empty.zip").write_bytes(b"")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as other:
        other.writestr("readme", "")
    for archive, problem in (
        (tmp_path / "absent.zip", "cannot be read"),
        (tmp_path / "empty.zip", "cannot be read"),
        (tmp_path / "other.zip", "is no embeddable Python"),
        (None, "python.org"),
    ):
        with pytest.raises(UsageError, match=problem):
            look_at(archive, "windows")


@posix
def test_a_relocatable_python_is_taken_without_what_nobody_runs(tmp_path: Path) -> None:
    for name, content in {
        "bin/python3.12": "program",
        "bin/pip": "#!/home/somebody/python",
        "lib/python3.12/os.py": "",
        "lib/python3.12/test/test_os.py": "",
        "lib/python3.12/_sysconfigdata__linux.py": "build_time_vars = {'A': '/home'}",
        "lib/python3.12/lib-dynload/readline.so": "",
        "lib/python3.12/lib-dynload/zlib.so": "",
        "lib/libpython3.12.so.1.0": "",
    }.items():
        (tmp_path / "given" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "given" / name).write_text(content)
    source = look_at(tmp_path / "given", "linux")
    placed = place(source, "linux", tmp_path / "python")
    assert source.version == (3, 12)
    names = {
        path.relative_to(tmp_path / "python").as_posix()
        for path in (tmp_path / "python").rglob("*") if path.is_file()
    }  # fmt: skip
    assert names == {
        "bin/python3", "bin/python3.12", "lib/libpython3.12.so.1.0", "lib/python3.12/os.py",
        "lib/python3.12/_sysconfigdata__linux.py", "lib/python3.12/lib-dynload/zlib.so",
        "lib/python3.12/sitecustomize.py",
    }  # fmt: skip
    assert "/home" not in (tmp_path / "python/lib/python3.12/_sysconfigdata__linux.py").read_text()
    assert placed.packages == tmp_path / "python" / "lib" / "python3.12" / "site-packages"
    with pytest.raises(UsageError, match=r"bin/python3\.11"):
        look_at(tmp_path, "linux")


@posix
@pytest.mark.skipif(not shutil.which("ldd"), reason="ldd is not installed")
def test_a_copy_of_this_python_runs_and_so_do_its_children(tmp_path: Path) -> None:
    try:
        source = look_at(None, "linux")
    except UsageError as error:
        pytest.skip(str(error))
    folder = tmp_path / "with space ä" / "python"
    placed = place(source, "linux", folder)
    probe = """
import bz2, ctypes, hashlib, lzma, os, sqlite3, ssl, subprocess, sys, uuid, zlib
assert sys.prefix == sys.argv[1], sys.prefix
assert all(path.startswith(sys.prefix) for path in sys.path), sys.path
assert "LD_LIBRARY_PATH" not in os.environ
if len(sys.argv) == 2:
    subprocess.run([sys.executable, *sys.orig_argv[1:], "child"], check=True)
"""
    environment = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(tmp_path), "HOME": str(tmp_path)}
    command = [str(folder / "bin" / "python3"), "-P", "-c", probe, str(folder)]
    for name in ("encodings", "sqlite3"):
        planted_instead_of(next(folder.glob(f"lib/python3*/{name}/__init__.py")))
    before = set(folder.rglob("*"))
    subprocess.run(command, env=environment, check=True)
    assert set(folder.rglob("*")) == before
    assert list((tmp_path / ".cache" / "live-restore" / "compiled").rglob("sqlite3/*.pyc"))
    assert not [path for path in placed.libraries if path.name.startswith(("libc.", "libreadline"))]
