"""Torch files (.pt, .pth, .ckpt): read without running code, unwrapped, renamed."""

from __future__ import annotations

import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from live_restore.errors import CheckpointError
from live_restore_export.checkpoints.base import (
    MAX_FILE_BYTES,
    MAX_PARAMETERS,
    ArchitectureFlags,
    Checkpoint,
    agrees,
    build_network,
    infer_config,
)
from live_restore_export.checkpoints.torch_ports import find_port, rename_state
from live_restore_export.network import RCANConfig

OUR_FORMAT = "live-restore-rcan"

# Where trainers put the weights inside their checkpoint; averaged weights go before raw ones,
# because they are what such a trainer evaluates.
_WRAPPERS = (
    "params_ema",
    "params",
    "state_dict",
    "model_state_dict",
    "model",
    "network",
    "net",
)
_WEIGHT_TYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_PREFIXES = ("module.", "model.", "net.", "_orig_mod.")


def load_torch(path: Path, flags: ArchitectureFlags) -> Checkpoint:
    """Read a torch checkpoint of any port that we know.

    Raises
    ------
    CheckpointError
        Not a torch file, damaged, with code inside, too large, or not a 3D RCAN.
    """
    stored = _read(path)
    if {"optimiser", "average", "step"} <= stored.keys() and "format" not in stored:
        raise CheckpointError(
            "is a training run that has not ended", path, "finish it and use final.pt"
        )
    state, wrapped_in = _unwrap(stored, path)
    state = _without_prefixes(state)
    names = list(state)
    port = find_port(names)
    if port is None:
        raise CheckpointError(
            f"is not a 3D RCAN of a kind that we know (its first weights are called {names[0]})",
            path,
            "docs/how-to/own-models.md lists the known layouts",
        )
    renamed = rename_state(port, names)
    ignored = _unused(port.name, names, renamed)
    unknown = [n for n in names if n not in renamed and n not in ignored]
    if unknown:
        raise CheckpointError(
            f"looks like {port.name} but has {len(unknown)} unknown weights, such as {unknown[0]}",
            path,
        )
    named = {ours: state[theirs] for theirs, ours in renamed.items()}
    if len(named) != len(renamed):
        twice = next(n for n, ours in renamed.items() if named[ours] is not state[n])
        raise CheckpointError(f"has two weights in one place of the network, such as {twice}", path)
    given: dict[str, Any] = dict(port.options)
    recorded = _recorded_architecture(stored, path)
    given |= {
        key: recorded[key]
        for key in ("lateral_shuffle", "block_skip", "standardise", "residual_scaling")
        if key in recorded
    }
    notes = [port.note] if port.note and flags.standardise is None else []
    if "residual_scaling" not in given:
        given["residual_scaling"] = _scaling(flags.residual_scaling)
        if flags.residual_scaling is None:
            notes.append("assumed no residual scaling (--residual-scaling where there was)")
    for key in ("standardise", "lateral_shuffle"):
        value = getattr(flags, key)
        if value is not None and key not in recorded:
            given[key] = value
    config = infer_config(named, path, **given)
    _compare_recorded(recorded, config, path)
    flags.check(config, path)
    training, epoch = _training(stored), stored.get("epoch")
    return Checkpoint(
        network=build_network(named, config, path),
        path=path,
        container="torch file",
        port=port.name,
        wrapped_in=wrapped_in,
        tile_zyx=_patch(training),
        epoch=epoch if type(epoch) is int else None,
        training=training,
        notes=tuple(notes),
    )


def _scaling(factor: float | None) -> float | None:
    return None if factor == 1.0 else factor


def _read(path: Path) -> dict[str, Any]:
    """Return the dictionary in a torch file, tensors on the CPU, nothing executed."""
    if path.stat().st_size > MAX_FILE_BYTES:
        raise CheckpointError(f"is larger than {MAX_FILE_BYTES >> 20} MiB", path)
    try:
        is_zip = zipfile.is_zipfile(path)
        if is_zip:
            _check_zip(path)
        # Old pickles make torch warn about their own storage classes; nothing for the reader.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            stored = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except pickle.UnpicklingError as error:
        found = re.search(r"GLOBAL (\S+)", str(error))
        if found:
            raise CheckpointError(
                f"contains pickled code or objects ({found[1]}), which are never run here",
                path,
                "save only model.state_dict() where it was trained",
            ) from error
        what = (
            "not a torch file, or damaged"
            if is_zip
            else ("damaged, or a bare pickle, which is never run here")
        )
        raise CheckpointError(f"is {what}", path) from error
    except Exception as error:  # a damaged file makes its reader raise anything
        raise CheckpointError("is not a torch file, or damaged", path) from error
    if not isinstance(stored, dict):
        raise CheckpointError(f"holds a {type(stored).__name__}, not a dictionary of weights", path)
    return stored


def _check_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    if sum(entry.file_size for entry in entries) > MAX_FILE_BYTES:
        raise CheckpointError(f"unpacks to more than {MAX_FILE_BYTES >> 20} MiB", path)
    if any(Path(entry.filename).parts[1:2] == ("code",) for entry in entries):
        raise CheckpointError(
            "is a TorchScript program, which would have to be run",
            path,
            "save model.state_dict() instead",
        )


