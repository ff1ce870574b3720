"""What each command does, once its arguments are read."""

from __future__ import annotations

import argparse
import copy
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx as onnx_library

from live_restore.errors import (
    InferenceError,
    ModelError,
    SettingsError,
    UsageError,
    one_line,
)
from live_restore.inference.model.card import ModelCard
from live_restore_export.checkpoints import ArchitectureFlags, Checkpoint, load_checkpoint
from live_restore_export.onnx.export import (
    card_name,
    check_card_values,
    embed_card,
    export_network,
    load_model,
    make_card,
    read_card,
    weights_digest,
    write_atomically,
)
from live_restore_export.onnx.graph import has_half_weights, network_of, round_to_half
from live_restore_export.onnx.precision import (
    ERROR_BOUNDS,
    Precision,
    measure,
    precision_errors,
    reduce_precision,
    reduced_tolerance,
)
from live_restore_export.onnx.verify import (
    FP32_TOLERANCE,
    Comparison,
    compare_with_network,
    compare_with_record,
    has_bfloat16,
)
from live_restore_export.quality.report import (
    print_card,
    print_checkpoint,
    print_comparisons,
    print_gain,
)


def architecture_flags(arguments: argparse.Namespace) -> ArchitectureFlags:
    """Return what the person said about the architecture."""
    return ArchitectureFlags(
        **{f.name: getattr(arguments, f.name) for f in fields(ArchitectureFlags)}
    )


def inspect(arguments: argparse.Namespace) -> int:
    """Tell what a checkpoint or one of our models is."""
    if arguments.checkpoint.suffix == ".onnx" and arguments.checkpoint.is_file():
        print_card(read_card(load_model(arguments.checkpoint)), as_json=arguments.json)
        return 0
    checkpoint = load_checkpoint(
        arguments.checkpoint, architecture_flags(arguments), newest=arguments.newest
    )
    print_checkpoint(checkpoint, as_json=arguments.json)
    return 0


def onnx(arguments: argparse.Namespace) -> int:
    """Convert, verify, write."""
    _check_output(arguments.output, ".onnx", arguments.checkpoint)
    if arguments.half_weights and arguments.precision != "fp32":
        raise UsageError(
            f"--half-weights is for float32 models; those of {arguments.precision} have short "
            "weights already",
            remedy="leave one of the two out",
        )
    checkpoint = load_checkpoint(
        arguments.checkpoint, architecture_flags(arguments), newest=arguments.newest
    )
    card = checkpoint_card(checkpoint, arguments)
    return publish(
        checkpoint,
        card,
        arguments.output,
        verify_it=not arguments.no_verify,
        precision=arguments.precision,
        error_bound=arguments.error_bound,
        half_weights=arguments.half_weights,
    )


def publish(
    checkpoint: Checkpoint,
    card: ModelCard,
    path: Path,
    *,
    verify_it: bool,
    precision: Precision = "fp32",
    error_bound: float | None = None,
    half_weights: bool = False,
) -> int:
    """Write the model of a checkpoint if it computes what torch computes; return an exit code."""
    if half_weights:
        checkpoint, card = _rounded(checkpoint, card)
    model = export_network(checkpoint.network, card)
    if verify_it and not half_weights:
        _require(model, checkpoint, path, FP32_TOLERANCE)
    config = checkpoint.network.config
    if precision == "fp32" and verify_it:
        metrics = {**card.metrics, "precision_errors": precision_errors(model, config)}
        card = card.model_copy(update={"metrics": metrics})
        embed_card(model, card)
    if half_weights:
        model = export_network(checkpoint.network, card, half_weights=True)
        if verify_it:
            _require(model, checkpoint, path, FP32_TOLERANCE)
    if precision != "fp32":
        model, card, error = reduce_precision(model, card, config, precision, error_bound)
        embed_card(model, card)
        print(
            f"{precision}: {error.relative_rms:.2g} relative rms from fp32 on {error.stacks} "
            f"stacks (bound {error.bound:g}), largest {error.largest:.2g}"
        )
        if verify_it:
            _require(model, checkpoint, path, reduced_tolerance(error.bound))
    write_atomically(model.SerializeToString(), path)
    print(f"wrote {one_line(path)}")
    for note in checkpoint.notes:
        print(f"note: {note}")
    return 0


