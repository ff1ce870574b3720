"""``watch`` at a real terminal: what stands there after Ctrl-C, and when the terminal is closed."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from live_restore.journal.location import journal_path, log_path
from tests.support.models import write_model
from tests.support.processes import PATIENCE_S, environment, status, wait_for

pty = pytest.importorskip("pty", reason="no terminals of this kind on this system")

_CODE = (
    "import fcntl, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "from live_restore.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


_IN_BACKGROUND = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); child = os.fork()\n"
    "if child: sys.exit(os.waitpid(child, 0)[1])\n"
    "os.setpgid(0, 0)\n"
    "from live_restore.cli.main import main; sys.exit(main(sys.argv[1:]))"
)


class AtTerminal:
    """``live-restore watch`` with a terminal of its own, and what it wrote there so far."""

    def __init__(self, root: Path, state: Path, code: str) -> None:
        self.master, slave = pty.openpty()
        model = write_model(root.parent / "tanh.onnx", operator="Tanh")
        self.process = subprocess.Popen(
            [sys.executable, "-c", code, "watch", str(root), "--model", str(model),
             "--device", "cpu"],
            stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**environment(state), "TERM": "xterm", "COLUMNS": "100", "LINES": "40"},
        )  # fmt: skip
        os.close(slave)
        self.written = b""
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        while True:
            try:
                part = os.read(self.master, 65536)
            except OSError:  # the other side is gone
                return
            if not part:
                return
            self.written += part

    def text(self) -> str:
        """Return all that was written, without colours and movements of the cursor."""
        plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", self.written.decode("utf-8", "replace"))
        return plain.replace("\r", "")

    def end(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(PATIENCE_S)
        self._reader.join(PATIENCE_S)
        return code


@contextmanager
def at_terminal(tmp_path: Path, code: str = _CODE) -> Iterator[AtTerminal]:
    root = tmp_path / "run"
    root.mkdir()
    (root / "broken.tif").write_bytes(b"no TIFF at all " * 100)
    terminal = AtTerminal(root, tmp_path / "state", code)
    try:
        wait_for(lambda: "1 refused" in terminal.text() or "1 failed" in terminal.text(), "it")
        yield terminal
    finally:
        if terminal.process.poll() is None:
            for child in psutil.Process(terminal.process.pid).children():
                child.kill()  # a stopped one would stay
            terminal.process.kill()
        terminal.end()


def test_in_the_background_it_goes_on(tmp_path: Path) -> None:
    """As ``live-restore watch DIR &``: who sets a terminal from there is stopped."""
    with at_terminal(tmp_path, _IN_BACKGROUND) as terminal:
        (child,) = psutil.Process(terminal.process.pid).children()
        child.terminate()
        assert terminal.end() == 0


def test_after_ctrl_c_one_display_stays_and_a_summary_closes_it(tmp_path: Path) -> None:
    with at_terminal(tmp_path) as terminal:
        os.write(terminal.master, b"\x03")
        assert terminal.end() == 0
    text = terminal.text()
    assert "^C" not in text
    *_, last = text.split("╰")
    assert " ended " in last
    assert last.count("in this run") == 1
    assert re.search(r"1 (refused|failed) \(.*\): \S+", last), "why it was not restored"
    # The cursor went up by exactly what was drawn: the last panel stands alone.
    drawn = terminal.written.decode().rpartition("╭")[2]
    assert drawn.count("╰") == 1
    told = status(tmp_path / "state", tmp_path / "run")
    assert told["ended"] == "stopped by Ctrl-C"
    assert told["started_at"] <= told["ended_at"] <= time.time()


def test_a_closed_terminal_is_a_clean_stop_with_a_line_in_the_log(tmp_path: Path) -> None:
    with at_terminal(tmp_path) as terminal:
        os.close(terminal.master)
        assert terminal.process.wait(PATIENCE_S) == 0
    root = tmp_path / "run"
    log = log_path(root, journal_path(root, tmp_path / "state"))
    lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    assert lines[-1]["event"] == "ended"
    assert lines[-1]["why"] == "its terminal was closed"
    assert status(tmp_path / "state", tmp_path / "run")["ended"] == "its terminal was closed"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_what_is_left_to_write_to_a_closed_terminal_changes_no_exit_code(stream: str) -> None:
    code = (
        "import argparse, io, os, pty, sys; master, slave = pty.openpty(); os.close(master)\n"
        f"sys.{stream} = io.TextIOWrapper(io.BufferedWriter(io.FileIO(slave, 'w')))\n"
        "import live_restore.cli.main as command\n"
        f"told = argparse.Namespace(handler=lambda _: 0 * sys.{stream}.write('left'), debug=0)\n"
        "command.build_parser = lambda: argparse.Namespace(parse_args=lambda _: told)\n"
        "sys.exit(command.main([]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
