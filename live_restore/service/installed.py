"""Installs services where the operating system looks for them, and asks it about them."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from html import unescape
from pathlib import Path

from live_restore.errors import LiveRestoreError, UsageError
from live_restore.files.publish import publish_text
from live_restore.files.reading import read_regular
from live_restore.files.user_folders import state_folder
from live_restore.journal.database import lock_is_held
from live_restore.service.definition import (
    Service,
    systemd_unit,
    task_xml,
    unquoted,
    without_control_characters,
)
from live_restore.service.supervisor import ask_to_end, is_supervised

_ANSWER_S = 60.0
_MOST_BYTES = 2**16
_SYSTEM_UNITS = Path("/etc/systemd/system")


@dataclass(frozen=True)
class Installed:
    """A service as it was installed.

    Parameters
    ----------
    service
        What is watched, and how.
    journal
        The file of its folder's journal, as its settings were then; ``None``: it has several.
    system
        It runs from the start of the computer on, not from the log-on of a user.
    """

    service: Service
    journal: Path | None
    system: bool = False

    @property
    def running(self) -> bool:
        """Whether a process watches its folder, whoever started that; or keeps all watched."""
        if self.journal is None:
            return is_supervised(self.service)
        return lock_is_held(self.journal)


def install(service: Service, journal: Path | None, *, system: bool = False) -> Installed:
    """Have the operating system start a service, now and whenever it begins.

    Raises
    ------
    UsageError
        The folder's name cannot be given to it.
    LiveRestoreError
        It refused.
    """
    if not without_control_characters([service.what, *service.options]):
        raise UsageError("has a name that no service can have", service.folder, "rename it")
    installed = Installed(service, journal, system)
    if sys.platform == "win32":
        python = Path(sys.executable)
        windowless = python.with_name("pythonw.exe")
        definition = _folder() / f"{service.name}.xml"
        user = f"{os.environ.get('USERDOMAIN', '.')}\\{getpass.getuser()}"
        definition.parent.mkdir(parents=True, exist_ok=True)
        text = task_xml(service, windowless if windowless.exists() else python, user, system=system)
        definition.write_text(text, encoding="utf-16")
        _run("schtasks", "/Create", "/F", "/TN", service.name, "/XML", str(definition))
    else:
        unit = _unit_path(installed)
        # Under sudo, the service is for the person who typed it.
        user = (os.environ.get("SUDO_USER") or getpass.getuser()) if system else ""
        publish_text(unit, systemd_unit(service, Path(sys.executable), user))
        _systemctl(installed, "daemon-reload")
        _systemctl(installed, "enable", unit.name)
    _remember(installed)
    start(installed)
    return installed


def start(installed: Installed) -> None:
    """Start a service now; raises ``LiveRestoreError``."""
    if sys.platform == "win32":
        _run("schtasks", "/Change", "/TN", installed.service.name, "/ENABLE")
        _run("schtasks", "/Run", "/TN", installed.service.name)
    else:
        _systemctl(installed, "start", _unit_path(installed).name)


def stop(installed: Installed) -> None:
    """Stop a service: on Windows until it is started, elsewhere until the system starts it next.

    Raises
    ------
    LiveRestoreError
        The operating system refused.
    """
    if sys.platform == "win32":
        # Else the task would begin again within minutes.
        _run("schtasks", "/Change", "/TN", installed.service.name, "/DISABLE")
        ask_to_end(installed.service)
        with suppress(LiveRestoreError):  # mostly it has ended; and its watch is on a leash
            _run("schtasks", "/End", "/TN", installed.service.name)
    else:
        _systemctl(installed, "stop", _unit_path(installed).name)


def remove(installed: Installed) -> None:
    """Stop a service and forget it; journals, logs and results stay.

    Raises
    ------
    LiveRestoreError
        The operating system refused.
    """
    name = installed.service.name
    if sys.platform == "win32":
        with suppress(LiveRestoreError):  # it may not run
            stop(installed)
        _run("schtasks", "/Delete", "/F", "/TN", name)
    else:
        unit = _unit_path(installed)
        if unit.exists():
            _systemctl(installed, "disable", "--now", unit.name)
            unit.unlink(missing_ok=True)
        _systemctl(installed, "daemon-reload")
    for path in _folder().glob(f"{name}.*"):
        if path.suffix in (".json", ".xml"):
            path.unlink(missing_ok=True)


def all_installed() -> list[Installed]:
    """Return the services that this user installed, by name; unreadable records are left out."""
    found = []
    for path in sorted(_folder().glob("*.json")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            record = json.loads(read_regular(path, _MOST_BYTES))
            folder, journal = record["folder"], record["journal"]
            options = tuple(map(str, record["options"]))
            service = Service(None if folder is None else Path(folder), options)
            at = None if journal is None else Path(journal)
            found.append(Installed(service, at, bool(record["system"])))
    return found


def installed_for(folder: Path | None) -> Installed:
    """Return the service of a folder, or of all; raises ``UsageError`` where there is none."""
    names = {Service(folder).name}
    if folder is not None:  # installed under its real name, which of a mapped drive is the share's
        names.add(Service(Path(os.path.realpath(folder))).name)
    for each in all_installed():
        if each.service.name in names:
            return each
    if folder is None:
        raise UsageError(
            "there is no service of all folders", None,
            "name the folder of one, or install it: live-restore service install",
        )  # fmt: skip
    raise UsageError(
        "has no service", folder, f'install one: live-restore service install "{folder}"'
    )


def runs_from(installed: Installed, folder: Path) -> bool:
    """Return whether what the operating system starts for a service lies in ``folder``."""
    windows = sys.platform == "win32"
    path = _folder() / f"{installed.service.name}.xml" if windows else _unit_path(installed)
    try:
        text = read_regular(path, _MOST_BYTES).decode("utf-16" if windows else "utf-8")
    except (OSError, ValueError):
        return False
    given = unescape(text) if windows else unquoted(text)
    return os.path.normcase(folder / "x")[:-1] in os.path.normcase(given)


def _folder() -> Path:
    return state_folder() / "services"


def _remember(installed: Installed) -> None:
    record = {
        "folder": _text(installed.service.folder),
        "options": installed.service.options,
        "journal": _text(installed.journal),
        "system": installed.system,
    }
    publish_text(_folder() / f"{installed.service.name}.json", json.dumps(record, indent=1))


def _text(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _unit_path(installed: Installed) -> Path:
    name = f"{installed.service.name}.service"
    if installed.system:
        return _SYSTEM_UNITS / name
    config = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config")
    return config / "systemd" / "user" / name


def _systemctl(installed: Installed, *arguments: str) -> None:
    _run("systemctl", *([] if installed.system else ["--user"]), *arguments)


def _run(*command: str) -> None:
    """Run a program of the system; raises ``LiveRestoreError`` with what it said."""
    called = " ".join(command[:3])
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=_ANSWER_S, check=False,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        raise LiveRestoreError(
            f"{called} failed ({error})", None, "start live-restore watch by other means"
        ) from None
    if done.returncode:
        said = (done.stderr or done.stdout).strip() or f"code {done.returncode}"
        raise LiveRestoreError(f"{called} failed ({said})", None, "mend that, then try again")
