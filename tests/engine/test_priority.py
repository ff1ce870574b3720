"""Giving way: seen from outside, in a real process."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import psutil
import pytest

pytestmark = pytest.mark.skipif(not hasattr(psutil.Process, "cpu_affinity"), reason="no affinity")


def after(**settings: Any) -> dict[str, Any]:
    """Return what a process is allowed after it has given way."""
    code = (
        "import json, psutil, sys; from live_restore.engine.priority import give_way; "
        "from live_restore.settings.process import ProcessSettings; "
        "from live_restore.errors import SettingsError; "
        "from live_restore.inference.device.hardware import available_cores\n"
        "before = int(psutil.Process().nice())\n"
        "try: give_way(ProcessSettings(**json.loads(sys.argv[1])))\n"
        "except SettingsError as error: print(json.dumps({'error': str(error)})); sys.exit()\n"
        "p = psutil.Process(); print(json.dumps({'before': before, 'nice': int(p.nice()), "
        "'cores': p.cpu_affinity(), 'available': available_cores()}))"
    )
    command = [sys.executable, "-c", code, json.dumps(settings)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return dict(json.loads(done.stdout))


def test_it_gives_way_unless_told_otherwise() -> None:
    mine = psutil.Process()
    polite = after()
    assert int(polite["nice"]) != 0
    assert polite["cores"] == mine.cpu_affinity()
    normal = after(priority="normal")
    # Not what this process has: Wine starts every child with the normal one.
    assert normal["nice"] == normal["before"]


def test_cores_are_those_that_were_named() -> None:
    allowed = psutil.Process().cpu_affinity()
    assert allowed
    found = after(cores=allowed[-1:])
    assert found["cores"] == allowed[-1:]
    assert found["available"] == 1, "no more threads than cores"


def test_a_core_that_is_not_there_is_said() -> None:
    assert "[4095] are not cores of this computer; it has 0 to" in after(cores=[4095])["error"]
