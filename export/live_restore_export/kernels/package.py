"""A file of kernels: the plan of a model's network and its programs for every kind of card."""

from __future__ import annotations

import hashlib
import io
import math
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from live_restore.errors import ModelError
from live_restore.inference.backends.kernels.plan import (
    FORMAT,
    MANIFEST,
    Cubin,
    Kind,
    Manifest,
    Program,
)
from live_restore.inference.backends.kernels.weights import (
    UnsuitableWeightsError,
    laid_out,
    read_initialisers,
)
from live_restore_export.kernels.conventions import SCRATCH, THREADS_PER_WARP
from live_restore_export.kernels.plan import (
    ARGUMENTS,
    FORMS,
    NUMBERS,
    Form,
    KernelSource,
    Network,
    plan_of,
)

CARDS = {
    80: "A100",
    86: "RTX 30xx, A4000 to A6000",
    89: "RTX 40xx, L4, L40",
    90: "H100, H200",
    120: "RTX 50xx",
}
"""Compute capabilities (80 is 8.0) that kernels are compiled for, and cards that have them. Not
B200 (10.0), B300 (10.3), GB10 (12.1)."""


@dataclass(frozen=True)
class Built:
    """A kernel for one compute capability.

    Parameters
    ----------
    symbol
        The function's name.
    parameters
        Kinds, as the compiled program has them.
    shared
        Bytes of shared memory per block.
    content
        What a driver loads.
    """

    symbol: str
    parameters: tuple[Kind, ...]
    shared: int
    content: bytes


Compiler = Callable[[KernelSource, int], Built]
"""Compiles a kernel for a compute capability."""


def parameters_of(source: KernelSource) -> tuple[Kind, ...]:
    """Return the kinds of a kernel's parameters, as plans count on them."""
    arguments = ARGUMENTS[source.kernel]
    kinds: list[Kind] = ["i32" if name in NUMBERS else "pointer" for name in arguments]
    kinds += ["pointer"] * len(SCRATCH)
    return tuple(kinds)


def network_of(content: bytes, architecture: dict[str, Any], form: Form = FORMS[0]) -> Network:
    """Return the plan of a model that we exported.

    Parameters
    ----------
    content
        The ONNX file.
    architecture
        As its card has it.

    Raises
    ------
    ModelError
        It is none of ours, or has several image channels.
    """
    from live_restore_export.network import RCANConfig, parameter_shapes  # with PyTorch

    try:
        config = RCANConfig(**architecture)
        network = plan_of(config, form)
        sizes = {name: math.prod(shape) for name, shape in parameter_shapes(config).items()}
        tensors = read_initialisers(content)
        for weight in network.plan.weights:
            laid_out(weight, tensors)
            # What is smaller than the kernels compute for would be filled up with zeros.
            if math.prod(tensors[weight.initialiser].shape) != sizes[weight.initialiser]:
                raise UnsuitableWeightsError(f"{weight.initialiser} is not that of its card")
    except (TypeError, ValueError, UnsuitableWeightsError) as error:
        raise ModelError(f"cannot be run in kernels ({error})") from error
    return network


def package(name: str, content: bytes, network: Network, compiler: str, build: Compiler) -> bytes:
    """Return the file of kernels of a model.

    Parameters
    ----------
    name, content
        The model's name and its ONNX file.
    network
        Its plan.
    compiler
        Name and version of what compiles.
    build
        Compiles.

    Raises
    ------
    ValueError
        A compiled program takes other parameters than the plan gives it.
    """
    programs, cubins = [], {}
    for kernel, source in network.kernels.items():
        variants = {}
        for capability in CARDS:
            built = build(source, capability)
            if built.parameters != parameters_of(source):
                raise ValueError(f"{kernel} takes {built.parameters}: not what was planned")
            file = f"sm_{capability}/{kernel}.cubin"
            cubins[file] = built.content
            digest = hashlib.sha256(built.content).hexdigest()
            variants[str(capability)] = Cubin(file=file, sha256=digest, shared=built.shared)
        programs.append(
            Program(
                name=kernel,
                symbol=source.kernel,
                threads=THREADS_PER_WARP * source.form.warps,
                parameters=parameters_of(source),
                cubins=variants,
            )
        )
        assert built.symbol == source.kernel
    manifest = Manifest(
        format=FORMAT,
        model=name,
        model_sha256=hashlib.sha256(content).hexdigest(),
        compiler=compiler,
        programs=tuple(programs),
        plan=network.plan,
    )
    return _archive({MANIFEST: manifest.model_dump_json().encode(), **cubins})


def _archive(members: dict[str, bytes]) -> bytes:
    """Return an archive, the same whenever it is made."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED) as archive:
        for name, content in members.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return made.getvalue()
