"""Alerts as processes: a mail server, a web hook and a command on this computer are told."""

from __future__ import annotations

import email
import email.header
import json
import os
import platform
import socket
import socketserver
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from live_restore.journal.location import journal_path, log_path
from tests.support.models import write_model
from tests.support.processes import run_command, stop, wait_for, watching
from tests.support.systems import needs_packages

needs_packages("apprise", reason="alerts are an extra: pip install 'live-restore[alerts]'")


class MailServer(socketserver.StreamRequestHandler):
    """As much of SMTP (RFC 5321) as it takes to hear a message."""

    messages: list[str]

    def handle(self) -> None:
        """Answer one client."""
        self.wfile.write(b"220 here\r\n")
        while line := self.rfile.readline():
            word = line[:4].upper()
            if word == b"DATA":
                self.wfile.write(b"354 go on\r\n")
                text = b""
                while (part := self.rfile.readline()) not in (b".\r\n", b""):
                    text += part
                self.messages.append(text.decode("utf-8", "replace"))
            self.wfile.write(b"221 bye\r\n" if word == b"QUIT" else b"250 fine\r\n")
            if word == b"QUIT":
                return


class Hook(BaseHTTPRequestHandler):
    """Hears what is posted."""

    messages: list[str]

    def do_POST(self) -> None:
        """Take one message."""
        self.messages.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def serving(kind: type[MailServer] | type[Hook]) -> Iterator[tuple[int, list[str]]]:
    """Run a server; give its port, and what it hears."""
    heard: list[str] = []
    handler = type("Handler", (kind,), {"messages": heard})
    server = (
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler)
        if kind is MailServer
        else HTTPServer(("127.0.0.1", 0), handler)
    )
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield server.server_address[1], heard
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def config_of(tmp_path: Path, *lines: str) -> Path:
    config = tmp_path / "config.toml"
    model = write_model(tmp_path / "tanh.onnx", operator="Tanh")
    config.write_text(
        "\n".join(("[alerts]", *lines, "[inference]", 'device = "cpu"',
                   "[[models]]", f'model = "{model.as_posix()}"'))
    )  # fmt: skip
    return config


def broken_files(root: Path, count: int) -> None:
    root.mkdir(exist_ok=True)
    for number in range(count):
        (root / f"broken_{number}.tif").write_bytes(b"no TIFF at all " * 100)


def test_a_mail_and_a_web_hook_arrive(tmp_path: Path) -> None:
    with serving(MailServer) as (mail, mails), serving(Hook) as (hook, posts):
        config = config_of(
            tmp_path,
            f'to = ["mailto://127.0.0.1:{mail}?from=me@example.org&to=you@example.org&mode=insecure",'
            f' "json://127.0.0.1:{hook}/"]',
        )
        done = run_command(tmp_path, "alerts", tmp_path, "--config", config, "--test")
        assert done.returncode == 0, done.stderr
    (message,) = map(email.message_from_string, mails)
    subject = str(email.header.make_header(email.header.decode_header(message["Subject"])))
    assert subject == f"{tmp_path.name}: test message"
    assert done.stdout == "2 test messages sent; look whether they have arrived\n"
    (post,) = map(json.loads, posts)
    assert post["title"] == f"{tmp_path.name}: test message"
    assert post["message"].splitlines() == [
        "You asked live-restore whether its messages reach you. Nothing is wrong.", "",
        f"{tmp_path} on {platform.node()}",
    ]  # fmt: skip


# What JSON writes of a list of texts is TOML, too.
BROKEN_HORN = json.dumps([sys.executable, "-c", "exit('broken horn')"])


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        ("", "set alerts.to or alerts.command"),
        ('to = ["nosuch://secret@example"]', "nosuch://..."),
        ('command = ["/no/such/program"]', "the command of alerts.command failed"),
        (f"command = {BROKEN_HORN}", "broken horn"),
        ('to = ["json://127.0.0.1:1/secret"]', "nobody was reached through alerts.to (json://...)"),
    ],
)  # fmt: skip
def test_who_cannot_be_reached_is_said_in_one_line(tmp_path: Path, lines: str, said: str) -> None:
    config = config_of(tmp_path, lines)
    done = run_command(tmp_path, "alerts", tmp_path, "--config", config, "--test")
    assert done.returncode in (1, 2)
    assert said in done.stderr
    assert done.stderr.strip().count("\n") == 0
    assert "secret" not in done.stderr


def test_thirty_failures_are_one_message_and_a_kill_is_another(tmp_path: Path) -> None:
    root, told = tmp_path / "run", tmp_path / "told"
    broken_files(root, 30)
    program = tmp_path / "tell.py"
    program.write_text(
        "import sys; open(sys.argv[1], 'a').write(repr(sys.argv[2:]) + sys.stdin.read() + '\\n')"
    )
    command = json.dumps([sys.executable, str(program), str(told)])
    config = config_of(tmp_path, f"command = {command}", "disk_free_gb = 0")
    with watching(tmp_path, root, "--plain", "--config", str(config), real=True) as daemon:
        wait_for(lambda: told.exists() and "not restored" in told.read_text(), "the message", 40)
        broken_files(root, 40)
        daemon.kill()
        daemon.wait()
        wait_for(lambda: "does not run any more" in told.read_text(), "the news of its end", 40)
    lines = told.read_text().splitlines()
    assert sum("not restored" in line for line in lines) == 1
    assert sum("does not run" in line for line in lines) == 1


@pytest.mark.slow
def test_a_server_that_answers_nothing_costs_the_daemon_nothing(tmp_path: Path) -> None:
    """It accepts and is silent; the daemon starts, works, and stops as ever, and a log tells."""
    root = tmp_path / "run"
    broken_files(root, 1)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(1)
        port = silent.getsockname()[1]
        config = config_of(tmp_path, f'to = ["json://127.0.0.1:{port}/"]', "disk_free_gb = 0")
        with watching(tmp_path, root, "--plain", "--config", str(config), real=True) as daemon:
            log = log_path(root, journal_path(root, tmp_path), ".alerts.log")
            wait_for(lambda: log.exists() and "nobody was told" in log.read_text(), "its log", 60)
            code, said = stop(daemon)
        assert code == 0, said
    assert "nobody was reached" not in said


def test_the_addresses_are_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from live_restore.settings.load import load_settings

    monkeypatch.setenv("LIVE_RESTORE_ALERTS__TO", '["json://user:password@127.0.0.1/"]')
    settings = load_settings(None, {})
    assert "password" not in str(settings)
    assert "password" not in settings.model_dump_json()
    assert os.environ["LIVE_RESTORE_ALERTS__TO"] not in repr(settings.alerts)