def _tensors(value: Any) -> dict[str, Tensor] | None:
    """Return ``value`` if it is a non-empty state dictionary (numbers beside tensors allowed)."""
    if not isinstance(value, Mapping):
        return None
    tensors = {k: v for k, v in value.items() if isinstance(k, str) and isinstance(v, Tensor)}
    convolutions = [k for k, v in tensors.items() if k.endswith(".weight") and v.ndim >= 3]
    return tensors if convolutions else None


def _is_plain(tensor: Tensor) -> bool:
    return (
        tensor.dtype in _WEIGHT_TYPES
        and tensor.layout == torch.strided
        and tensor.device.type == "cpu"
    )


def _unwrap(stored: dict[str, Any], path: Path) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Find the state dictionary, bare or behind known keys."""
    level: Any = stored
    wrapped: tuple[str, ...] = ()
    for _ in range(3):
        tensors = _tensors(level)
        if tensors is not None:
            numel = sum(t.numel() for t in tensors.values())
            if numel > MAX_PARAMETERS:
                raise CheckpointError(
                    f"claims {numel:,} weights, more than {MAX_PARAMETERS:,}", path
                )
            strange = next((k for k, t in tensors.items() if not _is_plain(t)), None)
            if strange is not None:
                raise CheckpointError(
                    f"has a weight {strange} that is not a plain floating-point tensor",
                    path,
                    "save it unquantised and dense",
                )
            return {k: t.detach() for k, t in tensors.items()}, wrapped
        key = next((k for k in _WRAPPERS if isinstance(level.get(k), Mapping)), None)
        if key is None:
            break
        level, wrapped = level[key], (*wrapped, key)
    raise CheckpointError("holds no weights of a convolutional network", path)


def _without_prefixes(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Strip what DataParallel, Lightning and torch.compile put before every name."""
    stripped = True
    while stripped:
        stripped = False
        for prefix in _PREFIXES:
            if all(name.startswith(prefix) for name in state):
                state = {name[len(prefix) :]: value for name, value in state.items()}
                stripped = True
    return state


def _unused(port: str, names: list[str], renamed: dict[str, str]) -> set[str]:
    """Names that the port stores but its graph never uses."""
    if port == "sim_denoising":
        return {n for n in names if n.startswith("conv_list.0.") and n not in renamed}
    return set()


def _recorded_architecture(stored: dict[str, Any], path: Path) -> dict[str, Any]:
    """What the file records of its architecture, in our words."""
    if _is_ours(stored) and isinstance(stored.get("architecture"), dict):
        known = {field.name for field in fields(RCANConfig)}
        recorded = {k: v for k, v in stored["architecture"].items() if k in known}
        try:
            RCANConfig(**recorded)
        except ValueError as error:
            raise CheckpointError(f"records an impossible architecture: {error}", path) from error
        return recorded
    options = stored.get("hyperparameters")
    if not isinstance(options, dict):
        return {}
    words = {
        "num_residual_groups": "groups",
        "num_residual_blocks": "blocks",
        "num_hidden_channels": "channels",
        "channel_reduction": "reduction",
        "residual_scaling": "residual_scaling",
    }
    recorded = {
        ours: options[theirs]
        for theirs, ours in words.items()
        if isinstance(options.get(theirs), (int, float)) and not isinstance(options[theirs], bool)
    }
    if "residual_scaling" in recorded:
        recorded["residual_scaling"] = _scaling(float(recorded["residual_scaling"]))
    return recorded


def _compare_recorded(recorded: dict[str, Any], config: RCANConfig, path: Path) -> None:
    for key, value in recorded.items():
        if not agrees(key, value, config):
            raise CheckpointError(
                f"says {key.replace('_', ' ')} {value} but its weights have {getattr(config, key)}",
                path,
            )


def _is_ours(stored: dict[str, Any]) -> bool:
    name = stored.get("format")
    return isinstance(name, str) and name == OUR_FORMAT


def _training(stored: dict[str, Any]) -> dict[str, Any] | None:
    """Return what our own training recorded about itself, if it is small and plain."""
    training = stored.get("training") if _is_ours(stored) else None
    return training if isinstance(training, dict) and _is_small_json(training) else None


def _is_small_json(value: Any, budget: int = 10_000) -> bool:
    """Return whether ``value`` is plain JSON of limited size.

    A pickle can hold one list a billion times, or inside itself: entries are counted as visited.
    """
    pending = [value]
    while pending:
        entry = pending.pop()
        budget -= len(entry) if isinstance(entry, (str, dict, list, tuple)) else 1
        if budget < 0:
            return False
        if isinstance(entry, dict):
            pending += [*entry, *entry.values()]
        elif isinstance(entry, (list, tuple)):
            pending += entry
        elif not isinstance(entry, (str, int, float, bool, type(None))):
            return False
    return True


def _patch(training: Any) -> tuple[int, int, int] | None:
    """Return the patch shape that our own training recorded."""
    options = training.get("training") if isinstance(training, dict) else None
    patch = options.get("patch_zyx") if isinstance(options, dict) else None
    if isinstance(patch, (list, tuple)) and len(patch) == 3:
        z, y, x = patch
        if all(type(size) is int and size > 0 for size in patch):
            return (z, y, x)
    return None
