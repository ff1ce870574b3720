"""How good the network is on patches that it never trains on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from live_restore.simulation.quality import psnr
from live_restore_export.training.patches import Patch


def restore_patches(
    model: torch.nn.Module, patches: Sequence[Patch], device: torch.device
) -> list[NDArray[np.float32]]:
    """Return what ``model`` makes of noisy patches, one by one, in float32."""
    restored = []
    for patch in patches:
        image = torch.from_numpy(patch.noisy)[None, None].to(device)
        with torch.inference_mode():
            restored.append(np.asarray(model(image)[0, 0].cpu().numpy()))
    return restored


def ssim(image: NDArray[np.float32], truth: NDArray[np.float32]) -> float:
    """Return the structural similarity of (Z, Y, X) images, plane by plane, in the mean.

    Wang et al., IEEE Trans. Image Process. 13, 600 (2004), with its Gaussian window of 1.5 pixels;
    the range is that of the truth.
    """
    from skimage.metrics import structural_similarity

    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            image,
            truth,
            data_range=float(truth.max() - truth.min()),
            channel_axis=0,  # planes are compared each for itself
            gaussian_weights=True,
            sigma=1.5,
            use_sample_covariance=False,
        )
    )


def score(images: Sequence[NDArray[np.float32]], patches: Sequence[Patch]) -> tuple[float, float]:
    """Return mean PSNR (dB, against the truth's range) and mean SSIM."""
    truths = [patch.truth for patch in patches]
    pairs = list(zip(images, truths, strict=True))
    return float(np.mean([psnr(*p) for p in pairs])), float(np.mean([ssim(*p) for p in pairs]))