def _rounded(checkpoint: Checkpoint, card: ModelCard) -> tuple[Checkpoint, ModelCard]:
    """Return a checkpoint with weights in half precision, and a card that says what that cost.

    Raises
    ------
    ModelError
        More than the bound of float16 (relative rms), or a weight is too large.
    """
    network = copy.deepcopy(checkpoint.network)
    round_to_half(network)
    rounded, exact = (export_network(each, card) for each in (network, checkpoint.network))
    error = measure(rounded, exact, network.config, ERROR_BOUNDS["fp16"])
    said = (
        f"{error.relative_rms:.2g} relative rms from the unrounded weights on {error.stacks} "
        f"stacks (bound {error.bound:g})"
    )
    if not error.accepted:
        raise ModelError(f"--half-weights: {said}", checkpoint.path, "leave it out")
    print(f"weights rounded to half precision: {said}")
    metrics = {**card.metrics, "half_weights_relative_rms": error.relative_rms}
    return replace(checkpoint, network=network), card.model_copy(update={"metrics": metrics})


def _require(
    model: onnx_library.ModelProto, checkpoint: Checkpoint, path: Path, tolerance: float
) -> None:
    rows = compare_with_network(model, checkpoint.network, tolerance)
    where = "torch, each node in its type" if has_bfloat16(model) else "ONNX Runtime, CPU"
    print_comparisons(
        rows, f"{path.name} ({where}) against {checkpoint.path.name} (torch, float64)"
    )
    if not all(row.passed for row in rows):
        raise InferenceError(
            "does not compute what the checkpoint computes; nothing was written", path
        )


def _tolerance(card: ModelCard) -> float:
    """Return what a model may differ by: float32 rounding, or what its card says."""
    if card.precision == "fp32":
        return FP32_TOLERANCE
    said = card.metrics.get("precision_error", {}).get("bound_relative_rms")
    return reduced_tolerance(said if isinstance(said, float) else ERROR_BOUNDS[card.precision])


def verify(arguments: argparse.Namespace) -> int:
    """Compare a model with its own weights in torch, a checkpoint, or a record."""
    model = load_model(arguments.model)
    card = read_card(model)
    if card.weights_sha256 != weights_digest(model):
        raise ModelError("has other weights than its card describes", arguments.model)
    tolerance = _tolerance(card) if arguments.tolerance is None else arguments.tolerance
    rows: list[Comparison] = []
    if arguments.against is not None:
        checkpoint = load_checkpoint(
            arguments.against, architecture_flags(arguments), newest=arguments.newest
        )
        if checkpoint.network.config != network_of(model, card.architecture).config:
            raise UsageError("has another architecture than the model", arguments.against)
        if card.precision == "fp32" and has_half_weights(model):
            round_to_half(checkpoint.network)
        rows += compare_with_network(model, checkpoint.network, tolerance)
        title = f"{arguments.model.name} against {checkpoint.path.name} (torch, float64)"
    elif arguments.io is None:
        rows += compare_with_network(model, network_of(model, card.architecture), tolerance)
        title = f"{arguments.model.name} against its own weights (torch, float64)"
    else:
        title = f"{arguments.model.name} against {arguments.io.name}"
    if arguments.io is not None:
        rows += compare_with_record(model, arguments.io, tolerance)
    print_comparisons(rows, title, as_json=arguments.json)
    return 0 if all(row.passed for row in rows) else 1


def checkpoint_card(checkpoint: Checkpoint, arguments: argparse.Namespace) -> ModelCard:
    """Return the card from the card file, the flags and the checkpoint; flags go first."""
    known: dict[str, Any] = {
        "overlap_zyx": overlap_zyx(checkpoint),
        "training": {
            "container": checkpoint.container,
            "port": checkpoint.port,
            "file": one_line(checkpoint.path.name),
            **({"epoch": checkpoint.epoch} if checkpoint.epoch is not None else {}),
            **({"loss": checkpoint.loss} if checkpoint.loss is not None else {}),
            **dict(checkpoint.training or {}),
        },
    }
    if checkpoint.notes:
        known["training"]["assumed"] = list(checkpoint.notes)
    if checkpoint.tile_zyx is not None:
        known["trained_patch_zyx"] = checkpoint.tile_zyx
    if arguments.card is not None:
        known |= _read_card_file(arguments.card)
    said = {
        "name": arguments.name,
        "description": arguments.description,
        "licence": arguments.licence,
        "percentiles": arguments.percentiles,
        "trained_patch_zyx": arguments.patch,
        "channel_meaning": arguments.channel,
    }
    known |= {key: value for key, value in said.items() if value is not None}
    voxels = {"z": arguments.voxel_z, "xy": arguments.voxel_xy}
    for axis, values in voxels.items():
        if values is not None and len(values) > 2:
            raise UsageError(f"--voxel-{axis} takes one size or a range of two")
    ranges = {axis: (min(v), max(v)) for axis, v in voxels.items() if v is not None}
    if ranges:
        known["trained_voxel_um"] = {**known.get("trained_voxel_um", {}), **ranges}
    name = known.pop("name", card_name(arguments.output.stem))
    return make_card(checkpoint.network.config, name, **known)


