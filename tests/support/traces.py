"""Recorded acquisitions, replayed step by step, and what is true at each step."""

from __future__ import annotations

import importlib.util
import json
import random
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from live_restore.formats.acquisition_format import Follower
from live_restore.formats.table import acquisition_format_for, make_acquisition_formats
from live_restore.stack import StackIndex

TRACES = (
    "multipage_full",
    "multipage_noz",
    "multipage_acqengj",
    "multipage_abort",
    "singleplane_full",
    "singleplane_abort",
    "ndtiff_full",
    "ndtiff_noz",
    "pycromanager_ndtiff",
    "pymmcore_zarr",
)
WITHOUT_PLAN = {"pycromanager_ndtiff"}
"""Nothing in these files says how many planes were planned: a stack is named a little later."""


@dataclass(frozen=True)
class TrueStack:
    """One stack of a recorded run."""

    stack_index: StackIndex
    state: str
    step: int | None
    plane_steps: dict[int, int]
    pixels: NDArray[Any] | None
    expected: tuple[int, ...]


class Recording:
    """One trace and its truth."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.replayer_path = folder / "replay.py"
        self.trace_path = folder / f"{name}.jsonl.gz"
        self.trace = _replayer(self.replayer_path).Trace(self.trace_path)
        truth = json.loads((folder / f"{name}.truth.json").read_text())
        self.folder_name: str = truth["folder"]
        self.acquisition: dict[str, Any] = truth["acquisition"]
        with np.load(folder / f"{name}.truth.npz") as pixels:
            self.stacks = {
                stack_index: stack
                for each in truth["stacks"]
                for stack_index, stack in [self._stack(each, pixels)]
            }

    def _stack(self, raw: dict[str, Any], pixels: Any) -> tuple[StackIndex, TrueStack]:
        stack_index = StackIndex(raw["p"], raw["t"], raw["c"])
        key = f"t{raw['t']}_p{raw['p']}_c{raw['c']}"
        steps = dict(zip(raw["z_on_disk"], raw.get("plane_steps", []), strict=True))
        volume = pixels[key] if raw["z_on_disk"] else None
        return stack_index, TrueStack(
            stack_index, raw["state"], raw.get("step"), steps, volume, tuple(raw["z_expected"])
        )

    def __len__(self) -> int:
        return len(self.trace)

    def complete_at(self, step: int) -> set[StackIndex]:
        """Return the stacks that are complete at a step."""
        return {p for p, s in self.stacks.items() if s.step is not None and s.step <= step}

    def present_at(self, step: int) -> dict[StackIndex, tuple[int, ...]]:
        """Return the planes that are on disk at a step."""
        found = {
            stack_index: tuple(sorted(z for z, at in stack.plane_steps.items() if at <= step))
            for stack_index, stack in self.stacks.items()
        }
        return {stack_index: planes for stack_index, planes in found.items() if planes}

    def interesting_steps(self, seed: int, count: int = 30) -> list[int]:
        """Return random steps, every step that completes a stack, its neighbours, and the end."""
        rng = random.Random(f"{self.name} {seed}")
        steps = {rng.randint(0, len(self)) for _ in range(count)} | {len(self)}
        for stack in self.stacks.values():
            if stack.step is not None:
                steps |= {stack.step - 1, stack.step, stack.step + 1}
        return sorted(step for step in steps if 0 <= step <= len(self))

    def replay(self, root: Path, steps: list[int]) -> Iterator[int]:
        """Replay; yield at each of ``steps``, with the files still open as in the writer."""
        wanted = set(steps)
        if 0 in wanted:
            yield 0
        for step, _ in self.trace.steps(root):
            if step in wanted:
                yield step

    def follower(self, root: Path) -> Follower | None:
        """Return a fresh follower, as a daemon that has just been started would make one."""
        folder = root / self.folder_name
        if not folder.is_dir():
            return None
        found = acquisition_format_for(folder, make_acquisition_formats())
        return found.follow(folder) if found else None


_LOADED: dict[Path, ModuleType] = {}


def _replayer(path: Path) -> ModuleType:
    if path not in _LOADED:
        spec = importlib.util.spec_from_file_location("recorded_replay", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        # The folder is read-only: no bytecode beside the replayer.
        sys.dont_write_bytecode, before = True, sys.dont_write_bytecode
        try:
            spec.loader.exec_module(module)
        finally:
            sys.dont_write_bytecode = before
        _LOADED[path] = module
    return _LOADED[path]


def recording(shared_data: Path, name: str) -> Recording:
    """Return a recording; skip the test where there is none."""
    folder = shared_data / "micromanager" / "traces"
    if not (folder / f"{name}.jsonl.gz").is_file():
        pytest.skip(f"no recorded acquisition {name} in {folder}")
    return Recording(folder, name)
