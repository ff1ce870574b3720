"""The scripts of a bundle for Windows, run by cmd: their exit code is the program's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from live_restore.bundle.scripts import scripts

pytestmark = pytest.mark.skipif(sys.platform != "win32", reason="only Windows has cmd")
PROGRAM = "app-1.2.3-0123abcd"


def place(folder: Path, choices: tuple[str, ...], start: str) -> None:
    """Write the scripts; instead of the program in the folder they start that."""
    for name, text in scripts("windows", PROGRAM, choices).items():
        own = rf'"%~dp0{PROGRAM}\python\python.exe" -P -m live_restore'
        assert own in text
        (folder / name).write_bytes(text.replace(own, start).encode())


def exit_code(folder: Path, *words: str, given: str = "\n") -> int:
    """Return what a script ends with; a key is pressed where its window stays open."""
    done = subprocess.run(
        ["cmd", "/c", *words], input=given, cwd=folder, stdout=subprocess.PIPE, text=True,
        errors="replace", timeout=120, check=False,
    )  # fmt: skip
    print(words, done.stdout)
    return done.returncode


@pytest.mark.parametrize("choices", [(), ("page",)])
def test_the_exit_code_of_a_script_is_the_programs(
    tmp_path: Path, choices: tuple[str, ...]
) -> None:
    place(tmp_path, choices, f'"{sys.executable}" -P -m live_restore')
    assert exit_code(tmp_path, "live-restore.cmd", "--version") == 0
    assert exit_code(tmp_path, "live-restore.cmd", "status", "no such! folder") == 2
    assert exit_code(tmp_path, "doctor.cmd", "--no-such-option") == 2
    assert exit_code(tmp_path, "demo.cmd", "--no-such-option") == 2
    assert exit_code(tmp_path, "watch.cmd", "no such! folder") == 2


@pytest.mark.parametrize(("code", "stays"), [(2, True), (0xC0000005, True), (0, False)])
def test_nothing_is_uninstalled_where_the_program_did_not_agree(
    tmp_path: Path, code: int, stays: bool
) -> None:
    """Also where it crashed: cmd takes the code of that for a negative number."""
    ends = f"open('ran', 'w').close(); ctypes.windll.kernel32.ExitProcess({code})"
    place(tmp_path, (), f'"{sys.executable}" -c "import ctypes; {ends}"')
    program = tmp_path / PROGRAM
    (program / "python").mkdir(parents=True)
    assert exit_code(tmp_path, "uninstall.cmd", given="y\n") == (1 if stays else 0)
    assert (tmp_path / "ran").exists()
    assert program.exists() == stays
    assert (tmp_path / "watch.cmd").exists() == stays
