"""What to install is told as this program was installed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from live_restore.installation import install_with, pip_install

ROOT = Path(__file__).resolve().parents[1]


def test_of_a_clone_it_is_the_clone() -> None:
    assert install_with("page").endswith(f'-m pip install -e "{ROOT}[page]"')
    assert sys.executable in install_with()


@pytest.mark.parametrize(
    ("direct_url", "told"),
    [
        (None, 'install "live-restore[page]"'),
        ({"url": "file:///x/live_restore-1.whl", "archive_info": {}},
         'install "live-restore[page] @ file:///x/live_restore-1.whl"'),
        ({"url": "https://me:secret@host/r.git", "vcs_info": {}}, 'install "live-restore[page]"'),
        ([], 'install "live-restore[page]"'),
    ],
)  # fmt: skip
def test_of_an_installed_package_it_is_where_that_came_from(
    tmp_path: Path, direct_url: object, told: str
) -> None:
    package, information = tmp_path / "live_restore", tmp_path / "live_restore-1.dist-info"
    package.mkdir()
    information.mkdir()
    for name in ("__init__.py", "_version.py", "errors.py", "installation.py"):
        shutil.copyfile(ROOT / "live_restore" / name, package / name)
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: live-restore\nVersion: 1\n")
    if direct_url is not None:
        (information / "direct_url.json").write_text(json.dumps(direct_url))
    code = "from live_restore.installation import install_with; print(install_with('page'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip().endswith(told)


def test_a_program_with_a_space_in_its_path_is_quoted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "C:\\Program Files\\python.exe")
    assert pip_install("x") == '"C:\\Program Files\\python.exe" -m pip install "x"'
