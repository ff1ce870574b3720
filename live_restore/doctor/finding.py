"""What the doctor found, and how it asks the system."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from live_restore.errors import LiveRestoreError

Verdict = Literal["good", "note", "bad"]
_ANSWER_S = 10.0


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Parameters
    ----------
    what
        In two or three words.
    verdict
        "note": works, but a person may want to know or change it.
    found
        What there is.
    remedy
        What to do next; empty where nothing is to be done.
    """

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


def tried(what: str, found: str, remedy: str, try_it: Callable[[], None]) -> Finding:
    """Return a finding that is bad where ``try_it`` raises, with its reason and the remedy."""
    try:
        try_it()
    except (OSError, LiveRestoreError) as error:
        return Finding(what, "bad", f"{found}: {error}", remedy)
    return Finding(what, "good", found)


def answer(*command: str) -> str | None:
    """Return what a program of the system prints; ``None`` where it is absent, fails or hangs."""
    try:
        asked = subprocess.run(
            command, capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL,
            timeout=_ANSWER_S, check=True,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return asked.stdout
