"""Point spread functions of common fluorescence microscopes, from their physical parameters.

The emission PSF is the vectorial model of Aguet et al. (IEEE ISBI 2009, after Gibson and Lanni,
JOSA A 8, 1601 (1991)) as computed by psfmodels. The other microscopes follow from it: a confocal
or image-scanning PSF is excitation times detection, a light sheet multiplies by a Gaussian in z.
"""

from __future__ import annotations

from typing import Literal, Self

import numpy as np
import psfmodels
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from live_restore_export.simulator.aberrations import NONE, Aberrations, aberrated_psf

Microscope = Literal["wide-field", "confocal", "light-sheet", "image-scanning"]

# Half the volume in which a PSF is computed (um): light farther out is the haze of the scene.
_REACH_Z_UM = 2.0
_REACH_XY_UM = 1.6


class Optics(BaseModel):
    """One objective, one dye and the way of sectioning.

    ``image-scanning`` stands for instruments such as iSIM: confocal with a closed pinhole and
    without its loss of light.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    microscope: Microscope = "wide-field"
    numerical_aperture: float = Field(1.4, gt=0.1, lt=1.6)
    immersion_index: float = Field(1.515, ge=1.0, le=1.6)
    sample_index: float = Field(1.38, ge=1.0, le=1.6)
    depth_um: float = Field(1.0, ge=0, le=100, description="of the focus, below the cover glass")
    emission_um: float = Field(0.52, gt=0.3, lt=1.2)
    excitation_um: float = Field(0.488, gt=0.3, lt=1.2)
    pinhole_airy_units: float = Field(1.0, gt=0, le=20)
    sheet_sigma_um: float = Field(0.8, gt=0.05, description="standard deviation of a light sheet")
    aberrations: Aberrations = Field(NONE, description="waves, see simulator.aberrations")

    @model_validator(mode="after")
    def _aperture_fits_immersion(self) -> Self:
        if self.numerical_aperture >= self.immersion_index:
            raise ValueError(
                f"numerical_aperture {self.numerical_aperture} must be below immersion_index "
                f"{self.immersion_index}"
            )
        return self

    def psf(
        self, voxel_zyx_um: tuple[float, float, float], width: float = 1.0
    ) -> NDArray[np.float32]:
        """Return the PSF (Z, Y, X; odd sizes, sum 1, brightest voxel in the middle plane).

        Parameters
        ----------
        voxel_zyx_um
            Voxel size; Y and X equal (um).
        width
            Factor on the size of the PSF in all directions: 0.5 gives one half as wide.
        """
        z_um, xy_um = voxel_zyx_um[0] / width, voxel_zyx_um[2] / width
        planes = 2 * int(np.ceil(_REACH_Z_UM * 1.5 / z_um)) + 1
        pixels = 2 * int(np.ceil(_REACH_XY_UM / xy_um)) + 1
        detection = self._emitted(self.emission_um, planes, pixels, z_um, xy_um)
        if self.microscope == "wide-field":
            psf = detection
        elif self.microscope == "light-sheet":
            z = (np.arange(planes) - planes // 2) * z_um
            psf = detection * np.exp(-0.5 * (z / self.sheet_sigma_um) ** 2)[:, None, None]
        else:
            excitation = self._emitted(self.excitation_um, planes, pixels, z_um, xy_um)
            if self.microscope == "confocal":
                detection = _through_pinhole(detection, self._pinhole_radius_um() / xy_um)
            psf = excitation * detection
        keep_z, keep_xy = int(_REACH_Z_UM / z_um) + 1, pixels // 2
        middle = planes // 2
        psf = psf[max(0, middle - keep_z) : middle + keep_z + 1]
        psf = psf[:, pixels // 2 - keep_xy : pixels // 2 + keep_xy + 1]
        return np.asarray(psf / psf.sum(), dtype=np.float32)

    def _pinhole_radius_um(self) -> float:
        """Return the pinhole's radius in the sample (um); one Airy unit is 1.22 lambda / NA."""
        return self.pinhole_airy_units * 0.61 * self.emission_um / self.numerical_aperture

    def _emitted(
        self, wavelength_um: float, planes: int, pixels: int, z_um: float, xy_um: float
    ) -> NDArray[np.float64]:
        """Return the intensity PSF of the objective with its best focus in the middle plane."""
        if any(self.aberrations):
            psf = aberrated_psf(
                (planes, pixels, pixels),
                (z_um, xy_um, xy_um),
                min(self.numerical_aperture, 0.98 * self.sample_index),
                self.sample_index,
                wavelength_um,
                self.aberrations,
            )
            return self._focused(psf)
        psf = np.asarray(
            psfmodels.make_psf(
                z=planes,
                nx=pixels,
                dxy=xy_um,
                dz=z_um,
                pz=self.depth_um,
                # Light steeper than the sample's own critical angle does not come from afar.
                NA=min(self.numerical_aperture, 0.98 * self.sample_index),
                wvl=wavelength_um,
                ns=self.sample_index,
                ni=self.immersion_index,
                ni0=self.immersion_index,
                model="vectorial",
            )
        )
        return self._focused(psf)

    def _focused(self, psf: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return it with its brightest plane in the middle: the microscopist has focused."""
        best = int(psf.max(axis=(1, 2)).argmax())
        return np.roll(psf, len(psf) // 2 - best, axis=0)


def _through_pinhole(psf: NDArray[np.float64], radius_pixels: float) -> NDArray[np.float64]:
    """Return each plane of ``psf`` (Z, Y, X) summed over a disc of ``radius_pixels``."""
    frequencies = np.hypot(
        np.fft.fftfreq(psf.shape[1])[:, None], np.fft.rfftfreq(psf.shape[2])[None]
    )
    # The disc's edge is softened to a pixel by a Gaussian of its area: fine for any radius.
    blur = np.exp(-2 * (np.pi * frequencies * radius_pixels / 2) ** 2)
    blurred = np.fft.irfft2(np.fft.rfft2(psf) * blur, s=psf.shape[1:])
    return np.asarray(np.maximum(blurred, 0.0))
