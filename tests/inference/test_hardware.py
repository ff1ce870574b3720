"""What this computer has, by its own tools."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from live_restore.inference.device import hardware


@pytest.mark.skipif(os.name == "nt", reason="a script takes the place of nvidia-smi")
def test_a_driver_that_did_not_answer_once_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool = tmp_path / "nvidia-smi"
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    hardware._named_card.cache_clear()
    for script, card in (
        ("exit 9", "NVIDIA GPU 0"),
        ("echo RTX 3060, 550.1", "RTX 3060, driver 550.1"),
        ("exit 9", "RTX 3060, driver 550.1"),
    ):
        tool.write_text(f"#!/bin/sh\n{script}\n")
        tool.chmod(0o755)
        assert hardware.nvidia_card(0) == card
    hardware._named_card.cache_clear()
