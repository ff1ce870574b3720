"""What every kind of checkpoint becomes, and how a network is put together from named arrays."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from live_restore.errors import CheckpointError
from live_restore_export.network import RCAN, RCANConfig, parameter_shapes

# The largest 3D RCAN in the literature has 1.6 million parameters; a hundred million is 400 MB.
MAX_PARAMETERS = 100_000_000
MAX_FILE_BYTES = 2 << 30


@dataclass(frozen=True)
class ArchitectureFlags:
    """What a person gives about the architecture; ``None`` where nothing is given.

    Whatever a file records itself is compared with it, and a contradiction is refused.
    """

    groups: int | None = None
    blocks: int | None = None
    channels: int | None = None
    reduction: int | None = None
    in_channels: int | None = None
    out_channels: int | None = None
    residual_scaling: float | None = None
    standardise: bool | None = None
    lateral_shuffle: int | None = None

    def check(self, config: RCANConfig, path: Path) -> None:
        """Raise ``CheckpointError`` where ``config`` is not what was given."""
        for field in fields(self):
            given, found = getattr(self, field.name), getattr(config, field.name)
            if given is None or agrees(field.name, given, config):
                continue
            raise CheckpointError(
                f"{field.name.replace('_', ' ')} is {found} in the file, not {given} as given",
                path,
                f"leave out --{field.name.replace('_', '-')} or check the file",
            )


NOTHING_SAID = ArchitectureFlags()


def agrees(option: str, given: Any, config: RCANConfig) -> bool:
    """Return whether an architecture option can be what a person or a file gives."""
    found = getattr(config, option)
    if option == "reduction":
        # Several reductions leave the same number of channels; no shape shows which it was.
        return bool(given > 0 and config.channels // given == config.channels // found)
    if option == "residual_scaling":
        # None and 1 are the same graph; some writers round to float32.
        return math.isclose(
            1.0 if given is None else given, 1.0 if found is None else found, rel_tol=1e-6
        )
    return bool(given == found)


@dataclass(frozen=True)
class Checkpoint:
    """A trained network and everything its file records of it.

    Parameters
    ----------
    network
        Float32, evaluation mode.
    path
        The file that was read (the chosen one, where a folder was given).
    container
        How the arrays are stored, for people.
    port
        Whose code wrote it, for people.
    wrapped_in
        Keys around the weights, outermost first.
    tile_zyx
        Shape of the patches that it was trained on, where the file records it.
    epoch, loss
        Where the file or its name gives it.
    training
        JSON values about the training, where the file records it.
    notes
        What was assumed and cannot be seen in the file.
    """

    network: RCAN
    path: Path
    container: str
    port: str
    wrapped_in: tuple[str, ...] = ()
    tile_zyx: tuple[int, int, int] | None = None
    epoch: int | None = None
    loss: float | None = None
    training: Mapping[str, Any] | None = None
    notes: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """Number of trained numbers."""
        return sum(p.numel() for p in self.network.parameters())

    def with_name_facts(self) -> Checkpoint:
        """Return it with epoch and loss from a name such as ``weights_012_0.0331.hdf5``."""
        epoch, loss = epoch_and_loss(self.path.name)
        return replace(
            self,
            epoch=epoch if self.epoch is None else self.epoch,
            loss=loss if self.loss is None else self.loss,
        )


def epoch_and_loss(file_name: str) -> tuple[int | None, float | None]:
    """Return epoch and loss from ``weights_{epoch}_{loss}.hdf5``, else ``(None, None)``.

    Examples
    --------
    >>> epoch_and_loss("weights_012_0.03311074.hdf5")
    (12, 0.03311074)
    """
    match = re.fullmatch(
        r"weights_(\d+)_(-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\.(?:hdf5|h5)", file_name, re.IGNORECASE
    )
    return (int(match[1]), float(match[2])) if match else (None, None)


def reduction_of(channels: int, squeezed: int) -> int:
    """Return r such that ``channels // r == squeezed``; raises ``ValueError`` if there is none."""
    if not 1 <= squeezed <= channels or channels // (channels // squeezed) != squeezed:
        raise ValueError(f"{squeezed} attention channels are no whole part of {channels}")
    return channels // squeezed


def infer_config(state: Mapping[str, Tensor], path: Path, **given: Any) -> RCANConfig:
    """Return the architecture that names (ours) and shapes of ``state`` imply.

    Parameters
    ----------
    given
        Options that no shape shows: residual scaling, block skip, standardisation.
    """

    def shape(name: str) -> tuple[int, ...]:
        if name not in state:
            raise CheckpointError(f"has no weights for {name.removesuffix('.weight')!r}", path)
        return tuple(state[name].shape)

    indices = {
        (int(m[1]), int(m[2]))
        for m in (re.match(r"groups\.(\d+)\.blocks\.(\d+)\.", name) for name in state)
        if m
    }
    if not indices:
        raise CheckpointError("has no residual blocks: not a 3D RCAN", path)
    groups, blocks = (1 + max(i[axis] for i in indices) for axis in (0, 1))
    if len(indices) != groups * blocks:
        raise CheckpointError(
            f"has {len(indices)} residual blocks, numbered up to {groups} groups of {blocks}", path
        )
    head, tail = shape("head.weight"), shape("tail.weight")
    if len(head) != 5 or len(tail) != 5:
        raise CheckpointError(
            f"has {len(head) - 2}-D convolutions: a 2-D network, not a 3D RCAN", path
        )
    squeezed = shape("groups.0.blocks.0.attention.squeeze.weight")[0]
    fold = given.get("lateral_shuffle", 1) ** 2
    try:
        return RCANConfig(
            groups=groups,
            blocks=blocks,
            channels=head[0],
            reduction=reduction_of(head[0], squeezed),
            in_channels=head[1] // fold,
            out_channels=tail[0] // fold,
            single_group_tail=groups == 1 and "groups.0.tail.weight" in state,
            **given,
        )
    except ValueError as error:
        raise CheckpointError(f"has impossible shapes: {error}", path) from error


def build_network(state: Mapping[str, Tensor], config: RCANConfig, path: Path) -> RCAN:
    """Return the float32 network of ``config`` with exactly the weights of ``state`` (our names).

    Raises
    ------
    CheckpointError
        A weight is missing, left over, of another shape, or not finite.
    """
    expected = parameter_shapes(config)  # before any memory: a file may claim anything
    for name, wanted in expected.items():
        if name not in state:
            raise CheckpointError(f"has no {name}, which a network of this size needs", path)
        if tuple(state[name].shape) != wanted:
            raise CheckpointError(
                f"{name} has the shape {tuple(state[name].shape)}, not {wanted}",
                path,
                "is it another network?",
            )
    left_over = sorted(state.keys() - expected.keys())
    if left_over:
        raise CheckpointError(
            f"has {len(left_over)} weights that a 3D RCAN does not have, such as {left_over[0]}",
            path,
        )
    state = {name: value.float() for name, value in state.items()}
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(
                f"has NaN or infinite weights in {name}", path, "use an earlier checkpoint"
            )
    network = RCAN(config)
    network.load_state_dict(state)
    return network.eval()
