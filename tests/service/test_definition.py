"""What Task Scheduler and systemd are told: right for every name that a folder can have."""

from __future__ import annotations

import functools
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_restore.service.definition import (
    Service,
    systemd_unit,
    task_xml,
    without_control_characters,
)
from tests.support.systems import posix

PYTHON = Path("/opt/live restore/python")
TASK = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
ODD = Service(
    Path("/data/ärger & <co> 50% $HOME \\ 'x'"), ("--config", '/data/a "b".toml', "--no-events")
)


@functools.cache
def task_schema() -> Any:
    import xmlschema

    return xmlschema.XMLSchema10(Path(__file__).with_name("task.xsd"))


def test_every_folder_has_its_own_name_that_any_system_takes() -> None:
    folders = ["/a/data", "/b/data", "/a/Daten & Mehr", "/a/ü", "/", "/a/" + "x" * 200]
    names = [Service(Path(folder)).name for folder in folders]
    assert len(set(names)) == len(names)
    for name in names:
        assert name.isascii()
        assert name.replace("-", "").isalnum()
        assert len(name) < 60
    assert names[0].startswith("live-restore-data-")


def wrong_in(task: str) -> list[str]:
    """Return what the schema of Task Scheduler has against a task."""
    # The declaration says UTF-16, as which the text is written.
    found = task_schema().iter_errors(task.partition("\n")[2])
    return [error.reason or "" for error in found]


@pytest.mark.parametrize("system", [False, True])
@pytest.mark.parametrize("service", [ODD, Service(None)])
def test_the_task_is_as_the_schema_wants_it(service: Service, system: bool) -> None:
    assert wrong_in(task_xml(service, PYTHON, "PC\\müller & co", system=system)) == []


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        (r"(?s)(<Enabled>.*?</Enabled>)(.*?)(<Repetition>.*?</Repetition>)", r"\3\2\1", "Enabled"),
        (r"(?s)(<Repetition>.*?</Repetition>)(\s*)(<UserId>.*?</UserId>)", r"\3\2\1", "Repetition"),
        ("IgnoreNew", "Ignore", "Ignore"),
        ("InteractiveToken", "Interactive", "Interactive"),
        ("LeastPrivilege", "Least", "Least"),
        ("PT5M", "PT5S", "PT1M|greater"),
        ("PT0S", "unlimited", "unlimited|duration"),
        ("<Priority>5", "<Priority>11", "less than or equal"),
        ("false", "no", "no"),
        ('version="1.3"', 'version="13"', "13"),
        ('Context="Author"', 'Context="Nobody"', "Nobody"),
        ("Setting", "Seting", "Seting"),
        ("<UserId>.*?</UserId>", "<UserId></UserId>", "length"),
        ("<Command>", "<Command>" + 260 * "x", "length"),
    ],
)  # fmt: skip
def test_the_schema_finds_what_is_wrong(old: str, new: str, why: str) -> None:
    task = task_xml(ODD, PYTHON, "me")
    broken = re.sub(old, new, task)
    assert broken != task
    assert re.search(why, " ".join(wrong_in(broken)))


def test_the_task_has_what_an_unattended_pc_needs() -> None:
    text = task_xml(ODD, PYTHON, "PC\\müller & co")
    task = ElementTree.fromstring(text.partition("\n")[2])
    (principal,) = task.findall(f"{TASK}Principals/{TASK}Principal")
    settings = task.find(f"{TASK}Settings")
    assert settings is not None
    values = {child.tag.removeprefix(TASK): child.text for child in settings}
    assert values["MultipleInstancesPolicy"] == "IgnoreNew", "one instance for a folder"
    assert values["ExecutionTimeLimit"] == "PT0S", "else it is ended after three days"
    assert values["DisallowStartIfOnBatteries"] == values["StopIfGoingOnBatteries"] == "false"
    assert principal.findtext(f"{TASK}RunLevel") == "LeastPrivilege"
    assert principal.findtext(f"{TASK}UserId") == "PC\\müller & co"


def test_the_task_runs_what_was_asked_for() -> None:
    task = ElementTree.fromstring(task_xml(ODD, PYTHON, "me").partition("\n")[2])
    (command,) = [e.text for e in task.iter(f"{TASK}Command")]
    (arguments,) = [e.text for e in task.iter(f"{TASK}Arguments")]
    assert command == str(PYTHON)
    assert arguments == subprocess.list2cmdline(ODD.command(PYTHON)[1:])


def test_the_task_has_no_parameters() -> None:
    """What Task Scheduler replaces in arguments: ``$$`` by ``$``, and ``$(NAME)``."""
    service = Service(Path("/data/$$ and $(Arg0), $one"))
    task = ElementTree.fromstring(task_xml(service, PYTHON, "me").partition("\n")[2])
    (arguments,) = [e.text for e in task.iter(f"{TASK}Arguments")]
    assert arguments is not None
    assert re.sub(r"\$\$|\$\(.*?\)", lambda m: m[0][:-1], arguments) == subprocess.list2cmdline(
        service.command(PYTHON)[1:]
    )
    assert not re.search(r"(?<!\$)\$\(", arguments)


def test_the_task_of_the_system_begins_with_the_computer() -> None:
    text = task_xml(ODD, PYTHON, "PC\\me", system=True).partition("\n")[2]
    task = ElementTree.fromstring(text)
    (trigger,) = task.findall(f"{TASK}Triggers/*")
    assert trigger.tag == f"{TASK}BootTrigger"
    assert trigger.find(f"{TASK}UserId") is None, "the schema has none here"
    (kind,) = [e.text for e in task.iter(f"{TASK}LogonType")]
    assert kind == "S4U", "runs with nobody logged on, and without a stored password"


@posix
def test_a_unit_runs_what_was_asked_for() -> None:
    unit = systemd_unit(ODD, PYTHON)
    (line,) = [e for e in unit.splitlines() if e.startswith("ExecStart=")]
    told = line.removeprefix("ExecStart=").replace("$$", "$").replace("%%", "%")
    assert shlex.split(told) == ODD.command(PYTHON)


@given(st.text(min_size=1, max_size=40))
def test_no_name_adds_a_line_to_a_unit(name: str) -> None:
    service = Service(Path("/data") / name.replace("/", "_"))
    if without_control_characters([str(service.folder)]):
        plain = systemd_unit(Service(Path("/data/a")), PYTHON)
        assert len(systemd_unit(service, PYTHON).splitlines()) == len(plain.splitlines())
        ElementTree.fromstring(
            task_xml(service, PYTHON, "me").partition("\n")[2].encode("utf-8", "replace")
        )


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize("user", ["", "root"])
def test_systemd_finds_nothing_wrong(tmp_path: Path, user: str) -> None:
    unit = tmp_path / f"{ODD.name}.service"
    unit.write_text(systemd_unit(ODD, Path(sys.executable), user), encoding="utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", *([] if user else ["--user"]), str(unit)],
        capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", "XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )  # fmt: skip
    said = [line for line in done.stderr.splitlines() if unit.name in line]
    assert (done.returncode, said) == (0, []), done.stderr
