"""Every torch layout becomes an ONNX model that computes what that port's graph computes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from deferred import deferred
from port_graphs import PORT_GRAPHS, Sizes

from live_restore.errors import CheckpointError

checkpoints = deferred("live_restore_export.checkpoints")
onnx_graph = deferred("live_restore_export.onnx.graph")
onnx_verify = deferred("live_restore_export.onnx.verify")
torch = deferred("torch")

SIZES = [
    Sizes(),
    Sizes(groups=1, blocks=3, channels=6, reduction=3),
    Sizes(groups=3, blocks=1, channels=10, reduction=4, inputs=3, outputs=2, scaling=0.3),
    Sizes(groups=1, blocks=1, inputs=2, outputs=2, scaling=0.1),
]


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("port", PORT_GRAPHS)
def test_a_port_converts_to_what_its_own_graph_computes(
    port: str, sizes: Sizes, tmp_path: Path, rng: np.random.Generator
) -> None:
    graph = PORT_GRAPHS[port]
    state = graph.state(sizes)
    torch.save(state, tmp_path / "net.pth")

    flags = checkpoints.ArchitectureFlags(residual_scaling=sizes.scaling)
    checkpoint = checkpoints.load_checkpoint(tmp_path / "net.pth", flags)

    assert checkpoint.port == port
    config = checkpoint.network.config
    assert (config.groups, config.blocks, config.channels) == (
        sizes.groups,
        sizes.blocks,
        sizes.channels,
    )
    image = rng.normal(0.3, 0.4, (2, sizes.inputs, 5, 7, 6)).astype(np.float32)
    want = graph.run(state, sizes, torch.from_numpy(image).double()).numpy()
    got = onnx_verify.run_session(
        onnx_verify.cpu_session(onnx_graph.build_model(checkpoint.network)), image
    )
    assert np.abs(got - want).max() < 1e-5


def test_sim_denoising_in_the_reference_graph_would_be_wrong(tmp_path: Path) -> None:
    """The reason for the variant: the same weights, the other graph, another image."""
    sizes = Sizes()
    state = PORT_GRAPHS["sim_denoising"].state(sizes)
    torch.save(state, tmp_path / "net.pt")
    network = checkpoints.load_checkpoint(tmp_path / "net.pt").network
    assert network.config.block_skip == "last"
    image = torch.rand(1, 1, 4, 8, 8)
    right = network(image).detach()
    for group in network.groups:
        for block in group.blocks:
            block.with_skip = True
    assert float((network(image).detach() - right).abs().max()) > 1e-2


WRAPPERS: dict[str, Callable[[dict[str, torch.Tensor]], object]] = {
    "bare": lambda s: s,
    "state_dict": lambda s: {"epoch": 7, "state_dict": s},
    "params": lambda s: {"params": s},
    "params_ema before params": lambda s: {
        "params": {k: torch.zeros_like(v) for k, v in s.items()},
        "params_ema": s,
    },
    "model": lambda s: {"model": s, "optimizer": {"state": {}, "param_groups": []}},
    "DataParallel": lambda s: {f"module.{k}": v for k, v in s.items()},
    "DataParallel in state_dict": lambda s: {
        "state_dict": {f"module.{k}": v for k, v in s.items()}
    },
    "Lightning": lambda s: {"state_dict": {f"model.{k}": v for k, v in s.items()}, "loops": {}},
    "twice": lambda s: {"model": {"state_dict": s}},
    "half precision": lambda s: {k: v.half() for k, v in s.items()},
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("port", PORT_GRAPHS)
def test_wrapped_weights_are_found(port: str, wrapper: str, tmp_path: Path) -> None:
    state = PORT_GRAPHS[port].state(Sizes(blocks=1, channels=4))
    path = tmp_path / "net.pth"
    torch.save(WRAPPERS[wrapper](state), path)
    bare = tmp_path / "bare.pth"
    torch.save(state, bare)
    got, want = (checkpoints.load_checkpoint(p).network.state_dict() for p in (path, bare))
    tolerance = 1e-3 if wrapper == "half precision" else 0
    assert all(torch.allclose(got[k], want[k], atol=tolerance, rtol=0) for k in want)


def test_sim_denoising_tells_its_scaling(tmp_path: Path) -> None:
    state = PORT_GRAPHS["sim_denoising"].state(Sizes())
    said = {"num_residual_groups": 2, "residual_scaling": 0.25, "num_hidden_channels": 8}
    torch.save({"state_dict": state, "hyperparameters": said}, tmp_path / "net.pt")
    assert checkpoints.load_checkpoint(tmp_path / "net.pt").network.config.residual_scaling == 0.25


def test_recorded_architecture_has_to_agree(tmp_path: Path) -> None:
    state = PORT_GRAPHS["sim_denoising"].state(Sizes())
    torch.save(
        {"state_dict": state, "hyperparameters": {"num_residual_groups": 5}}, tmp_path / "net.pt"
    )
    with pytest.raises(CheckpointError, match="says groups 5 but its weights have 2"):
        checkpoints.load_checkpoint(tmp_path / "net.pt")


def test_fluoresfm_without_standardisation(tmp_path: Path, rng: np.random.Generator) -> None:
    sizes = Sizes(groups=1, blocks=1)
    graph = PORT_GRAPHS["fluoresfm"]
    state = graph.state(sizes)
    torch.save(state, tmp_path / "net.pt")
    network = checkpoints.load_checkpoint(
        tmp_path / "net.pt", checkpoints.ArchitectureFlags(standardise=False)
    ).network
    image = rng.random((1, 1, 4, 5, 6)).astype(np.float32)
    # Undoing the maps of the described graph from outside leaves the graph without them.
    want = 2 * graph.run(state, sizes, (torch.from_numpy(image).double() + 1) / 2) - 1
    got = onnx_verify.run_session(onnx_verify.cpu_session(onnx_graph.build_model(network)), image)
    assert np.abs(got - want.numpy()).max() < 1e-5


def test_our_own_format_keeps_everything(
    tmp_path: Path, make_network: Callable[..., torch.nn.Module]
) -> None:
    network = make_network(lateral_shuffle=2, residual_scaling=0.5)
    stored = {
        "format": "live-restore-rcan",
        "architecture": network.config.as_dict(),
        "state_dict": network.state_dict(),
        "training": {"seed": 3, "training": {"patch_zyx": [8, 32, 32]}},
    }
    torch.save(stored, tmp_path / "final.pt")
    checkpoint = checkpoints.load_checkpoint(tmp_path / "final.pt")
    assert checkpoint.network.config == network.config
    assert checkpoint.tile_zyx == (8, 32, 32)
    assert checkpoint.training == stored["training"]


def test_bare_weights_of_ours_need_their_folding_said(
    tmp_path: Path, make_network: Callable[..., torch.nn.Module]
) -> None:
    network = make_network(lateral_shuffle=2)
    torch.save(network.state_dict(), tmp_path / "net.pt")
    flags = checkpoints.ArchitectureFlags(lateral_shuffle=2)
    assert checkpoints.load_checkpoint(tmp_path / "net.pt", flags).network.config == network.config


def test_onnx_and_inspect_commands(tmp_path: Path, command: Callable[..., object]) -> None:
    torch.save(
        {"epoch": 12, "state_dict": PORT_GRAPHS["gently-deabe"].state(Sizes())}, tmp_path / "a.pth"
    )
    seen = command("inspect", tmp_path / "a.pth", "--json")
    facts = json.loads(seen.out)
    assert (facts["port"], facts["groups"], facts["epoch"]) == ("gently-deabe", 2, 12)
    assert facts["wrapped_in"] == ["state_dict"]
    path = tmp_path / "a.onnx"
    done = command(
        "onnx", tmp_path / "a.pth", "-o", path, "--voxel-z", "0.2", "0.3", "--voxel-xy", "0.1",
        "--patch", 8, 32, 32, "--channel", "actin",
    )  # fmt: skip
    assert done.code == 0, done.err
    card = json.loads(onnx.load(path).metadata_props[0].value)
    assert card["trained_voxel_um"] == {"z": [0.2, 0.3], "xy": [0.1, 0.1]}
    assert card["trained_patch_zyx"] == [8, 32, 32]
    assert card["channel_meaning"] == ["actin"]
    assert command("verify", path, "--against", tmp_path / "a.pth").code == 0
