"""A model's plan, run kernel by kernel, gives what ONNX Runtime gives, up to float16's rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from live_restore_export.kernels.package import network_of, package

from live_restore.errors import ModelError
from live_restore.inference.backends.kernels.execution import Execution
from live_restore.inference.backends.kernels.kernel_file import (
    KernelFile,
    kernels_beside,
    read_kernels,
)
from live_restore.inference.backends.kernels.weights import read_initialisers
from live_restore.inference.load import find_model, load_model, model_digest
from tests.export.stated_kernels import Card, state

# Relative to the spread of the result. Cards say 1.1e-3 for float16 with all but the means in it.
ROUNDING = 1.5e-3


def kernels_for(model: Path, folder: Path) -> KernelFile:
    """Write a model's kernels, in numpy, and read them."""
    loaded = load_model(model, "cpu")
    content = model.read_bytes()
    network = network_of(content, loaded.card.architecture)
    path = folder / kernels_beside(model).name
    path.write_bytes(package(loaded.card.name, content, network, "numpy", state))
    return read_kernels(path, model_digest(model))


def restored(model: Path, kernels: KernelFile, stack: Any, card: Card | None = None) -> Any:
    tensors = read_initialisers(model.read_bytes())
    return Execution(card or Card(), kernels, tensors, stack.shape, 2**30).run(stack)


def noisy(shape: tuple[int, int, int]) -> Any:
    rng = np.random.default_rng(3)
    z, y, x = np.meshgrid(*(np.linspace(0, 3, n) for n in shape), indexing="ij")
    smooth = np.sin(2 * y + z) * np.cos(3 * x) / 2 + 0.5
    return (smooth + 0.1 * rng.standard_normal(shape)).astype(np.float32)


@pytest.mark.parametrize("name", ["fast", "standard", "sharpen"])
@pytest.mark.parametrize("shape", [(3, 10, 38), (1, 18, 22)])
def test_a_network_differs_from_onnx_runtime_by_float16(
    name: str, shape: tuple[int, int, int], tmp_path: Path
) -> None:
    model = find_model(name)
    stack = noisy(shape)
    wanted = load_model(model, "cpu").session.run(stack[None, None])[0, 0]
    found = restored(model, kernels_for(model, tmp_path), stack)
    error = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
    assert 1e-6 < error < ROUNDING


UNUSUAL = {
    "one group": {"groups": 1, "blocks": 2, "channels": 8, "residual_scaling": 0.1,
                  "block_skip": "last", "standardise": False},
    "its tail": {"groups": 1, "blocks": 1, "channels": 17, "reduction": 5,
                 "single_group_tail": True},
    "thrice": {"groups": 2, "blocks": 1, "channels": 12, "reduction": 4, "lateral_shuffle": 3},
}  # fmt: skip


@pytest.mark.parametrize("name", UNUSUAL)
def test_an_unusual_network_differs_from_onnx_runtime_by_float16(name: str, tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    from live_restore_export.network import RCAN, RCANConfig
    from live_restore_export.onnx.export import export_network, make_card

    torch.manual_seed(1)
    config = RCANConfig(**UNUSUAL[name])
    path = tmp_path / "unusual.onnx"
    exported = export_network(RCAN(config).eval(), make_card(config, "unusual"))
    path.write_bytes(exported.SerializeToString())
    stack = noisy((2, 9, 21))
    wanted = load_model(path, "cpu").session.run(stack[None, None])[0, 0]
    card = Card()
    found = restored(path, kernels_for(path, tmp_path), stack, card)
    assert float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std()) < ROUNDING
    assert not card.closed, "who opened the card closes it"


def test_five_feature_volumes_are_enough_for_any_depth() -> None:
    from live_restore_export.kernels.plan import plan_of
    from live_restore_export.network import RCANConfig

    for groups, blocks in ((1, 1), (2, 2), (7, 9)):
        plan = plan_of(RCANConfig(groups=groups, blocks=blocks)).plan
        assert sum(each.name.startswith("features") for each in plan.buffers) <= 5


def test_a_model_of_another_program_is_refused() -> None:
    model = find_model("fast")
    architecture = load_model(model, "cpu").card.architecture
    for wrong in ({"groups": 3}, {"channels": 25}, {"in_channels": 2}, {"surprise": 1}):
        with pytest.raises(ModelError, match="cannot be run in kernels"):
            network_of(model.read_bytes(), architecture | wrong)
