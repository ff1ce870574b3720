"""What asks an index fails in one line, which says what to do."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from live_restore.bundle import tools
from live_restore.bundle.packages import Pin, Target, write_lock
from live_restore.cli.main import main
from live_restore.errors import LiveRestoreError, UsageError

# Nothing listens there.
NO_INDEX = "http://127.0.0.1:9/simple"
TARGET = Target("linux", (3, 11))


def test_without_an_index_the_remedy_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_HTTP_RETRIES", "0")
    monkeypatch.setenv("PIP_RETRIES", "0")
    lock = tmp_path / "lock.txt"
    lock.write_text(write_lock([Pin("no-such-package", "1.0", ("a" * 64,))]))
    with pytest.raises(LiveRestoreError, match="--index URL names another") as resolved:
        tools.resolve(["no-such-package"], TARGET, constraints=None, index=NO_INDEX)
    with pytest.raises(LiveRestoreError, match="--index URL names another") as downloaded:
        tools.download(lock, TARGET, tmp_path / "wheels", index=NO_INDEX)
    for error in (resolved, downloaded):
        assert len(str(error.value).splitlines()) == 1


def test_what_hangs_is_ended() -> None:
    with pytest.raises(LiveRestoreError, match=r"sleep took over 0\.1 s"):
        tools._run("sleep", ["sleep", "60"], 0.1)


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uv" else name)
    with pytest.raises(UsageError, match=r'with uv; pip install "live-restore\[bundle\]"'):
        tools.require_tools()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "name the zip with -o FILE"),
        (["-o", "b.zip", "--with", "cuda", "--with", "directml"], "build two bundles"),
        (["-o", "b.zip"], "embeddable package"),
        (["-o", "b.zip", "--python", "absent.zip"], "cannot be read"),
        (["-o", "b.zip", "--with", "torch"], "invalid choice"),
    ],
)
def test_a_wrong_order_is_refused_before_anything_is_fetched(
    options: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    try:
        code = main(["bundle", "--platform", "windows", *options])
    except SystemExit as usage:
        code = int(usage.code or 0)
    assert code == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
