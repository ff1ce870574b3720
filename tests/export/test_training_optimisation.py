"""What a step is made of: losses, rates, precision, and the weights that it starts from."""

from __future__ import annotations

import math

import pytest
from deferred import deferred
from live_restore_export.training.options import TrainingOptions

optimisation = deferred("live_restore_export.training.optimisation")
rcan = deferred("live_restore_export.network")
torch = deferred("torch")


def test_which_steps_are_exact() -> None:
    options = TrainingOptions(precision="float16", float32_share=0.3)
    kinds = [optimisation.precision_of(step, 10, options) for step in range(10)]
    assert kinds == ["float16"] * 7 + ["float32"] * 3


def test_losses() -> None:
    truth = torch.zeros(1, 1, 2, 2, 2)
    restored = truth.clone()
    restored[0, 0, 0, 0, 0] = 0.8
    mae, charbonnier = (
        optimisation.loss_of(restored, truth, truth, TrainingOptions(loss=kind)).item()
        for kind in ("mae", "charbonnier")
    )
    assert mae == pytest.approx(0.1)
    assert charbonnier == pytest.approx((math.hypot(0.8, 1e-3) + 7e-3) / 8)


def test_below_a_share_of_the_noise_errors_count_by_their_square() -> None:
    truth = torch.zeros(1, 1, 4, 4, 4)
    noisy = torch.full_like(truth, 0.5)
    options = TrainingOptions(loss="charbonnier", charbonnier_noise_share=1.0)

    def above_none(error: float) -> float:
        return (
            optimisation.loss_of(truth + error, noisy, truth, options)
        ).item() - optimisation.loss_of(truth, noisy, truth, options).item()

    assert above_none(0.02) / above_none(0.01) == pytest.approx(4.0, rel=0.02)
    assert above_none(80.0) / above_none(40.0) == pytest.approx(2.0, rel=0.05)


def test_light_that_a_region_loses_counts_more_than_light_that_moves() -> None:
    truth = torch.zeros(1, 1, 4, 16, 16)
    noisy = torch.full_like(truth, 0.1)
    lost = torch.full_like(truth, -0.02)
    moved = lost.clone()
    moved[..., ::2] *= -1  # as wrong at every voxel, and no region loses light

    def added(restored: object) -> float:
        with_term, without = (
            optimisation.loss_of(restored, noisy, truth, TrainingOptions(brightness_share=share))
            for share in (1.0, 0.0)
        )
        return float(with_term - without)

    assert added(moved) == pytest.approx(0, abs=1e-6)
    assert added(lost) > 0.01
    assert added(2 * lost) > 1.5 * added(lost)


def test_a_new_network_returns_nearly_what_it_is_given() -> None:
    torch.manual_seed(3)
    for shuffle in (1, 2):
        network = rcan.RCAN(
            rcan.RCANConfig(groups=2, blocks=2, channels=8, lateral_shuffle=shuffle)
        )
        image = torch.rand(1, 1, 6, 16, 16)
        with torch.no_grad():
            before = (network(image) - image).abs().mean()
            rcan.begin_near_identity(network)
            assert (network(image) - image).abs().mean() < min(0.05, before / 5)


def test_noise_balance_lets_bright_patches_count() -> None:
    truth = torch.zeros(2, 1, 2, 2, 2)
    noisy, restored = truth.clone(), truth.clone()
    noisy[0], noisy[1] = 0.2, 0.02
    restored[0], restored[1] = 0.1, 0.01

    def share_of_the_bright_one(balance: float) -> float:
        options = TrainingOptions(noise_balance=balance)
        both = optimisation.loss_of(restored, noisy, truth, options).item()
        bright = optimisation.loss_of(restored[1:], noisy[1:], truth[1:], options).item() / 2
        return bright / both

    assert share_of_the_bright_one(0.0) == pytest.approx(1 / 11, rel=1e-3)
    assert share_of_the_bright_one(1.0) == pytest.approx(1 / 2, rel=1e-3)


def test_the_rate_rises_and_falls() -> None:
    options = TrainingOptions(learning_rate=1.0, warmup_steps=10)
    rates = [optimisation.learning_rate(step, 1000, options) for step in range(1001)]
    assert rates[0] == pytest.approx(0.1, rel=0.01)
    assert max(rates) == pytest.approx(rates[9], rel=1e-9)
    assert rates[500] == pytest.approx(0.505, abs=0.001)
    assert rates[1000] == pytest.approx(0.01)
