"""How good is it, beside the squared error? Structural similarity and resolution."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from skimage.metrics import structural_similarity

Image = NDArray[np.generic]

# Of an image against its truth: the same as 1/7 between two independent images, since the two are
# tied by C_ref = sqrt(2 FSC / (1 + FSC)) (Rosenthal and Henderson, J. Mol. Biol. 333, 721 (2003)).
_CORRELATION = 0.5
_WINDOW_VOXELS = 7


def ssim(image: Image, truth: Image) -> float:
    """Return the mean structural similarity, at most 1, of two (Z, Y, X) stacks of one unit.

    Wang et al., IEEE Trans. Image Process. 13, 600 (2004), in cubes of 7 voxels, since stacks can
    be too thin for the Gaussian windows of 11; the range is that of the truth. Every axis must
    have at least 7 voxels.
    """
    reference = np.asarray(truth, np.float32)
    return float(
        structural_similarity(  # type: ignore[no-untyped-call]
            np.asarray(image, np.float32),
            reference,
            data_range=float(np.ptp(reference)),
            win_size=_WINDOW_VOXELS,
        )
    )


def lateral_resolution_um(image: Image, truth: Image, pixel_um: float) -> float:
    """Return the finest lateral period (um) that an image still shares with its truth.

    Fourier ring correlation of the planes, all planes in one sum per ring, against the truth; the
    period at which it first falls below 0.5, between rings by a straight line. No finer than two
    pixels, no coarser than the field.

    Parameters
    ----------
    image, truth
        (Z, Y, X), same unit.
    pixel_um
        Lateral pixel size (um).
    """
    height, width = truth.shape[1:]
    window = np.hanning(height + 2)[1:-1, np.newaxis] * np.hanning(width + 2)[1:-1]
    spectra = []
    for stack in (image, truth):
        planes = np.asarray(stack, np.float64)
        spectra.append(np.fft.rfft2((planes - planes.mean()) * window))
    a, b = spectra
    rows, columns = np.fft.fftfreq(height)[:, np.newaxis], np.fft.rfftfreq(width)
    ring_width = 1 / min(height, width)
    rings = np.rint(np.hypot(rows, columns) / ring_width).astype(int).ravel()

    def per_ring(values: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(np.bincount(rings, values.sum(axis=0).ravel()), np.float64)

    power = np.sqrt(per_ring(np.abs(a) ** 2) * per_ring(np.abs(b) ** 2))
    shared = per_ring((a * b.conj()).real)
    last = int(0.5 / ring_width)  # Nyquist
    correlation = np.divide(shared, power, out=np.zeros_like(power), where=power > 0)[1 : last + 1]
    low = np.flatnonzero(correlation < _CORRELATION)
    if not low.size:
        return 2 * pixel_um
    first = int(low[0])
    if first == 0:
        return float(pixel_um / ring_width)
    above, below = correlation[first - 1], correlation[first]
    ring = first + (above - _CORRELATION) / (above - below)  # the ring of index 0 is number 1
    return float(pixel_um / (ring * ring_width))
