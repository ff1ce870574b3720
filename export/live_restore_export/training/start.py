"""Weights to start from: a bundled model, any ONNX model of ours, any checkpoint we can read.

Bundled models ship as ONNX only. Their initialisers carry the names of the torch parameters, so
that the network they were exported from can be had back, weight for weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from live_restore.errors import ModelError, SettingsError
from live_restore.inference.load import bundled_models
from live_restore.settings.model import ModelRule
from live_restore_export.checkpoints import load_checkpoint
from live_restore_export.network import RCAN, RCANConfig
from live_restore_export.onnx.export import load_model, read_card
from live_restore_export.onnx.graph import network_of
from live_restore_export.training.config import TrainConfig, check_architecture


@dataclass(frozen=True)
class Start:
    """Weights to start from, what they are called, and the percentiles they were trained with."""

    network: RCAN
    name: str
    percentiles: tuple[float, float] | None = None


def find_start(named: str) -> Start:
    """Return the weights that ``bundled``, a bundled model's name, or a path means.

    Raises
    ------
    ModelError
        Neither a bundled model nor a file, or an ONNX file of somebody else's graph.
    CheckpointError
        A file that is no trained 3D RCAN.
    """
    bundled = bundled_models()
    default = ModelRule.model_fields["model"].default
    path = bundled.get(default if named == "bundled" else named, Path(named))
    if path.suffix == ".onnx":
        model = load_model(path)
        card = read_card(model)
        return Start(network_of(model, card.architecture), card.name, card.percentiles)
    if not path.exists():
        raise ModelError(
            "is neither a bundled model nor a file",
            named,
            f"bundled are: {', '.join(bundled)}",
        )
    # Every run's checkpoint is called final.pt; its folder names the run.
    return Start(load_checkpoint(path).network, f"{path.resolve().parent.name}/{path.name}")


def architecture_for(config: TrainConfig, start: Start | None, path: Path) -> RCANConfig:
    """Return the architecture of a run: that of ``[network]``, or of the weights it starts from.

    Raises
    ------
    SettingsError
        The two contradict each other, or the patches do not suit the network.
    """
    if start is None:
        chosen = config.architecture()
    else:
        chosen = start.network.config
        there = chosen.as_dict()
        for key, given in config.network.items():
            if given != there[key]:
                raise SettingsError(
                    f"network.{key} is {given}, but {start.name} has {there[key]}",
                    path,
                    "leave [network] out: the weights that a run starts from decide",
                )
    try:
        check_architecture(chosen, config.training)
    except SettingsError as error:
        raise SettingsError(error.what, path) from error
    return chosen
