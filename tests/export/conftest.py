"""Fixtures for the workshop's tests."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing import resource_tracker
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from deferred import deferred
from live_restore_export.cli.main import main

if TYPE_CHECKING:
    from live_restore_export.network import RCAN

rcan = deferred("live_restore_export.network")
torch = deferred("torch")


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiny networks lose time to many threads, most of all beside other work."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # where this test is the first to import torch
    if "torch" in sys.modules:
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def spawning() -> None:
    """Python's own helper of spawned processes lives as long as this process: it is no leak."""
    resource_tracker.ensure_running()


@pytest.fixture
def keras_reference() -> Path:
    """Folder of checkpoints written by the reference program and what it computed from them."""
    shared = os.environ.get("LIVE_RESTORE_SHARED")
    root = Path(shared) if shared else Path(__file__).parents[3] / "shared" / "data"
    folder = root / "keras_rcan"
    if not folder.is_dir():
        pytest.skip(f"no reference checkpoints at {folder} (LIVE_RESTORE_SHARED names another)")
    return folder


@dataclass(frozen=True)
class Outcome:
    """Exit code and streams of a command."""

    code: int
    out: str
    err: str


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Callable[..., Outcome]:
    """Run ``live-restore-export`` in this process."""

    def run(*arguments: object) -> Outcome:
        capsys.readouterr()
        try:
            code = main([str(a) for a in arguments])
        except SystemExit as end:
            code = int(end.code or 0)
        streams = capsys.readouterr()
        return Outcome(code, streams.out, streams.err)

    return run


@pytest.fixture
def make_network() -> Callable[..., RCAN]:
    """Build a network with random weights, every bias too."""

    def make(seed: int = 0, **options: object) -> RCAN:
        config = rcan.RCANConfig(
            **{"groups": 2, "blocks": 2, "channels": 8, "reduction": 2, **options}
        )
        torch.manual_seed(seed)
        network = rcan.RCAN(config)
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3 / max(1, parameter[0].numel()) ** 0.5)
        return network.eval()

    return make


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(7)
