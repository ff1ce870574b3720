"""A service: what is watched, and what tells the operating system to start it (pure texts).

::

    Windows   a task of Task Scheduler: at log-on of its user, or when the computer has started;
              and again every five minutes if it does not run
    Linux     a unit of systemd, of the user or of the system

Either starts ``live-restore service run``, which starts ``watch`` and restarts it
(``supervisor.py``).
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

_PREFIX = "live-restore"
_LONGEST_NAME = 30
# For what kills the supervisor itself; a crash of the watch is its business, in seconds.
_AGAIN_MINUTES = 5
_AGAIN_S = 30
# The supervisor waits 40 s for the stack in hand.
_STOP_S = 60


@dataclass(frozen=True)
class Service:
    """One watched folder, or all that the settings name.

    Parameters
    ----------
    folder
        Absolute; ``None``: all that the settings files name in ``[[watch]]``.
    options
        Of ``live-restore watch``, such as ``("--config", "/data/config.toml")``.
    """

    folder: Path | None
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the operating system calls it: of the folder, and different for every folder."""
        if self.folder is None:
            return f"{_PREFIX}-all"
        plain = re.sub(r"[^A-Za-z0-9]+", "-", self.folder.name).strip("-")[:_LONGEST_NAME]
        digest = hashlib.sha256(os.fsencode(os.path.normcase(self.folder))).hexdigest()[:6]
        return "-".join(part for part in (_PREFIX, plain.lower(), digest) if part)

    def command(self, python: Path) -> list[str]:
        """Return what the operating system runs."""
        run = [str(python), "-P", "-m", "live_restore", "service", "run"]
        if self.folder is None:
            return [*run, *self.options]
        # Behind the marker all belongs to watch, which may have options of the same names.
        return [*run, str(self.folder), *(["--", *self.options] if self.options else [])]

    @property
    def what(self) -> str:
        """What is watched, for people."""
        return "the folders of [[watch]]" if self.folder is None else str(self.folder)


def task_xml(service: Service, python: Path, user: str, *, system: bool = False) -> str:
    """Return a task of Task Scheduler (schema 1.3, in section 2.5 of [MS-TSCH]).

    Parameters
    ----------
    service, python
        What it starts.
    user
        Whose rights it has, who need not be administrator. It runs in the session of that user,
        with mapped drives, and only while the user is logged on.
    system
        It runs from the start of the computer on, logged on or not, and without a password that
        would be stored somewhere (S4U): with no access to other computers and no mapped drives.
        Only an administrator may install it.
    """
    command, *arguments = service.command(python)
    # Task Scheduler makes $ of $$, and looks for a parameter in $(...): [MS-TSCH], 2.5.9.1.
    line = re.sub(r"\$(?=[$(])", "$$", subprocess.list2cmdline(arguments))
    trigger = "BootTrigger" if system else "LogonTrigger"
    who = "" if system else f"\n      <UserId>{escape(user)}</UserId>"
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.3" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{escape(_description(service))}</Description>
  </RegistrationInfo>
  <Triggers>
    <{trigger}>
      <Enabled>true</Enabled>
      <Repetition>
        <Interval>PT{_AGAIN_MINUTES}M</Interval>
      </Repetition>{who}
    </{trigger}>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(user)}</UserId>
      <LogonType>{"S4U" if system else "InteractiveToken"}</LogonType>
      <RunLevel>LeastPrivilege</RunLevel>
    </Principal>
  </Principals>
  <Settings>
    <MultipleInstancesPolicy>IgnoreNew</MultipleInstancesPolicy>
    <DisallowStartIfOnBatteries>false</DisallowStartIfOnBatteries>
    <StopIfGoingOnBatteries>false</StopIfGoingOnBatteries>
    <ExecutionTimeLimit>PT0S</ExecutionTimeLimit>
    <Priority>5</Priority>
  </Settings>
  <Actions Context="Author">
    <Exec>
      <Command>{escape(command)}</Command>
      <Arguments>{escape(line)}</Arguments>
    </Exec>
  </Actions>
</Task>
"""


def systemd_unit(service: Service, python: Path, user: str = "") -> str:
    """Return a unit of systemd: the user's, or the system's that runs as ``user``."""
    command = " ".join(map(_quoted, service.command(python)))
    who = f"User={user}\n" if user else ""
    target = "multi-user.target" if user else "default.target"
    return f"""[Unit]
Description={_description(service).replace("%", "%%")}
StartLimitIntervalSec=0

[Service]
Type=exec
{who}ExecStart={command}
SyslogIdentifier={_PREFIX}
Restart=on-failure
RestartSec={_AGAIN_S}
KillMode=mixed
TimeoutStopSec={_STOP_S}

[Install]
WantedBy={target}
"""


def _description(service: Service) -> str:
    what = "".join(c if c.isprintable() else "?" for c in service.what)
    return f"live-restore: restores the stacks that arrive in {what}"


def _quoted(argument: str) -> str:
    """Return an argument as systemd reads it: quoted, without specifiers and variables."""
    escaped = argument.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return '"' + escaped.replace("%", "%%").replace("$", "$$") + '"'


def unquoted(unit: str) -> str:
    """Return a unit with what :func:`systemd_unit` quoted as it was given."""
    plain = unit.replace("$$", "$").replace("%%", "%").replace('\\"', '"')
    return plain.replace("\\\\", "\\")


def without_control_characters(texts: Sequence[str]) -> bool:
    """Return whether texts can stand in a unit and in a task: XML 1.0 has no control characters."""
    return all(text.isprintable() for text in texts)
