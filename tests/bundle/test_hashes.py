"""The list of hashes: one changed byte, one file more or one less is named."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from live_restore.bundle.hashes import (
    LIST_NAME,
    Difference,
    differences,
    read_list,
    write_list,
)
from live_restore.cli.main import main
from live_restore.errors import LiveRestoreError
from tests.support.systems import posix

HASH = "0" * 64


@pytest.fixture
def program(tmp_path: Path) -> Path:
    """A program folder that is as it was built."""
    folder = tmp_path / "live restore ä" / "app-1.0-0"
    (folder / "python").mkdir(parents=True)
    names = ["python/a.py", "python/ü b.txt", "../demo"]
    hashes = {}
    for number, name in enumerate(names):
        content = bytes(range(number, 200))
        (folder / name).write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    (folder / LIST_NAME).write_text(write_list(hashes), encoding="utf-8", newline="\n")
    return folder


def test_nothing_is_said_of_a_bundle_that_is_whole(program: Path) -> None:
    assert list(differences(program)) == []


@pytest.mark.parametrize("name", ["python/a.py", "python/ü b.txt", "../demo"])
def test_one_changed_byte_is_found(program: Path, name: str) -> None:
    content = bytearray((program / name).read_bytes())
    content[100] ^= 1
    (program / name).write_bytes(content)
    assert list(differences(program)) == [Difference(name, "changed")]


def test_what_is_missing_and_what_was_added_is_found(program: Path) -> None:
    (program / "python" / "a.py").unlink()
    (program / "python" / "sitecustomize.py").write_text("import evil")
    assert list(differences(program)) == [
        Difference("python/a.py", "missing"),
        Difference("python/sitecustomize.py", "not in the list"),
    ]


@posix
def test_a_link_is_no_file_of_the_bundle(program: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.move(program / "python" / "a.py", elsewhere)
    (program / "python" / "a.py").symlink_to(elsewhere / "a.py")
    (program / "more").symlink_to(elsewhere)
    found = {each.name for each in differences(program)}
    assert found == {"python/a.py", "more"}


def test_a_compiled_file_is_as_foreign_as_any_other(program: Path) -> None:
    """It would run instead of the module that is in the list."""
    cache = program / "python" / "__pycache__"
    cache.mkdir()
    (cache / "a.cpython-311.pyc").write_bytes(b"0")
    assert list(differences(program)) == [
        Difference("python/__pycache__/a.cpython-311.pyc", "not in the list")
    ]


@pytest.mark.parametrize(
    "name",
    [
        "../../etc/passwd",
        "../a/b",
        "/etc/passwd",
        "a/../../b",
        "a\\..\\b",
        "C:x",
        "a//b",
        "./a",
        "..",
    ],
)
def test_a_list_that_leads_out_of_the_bundle_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="list of hashes"):
        read_list(f"{HASH}  {name}\n")


@given(st.text(st.characters(codec="utf-8"), min_size=1))
@example("../x")
def test_no_name_of_a_list_leads_out_of_the_bundle(name: str) -> None:
    try:
        (found,) = read_list(f"{HASH}  {name}")
    except ValueError:
        return
    inside = Path("/top/program") / found
    assert Path(os.path.normpath(inside)).is_relative_to("/top")
    assert read_list(write_list({found: HASH})) == {found: HASH}


def test_a_list_that_is_none_is_one_line(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for content in (b"", b"\xff\xfe", b"what\n"):
        (program / LIST_NAME).write_bytes(content)
        with pytest.raises(LiveRestoreError, match="unpack the bundle again"):
            list(differences(program))
    assert main(["bundle", "--verify", str(program)]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_verify_says_what_and_where(program: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # By the unpacked folder, or by the program folder in it.
    assert main(["bundle", "--verify", str(program.parent)]) == 0
    assert "as it was built, 3 files" in capsys.readouterr().out
    (program / "python" / "a.py").write_bytes(b"other")
    assert main(["bundle", "--verify", str(program)]) == 1
    assert "changed: python/a.py" in capsys.readouterr().out


def test_verify_asks_for_a_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bundle", "--verify", str(tmp_path)]) == 2
    assert "is no unpacked bundle" in capsys.readouterr().err
    assert main(["bundle", "--verify"]) == 2
    assert "does not run from a bundle" in capsys.readouterr().err


@pytest.mark.skipif(not shutil.which("sha256sum"), reason="sha256sum is not installed")
def test_the_list_is_one_that_sha256sum_reads(program: Path) -> None:
    command = ["sha256sum", "--check", "--strict", LIST_NAME]
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, cwd=program, env=environment, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
