"""What the doctor says of devices."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from live_restore.doctor import checks
from live_restore.doctor.finding import Finding


@dataclass
class _Backend:
    name: str
    lacks: str = ""

    def obstacle(self) -> str:
        return self.lacks

    def version(self) -> str:
        return "runtime 1.0"

    def precisions(self) -> tuple[str, ...]:
        return ("fp32",)


def test_what_two_devices_lack_is_said_once(monkeypatch: pytest.MonkeyPatch) -> None:
    absent = "it is not installed; install it"
    backends = (_Backend("gpu", absent), _Backend("cpu", absent), _Backend("a"), _Backend("b"))
    monkeypatch.setattr(checks, "make_backends", lambda: backends)
    assert list(checks._backends()) == [
        Finding("device gpu, cpu", "note", "it is not installed", "install it"),
        Finding("device a", "good", "runtime 1.0, fp32"),
        Finding("device b", "good", "runtime 1.0, fp32"),
    ]
