"""How people are told: through apprise, or by a command; raises where nobody was reached."""

from __future__ import annotations

import os
import platform
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from live_restore.errors import LiveRestoreError, UsageError, one_line
from live_restore.settings.alerts import AlertSettings

_LAST_BYTES, _LAST_S = 4096, 1.0
_COMMAND_S = 60.0
_LONGEST_TITLE = 200
_LONGEST_TEXT = 2000


class Sender(Protocol):
    """Tells somebody."""

    def send(self, title: str, text: str) -> None:
        """Tell it; raises ``LiveRestoreError`` where that failed."""
        ...


class AppriseSender:
    """One address of apprise.

    Raises
    ------
    UsageError
        It is no address.
    """

    def __init__(self, address: str) -> None:
        import apprise

        asset = apprise.AppriseAsset(app_id="live-restore", app_desc="live-restore")
        service = apprise.Apprise.instantiate(address, asset=asset)
        if service is None:
            scheme = one_line(address.partition("://")[0])[:30]
            raise UsageError(
                f"alerts.to has an address that apprise does not know ({scheme}://...)", None,
                "see the list of services in apprise's documentation",
            )  # fmt: skip
        # Of an address any part may be a secret, as in web hooks; the kind of service is none.
        self._name = one_line(address.partition("://")[0])[:30]
        self._apprise = apprise.Apprise(asset=asset)
        self._apprise.add(service)

    def send(self, title: str, text: str) -> None:
        """Send one message; see ``Sender``."""
        if not self._apprise.notify(body=text, title=title, body_format="text"):
            raise LiveRestoreError(
                f"nobody was reached through alerts.to ({self._name}://...)", None,
                "check that address, and try it with live-restore alerts DIR --test",
            )  # fmt: skip


class _LastWords:
    """Listens to what a program complains of, and keeps the end: it may complain without end."""

    def __init__(self) -> None:
        reading, self.writing = os.pipe()
        self._last = b""
        self._thread = threading.Thread(target=self._listen, args=(reading,), daemon=True)
        self._thread.start()

    def _listen(self, reading: int) -> None:
        while heard := os.read(reading, 65536):
            self._last = (self._last + heard)[-_LAST_BYTES:]
        os.close(reading)

    def heard(self) -> str:
        """Return its last words, in one line; call once, when it has ended."""
        os.close(self.writing)
        self._thread.join(_LAST_S)  # a child that it left behind may still hold the pipe
        return one_line(self._last.decode("utf-8", "replace").strip()[-200:])


class CommandSender:
    """A program of the person's own, started without a shell."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = tuple(command)

    def send(self, title: str, text: str) -> None:
        """Run it; see ``Sender``."""
        last_words = _LastWords()
        try:
            done = subprocess.run(
                [*self._command, title],
                input=text.encode("utf-8", "replace"),
                stdout=subprocess.DEVNULL,
                stderr=last_words.writing,
                timeout=_COMMAND_S,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise self._failed(f"it did not end within {_COMMAND_S:g} s") from error
        except OSError as error:
            raise self._failed(one_line(error.strerror or error)) from error
        finally:
            said = last_words.heard()
        if done.returncode:
            raise self._failed(f"exit code {done.returncode}: {said}")

    def _failed(self, why: str) -> LiveRestoreError:
        return LiveRestoreError(
            f"the command of alerts.command failed ({why})", self._command[0],
            "try it with live-restore alerts DIR --test",
        )  # fmt: skip


def senders_of(settings: AlertSettings) -> list[Sender]:
    """Return who is told; raises ``UsageError`` for an address that is none."""
    senders: list[Sender] = [AppriseSender(each.get_secret_value()) for each in settings.to]
    if settings.command is not None:
        senders.append(CommandSender(settings.command))
    return senders


def send_to(sender: Sender, root: Path, title: str, text: str) -> None:
    """Tell somebody about the run in ``root``; raises ``LiveRestoreError``.

    Of bounded length, and on lines of its own: names from files are in it. Whoever has ten of them
    is told of which computer it is.
    """
    lines = [one_line(line) for line in text.splitlines()]
    told = "\n".join(lines)[:_LONGEST_TEXT]
    where = one_line(f"{root} on {platform.node()}")
    sender.send(one_line(f"{root.name}: {title}")[:_LONGEST_TITLE], f"{told}\n\n{where}")
