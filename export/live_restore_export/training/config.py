"""All of a training run in one TOML file, checked before anything is read or written."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from live_restore.errors import SettingsError
from live_restore_export.network import RCANConfig
from live_restore_export.onnx.export import check_card_values, first_mistake
from live_restore_export.simulator.simulate import SimulationConfig
from live_restore_export.training.data import FIRST_VALIDATION_SEED, TrainingData, gather
from live_restore_export.training.options import DataOptions, SimulatedData, TrainingOptions


class TrainConfig(BaseModel):
    """All of a training run: seed, architecture, data, optimisation, simulation, card."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    # Room for the scenes that a run draws after its first, one seed each.
    seed: int = Field(0, ge=0, lt=FIRST_VALIDATION_SEED - 100_000_000)
    network: dict[str, Any] = Field(default_factory=dict)
    data: DataOptions = SimulatedData()
    training: TrainingOptions = TrainingOptions()
    simulation: SimulationConfig = SimulationConfig()
    card: dict[str, Any] = Field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> TrainConfig:
        """Read and check a TOML file.

        Raises
        ------
        SettingsError
            It cannot be read, is no TOML, or has a wrong key or value; the first mistake is named.
        """
        try:
            config = cls.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
            if config.network:
                config.architecture()
        except ValidationError as error:
            raise SettingsError(first_mistake(error), path) from error
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise SettingsError(f"cannot be used: {error}", path) from error
        check_card_values(config.card, path)
        patch, shape = config.training.patch_zyx, config.simulation.shape_zyx
        if isinstance(config.data, SimulatedData) and any(
            p > s for p, s in zip(patch, shape, strict=True)
        ):
            raise SettingsError(
                f"training.patch_zyx {patch} is larger than simulation.shape_zyx {shape}", path
            )
        return config

    def architecture(self) -> RCANConfig:
        """Return the architecture in ``[network]``; raises ``TypeError`` or ``ValueError``."""
        return RCANConfig(**self.network)

    def gather(self, base: Path) -> TrainingData:
        """Find the data of the run; paths in the file count from ``base``, its folder."""
        return gather(self.data, self.training, self.simulation, self.seed, base)

    def record(self) -> dict[str, Any]:
        """Return what a checkpoint and a card keep of it, as JSON values."""
        return self.model_dump(mode="json", exclude={"card"})


def check_architecture(config: RCANConfig, options: TrainingOptions) -> None:
    """Refuse a network that cannot be trained on such patches; raises ``SettingsError``."""
    if (config.in_channels, config.out_channels) != (1, 1):
        raise SettingsError("training is for one image channel in and out")
    if options.patch_zyx[1] % config.lateral_shuffle:
        raise SettingsError(
            f"training.patch_zyx {options.patch_zyx} must be a multiple of "
            f"{config.lateral_shuffle} in Y and X for this network"
        )
