"""Logs: JSON lines in a file, one line per event on the terminal, whatever is in them."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import structlog

from live_restore.cli.logs import configure_logging
from live_restore.errors import LiveRestoreError
from live_restore.settings.process import LogSettings
from tests.support.systems import posix

ODD = "two\nlines \x1b[2J " + "\udcff"


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    yield
    logger = logging.getLogger("live_restore")
    for handler in list(logger.handlers):
        logger.removeHandler(handler)
        handler.close()
    logger.propagate = True
    structlog.reset_defaults()


def log() -> Any:
    return structlog.get_logger("live_restore.test")


def lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def fail() -> None:
    try:
        raise ValueError("because")
    except ValueError:
        log().exception("internal error", stack_key="a.tif")


def test_the_file_has_json_lines_with_tracebacks(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "state" / "x.log"
    configure_logging(LogSettings(), file, terminal=False)
    log().info("restored", stack_key="ä.tif", delay_s=1.5)
    fail()
    first, second = lines(file)
    assert (first["event"], first["stack_key"], first["delay_s"]) == ("restored", "ä.tif", 1.5)
    assert first["level"] == "info"
    assert datetime.fromisoformat(first["timestamp"]).utcoffset() is not None
    assert "ValueError: because" in second["exception"]
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("kind", ["plain", "json"])
def test_the_terminal_has_one_line_each(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: Any
) -> None:
    file = tmp_path / "x.log"
    configure_logging(LogSettings(format=kind), file, terminal=True)
    log().warning("refused", stack_key=ODD, reason="flat")
    fail()
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2
    assert "\x1b" not in err
    assert "Traceback" not in err
    assert "Logging error" not in err
    assert "two" in err
    assert lines(file)[0]["stack_key"] == ODD
    if kind == "json":
        assert json.loads(err.splitlines()[0])["reason"] == "flat"


def test_the_level_decides(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    configure_logging(LogSettings(level="warning"), file, terminal=False)
    log().info("not told")
    log().warning("told")
    assert [line["event"] for line in lines(file)] == ["told"]


def test_configured_again_it_writes_once(tmp_path: Path) -> None:
    file = tmp_path / "x.log"
    for _ in range(2):
        configure_logging(LogSettings(), file, terminal=False)
    log().info("told")
    assert len(lines(file)) == 1


def test_the_file_does_not_grow_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("live_restore.cli.logs._FILE_BYTES", 2000)
    file = tmp_path / "x.log"
    configure_logging(LogSettings(), file, terminal=False)
    for number in range(200):
        log().info("event", number=number)
    assert len(list(tmp_path.iterdir())) == 4
    assert all(path.stat().st_size <= 2000 for path in tmp_path.iterdir())


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LiveRestoreError, match="log cannot be written"):
        configure_logging(LogSettings(), tmp_path / "file" / "x.log", terminal=False)


def test_without_file_and_terminal_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(LogSettings(), None, terminal=False)
    log().error("hidden")
    assert capsys.readouterr() == ("", "")


@posix
@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a file that is always full")
def test_a_full_disk_costs_lines_and_is_said_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log_file = tmp_path / "a.log"
    log_file.symlink_to("/dev/full")
    configure_logging(LogSettings(), log_file, terminal=False)
    log = structlog.get_logger("live_restore")
    for number in range(3):
        log.info("restored", number=number)
    configure_logging(LogSettings(), None, terminal=False)
    said = capsys.readouterr().err
    assert said.count("the log cannot be written (No space left on device)") == 1
    assert said.count("\n") == 1
