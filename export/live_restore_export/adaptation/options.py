"""How a network is adapted."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class AdaptOptions:
    """How a network is adapted.

    Parameters
    ----------
    minutes
        That it may take, as far as this process has a processor; judging comes on top. Half an
        hour: what ``fast`` takes on two cores until it learns no more; of a GPU, some minutes.
    steps
        Most steps.
    learning_rate
        At its largest. 1,200 steps made ``fast`` 1.1 to 3.3 dB better on held-out quarters of
        judge fields (chromatin and spots at 30 and 100 e-, foam at 30), 0.8 dB on a labyrinth, and
        left no more than 3.4 % of pure noise. At 1e-4 as many steps were measured on chromatin at
        30 e- only, and came as far. What goes wrong, the verdict refuses.
    batch, patch_zyx
        Of the optimisation.
    device
        ``"auto"``, ``"cpu"`` or ``"cuda"``.
    seed
        Decides every example.
    """

    minutes: float = 30.0
    steps: int = 4000
    learning_rate: float = 3e-4
    batch: int = 4
    patch_zyx: tuple[int, int, int] = (16, 64, 64)
    device: str = "auto"
    seed: int = 0