def _read_card_file(path: Path) -> dict[str, Any]:
    """Return the card values of a TOML file; raises ``SettingsError``."""
    try:
        said = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"is not a TOML file: {error}", path) from error
    check_card_values(said, path)
    return said


def overlap_zyx(checkpoint: Checkpoint) -> tuple[int, int, int]:
    """Return tile overlaps (voxels): 4, 16, 16, up to whole multiples of the folding."""
    fold = checkpoint.network.config.lateral_shuffle
    lateral = -(-16 // fold) * fold
    return (4, lateral, lateral)


def _check_output(path: Path, ending: str, source: Path) -> None:
    if path.suffix != ending:
        raise UsageError(f"should end in {ending}", path)
    if not path.parent.is_dir():
        raise UsageError("is in a folder that does not exist", path, "create the folder first")
    if path.is_dir():
        raise UsageError("is a folder, not a file", path)
    if path.exists() and source.exists() and path.samefile(source):
        raise UsageError("is also the file to read", path, "give the result another name")


def gain(arguments: argparse.Namespace) -> int:
    """Measure what a model gains over the best Gaussian filter."""
    from live_restore_export.quality.gain import TEST_SEEDS, as_metrics, measure_gain, record_gain

    if not 1 <= arguments.stacks <= len(TEST_SEEDS):
        raise UsageError(f"--stacks must be between 1 and {len(TEST_SEEDS)}")
    seeds = TEST_SEEDS[: arguments.stacks]
    load_model(arguments.model)  # says what is wrong with it before a minute of work
    levels = measure_gain(arguments.model, seeds)
    if arguments.write:
        record_gain(arguments.model, levels, seeds)
    print_gain(levels, as_metrics(levels, seeds), as_json=arguments.json)
    return 0


def limits(arguments: argparse.Namespace) -> int:
    """Measure where a model stops helping."""
    from rich.console import Console
    from rich.progress import track

    from live_restore_export.limits.figure import draw_limits
    from live_restore_export.limits.measure import FULL, QUICK, measure_limits
    from live_restore_export.limits.tables import as_csv, as_json
    from live_restore_export.limits.verdict import envelope_of
    from live_restore_export.quality.gain import TEST_CAMERA, TEST_SEEDS, record_in_card

    if arguments.record and arguments.quick:
        raise UsageError("--record needs the whole measurement: leave out --quick")
    extent = QUICK if arguments.quick else FULL
    if arguments.stacks is not None:
        if arguments.stacks > len(TEST_SEEDS):
            raise UsageError(f"--stacks can be {len(TEST_SEEDS)} at most: there are no more seeds")
        extent = replace(extent, stacks=arguments.stacks)
    card = read_card(load_model(arguments.model))  # says what is wrong with it before the work
    folder = arguments.output or arguments.model.with_name(f"{arguments.model.stem}_limits")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(
            f"cannot be made a folder ({error.strerror})", folder, "choose another with -o"
        ) from error
    console = Console(stderr=True)
    measured = measure_limits(
        arguments.model,
        extent,
        progress=lambda steps, total: track(
            steps, "measuring", total, console=console, disable=not console.is_terminal
        ),
    )
    how = (
        f"{extent.stacks} simulated stacks of {extent.shape_zyx} per point, seeds "
        f"{TEST_SEEDS.start} and up, unseen in training; 30 photo-electrons at the peak, "
        f"background 0.1 of it, read noise {TEST_CAMERA.read_noise_e:g} e- where not varied; "
        "helps: mean PSNR restored >= raw and >= best Gaussian, and no stack worse than raw"
    )
    envelope = envelope_of(measured, how)
    said = as_json(measured, envelope)
    write_atomically(as_csv(measured).encode(), folder / "limits.csv")
    write_atomically(said.encode(), folder / "limits.json")
    write_atomically(draw_limits(measured, envelope, card.name), folder / "limits.png")
    if arguments.record:
        record_in_card(arguments.model, envelope=envelope)
    if arguments.json:
        print(said)
        return 0
    for line in envelope.in_words():
        print(line)
    print(f"wrote limits.csv, limits.json and limits.png to {one_line(folder)}")
    return 0


def bioimageio(arguments: argparse.Namespace) -> int:
    """Pack a model for the BioImage Model Zoo."""
    from live_restore_export.onnx.zoo_package import package

    _check_output(arguments.output, ".zip", arguments.model)
    text = None
    if arguments.documentation is not None:
        try:
            text = arguments.documentation.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError("cannot be read as text", arguments.documentation) from error
    data = package(
        load_model(arguments.model),
        authors=arguments.author or (),
        licence=arguments.licence,
        documentation=text,
    )
    write_atomically(data, arguments.output)
    print(f"wrote {one_line(arguments.output)}")
    return 0
