"""A service: one watched folder, and what tells the operating system to start it (pure texts).

::

    Windows   a task of Task Scheduler: at log-on, and again every five minutes if it does not run
    Linux     a unit of systemd, of the user or of the system

Either starts ``live-restore service run DIR``, which starts ``watch`` and restarts it
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
    """One watched folder.

    Parameters
    ----------
    folder
        Absolute.
    options
        Of ``live-restore watch``, such as ``("--config", "/data/config.toml")``.
    """

    folder: Path
    options: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """What the operating system calls it: of the folder, and different for every folder."""
        plain = re.sub(r"[^A-Za-z0-9]+", "-", self.folder.name).strip("-")[:_LONGEST_NAME]
        digest = hashlib.sha256(os.fsencode(os.path.normcase(self.folder))).hexdigest()[:6]
        return "-".join(part for part in (_PREFIX, plain.lower(), digest) if part)

    def command(self, python: Path) -> list[str]:
        """Return what the operating system runs."""
        run = ["-P", "-m", "live_restore", "service", "run", str(self.folder)]
        # Behind the marker all belongs to watch, which may have options of the same names.
        return [str(python), *run, *(["--", *self.options] if self.options else [])]


def task_xml(service: Service, python: Path, user: str) -> str:
    """Return a task of Task Scheduler (schema 1.3) for a user, who need not be administrator.

    It runs in the user's session: GPU and mapped drives are there, and only while the user is
    logged on.
    """
    command, *arguments = service.command(python)
    return f"""<?xml version="1.0" encoding="UTF-16"?>
<Task version="1.3" xmlns="http://schemas.microsoft.com/windows/2004/02/mit/task">
  <RegistrationInfo>
    <Description>{escape(_description(service))}</Description>
  </RegistrationInfo>
  <Triggers>
    <LogonTrigger>
      <Enabled>true</Enabled>
      <Repetition>
        <Interval>PT{_AGAIN_MINUTES}M</Interval>
      </Repetition>
      <UserId>{escape(user)}</UserId>
    </LogonTrigger>
  </Triggers>
  <Principals>
    <Principal id="Author">
      <UserId>{escape(user)}</UserId>
      <LogonType>InteractiveToken</LogonType>
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
      <Arguments>{escape(subprocess.list2cmdline(arguments))}</Arguments>
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
Restart=on-failure
RestartSec={_AGAIN_S}
KillMode=mixed
TimeoutStopSec={_STOP_S}

[Install]
WantedBy={target}
"""


def _description(service: Service) -> str:
    folder = "".join(c if c.isprintable() else "?" for c in str(service.folder))
    return f"live-restore: restores the stacks that arrive in {folder}"


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
