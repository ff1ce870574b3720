"""Everything that a run has to remember to go on as if it had never been stopped."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from live_restore.errors import CheckpointError, UsageError
from live_restore.files.publish import publishing
from live_restore_export.network import RCAN, RCANConfig, begin_near_identity
from live_restore_export.training.config import TrainConfig
from live_restore_export.training.optimisation import make_optimiser
from live_restore_export.training.options import TrainingOptions
from live_restore_export.training.progress import Record

LAST, FINAL, LOG = "last.pt", "final.pt", "log.jsonl"

# What a person may change before going on: none of it decides what the next batch is, and only the
# time that there is, at what rate it is learnt from.
_FREE = {"checkpoint_every", "patience", "processes", "device", "max_minutes"}


@dataclass
class RunState:
    """Weights, their running average, optimiser, scaler, and how far the run is.

    ``total`` is the number of steps that the schedule ends at; ``seconds`` the time spent so far,
    as a ``WorkClock`` counts it.
    """

    model: RCAN
    average: RCAN
    optimiser: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    started_from: str = ""
    step: int = 0
    seconds: float = 0.0
    total: int = 0
    history: list[Record] = field(default_factory=list)
    best: dict[str, torch.Tensor] | None = None

    @classmethod
    def new(
        cls,
        config: TrainConfig,
        architecture: RCANConfig,
        device: torch.device,
        weights: RCAN | None = None,
        started_from: str = "",
    ) -> RunState:
        """Return the state before the first step."""
        options = config.training
        torch.manual_seed(config.seed)
        model = RCAN(architecture)
        if weights is None:
            begin_near_identity(model)
        else:
            model.load_state_dict(weights.state_dict())
        model.to(device=device, memory_format=torch.channels_last_3d)  # type: ignore[call-overload]
        return cls(
            model,
            copy.deepcopy(model),
            make_optimiser(model, options),
            torch.amp.GradScaler(device.type, enabled=options.precision == "float16"),
            started_from,
            total=options.steps,
        )

    def affordable_steps(self, options: TrainingOptions) -> int:
        """Return the steps that fit: the schedule bends smoothly to the time that there is."""
        if options.max_minutes is None or not self.seconds:
            return options.steps
        left_s = max(0.0, options.max_minutes * 60 - self.seconds)
        return min(options.steps, int(self.step + self.step / self.seconds * left_s))

    def save(self, path: Path, config: TrainConfig) -> None:
        """Write such that ``path`` is the old or the new file, never a part of one."""
        save_atomically(
            {
                "config": config.record(),
                "architecture": self.model.config.as_dict(),
                "started_from": self.started_from,
                "model": self.model.state_dict(),
                "average": self.average.state_dict(),
                "best": self.best,
                "optimiser": self.optimiser.state_dict(),
                "scaler": self.scaler.state_dict(),
                "step": self.step,
                "seconds": self.seconds,
                "total": self.total,
                "history": [record.as_dict() for record in self.history],
            },
            path,
        )

    @classmethod
    def read(cls, path: Path, config: TrainConfig, device: torch.device) -> RunState:
        """Return the state that was saved.

        Raises
        ------
        CheckpointError
            The file is damaged.
        UsageError
            It is of a run with another configuration.
        """
        try:
            saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
            changed = _changed(_with_defaults(saved["config"]), config.record())
            if changed is None:
                state = cls.new(config, RCANConfig(**saved["architecture"]), device)
                state.model.load_state_dict(saved["model"])
                state.average.load_state_dict(saved["average"])
                state.optimiser.load_state_dict(saved["optimiser"])
                state.scaler.load_state_dict(saved["scaler"])
                state.step, state.seconds = saved["step"], saved["seconds"]
                state.total, state.best = saved["total"], saved["best"]
                state.started_from = saved["started_from"]
                state.history = [Record(**record) for record in saved["history"]]
                minutes = config.training.max_minutes
                if saved["config"]["training"].get("max_minutes") != minutes:
                    state.total = state.affordable_steps(config.training)
                return state
        except Exception as error:  # a damaged pickle makes its reader raise anything
            raise CheckpointError(
                "is damaged, so that the run cannot go on from it",
                path,
                "start again in another folder",
            ) from error
        raise UsageError(
            f"is of a run with another configuration ({changed})",
            path,
            "go on with the configuration of its start, or start anew with -o and --init",
        )


def _with_defaults(before: dict[str, Any]) -> dict[str, Any]:
    """Return a record in which options that are younger than it have their defaults."""
    try:
        return TrainConfig.model_validate(before).record()
    except ValidationError:  # an option that is no more; compared as it stands
        return before


def _changed(before: dict[str, Any], now: dict[str, Any]) -> str | None:
    """Return the first setting in which two configurations differ, for people."""
    for section in now.keys() | before.keys():
        old, new = before.get(section), now.get(section)
        if isinstance(old, dict) and isinstance(new, dict):
            for key in sorted(new.keys() | old.keys()):
                if old.get(key) != new.get(key) and not (section == "training" and key in _FREE):
                    return f"{section}.{key} was {old.get(key)} and is {new.get(key)}"
        elif old != new:
            return f"{section} was {old} and is {new}"
    return None


def save_atomically(state: dict[str, Any], path: Path) -> None:
    """Write a torch file such that ``path`` is the old or the new file, never a part of one."""
    with publishing(path) as temporary:
        torch.save(state, temporary)
