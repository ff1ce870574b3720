"""Simulated fluorescence stacks: structures, optics and camera, each in physical units.

A scene is a cloud of emitters drawn on a finer idea of space than the voxels, summed into voxels
and convolved with the point spread function of a drawn microscope (``simulator.optics``). Every
stack is reproducible from its seed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator
from scipy import ndimage
from scipy.signal import oaconvolve

from live_restore.simulation.camera import Camera
from live_restore.simulation.emitters import rasterise
from live_restore_export.simulator.aberrations import draw_aberrations
from live_restore_export.simulator.fields import random_sample
from live_restore_export.simulator.optics import Microscope, Optics
from live_restore_export.simulator.structures import STRUCTURES, Range, log_uniform, uniform


class SimulationConfig(BaseModel):
    """Ranges from which each simulated stack is drawn; pairs are (lowest, highest)."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    shape_zyx: tuple[int, int, int] = (24, 128, 128)
    voxel_xy_um: Range = (0.06, 0.2)
    voxel_z_um: Range = (0.15, 0.5)
    microscopes: tuple[Microscope, ...] = Field(
        ("wide-field", "confocal", "light-sheet", "image-scanning"), min_length=1
    )
    numerical_aperture: Range = Field((0.75, 1.45), description="decides the immersion, too")
    emission_um: Range = (0.45, 0.7)
    sample_index: Range = (1.33, 1.45)
    depth_um: Range = Field((0.0, 4.0), description="aberrates where sample and immersion differ")
    pinhole_airy_units: Range = (0.7, 1.5)
    sheet_sigma_um: Range = (0.4, 1.5)
    truth_psf_width: float = Field(
        1.0, gt=0.2, le=1, description="below 1: the truth has a PSF that much narrower"
    )
    aberrated_share: float = Field(
        0.0, ge=0, le=1, description="stacks through optics with astigmatism, coma and the like"
    )
    aberration_waves: Range = Field((0.02, 0.2), description="their root mean square, all together")
    sharp_share: float = Field(
        0.0, ge=0, le=1, description="stacks with a PSF 0.2 to 0.7 as wide: coarse pixels, Airyscan"
    )
    grain_share: float = Field(
        0.0, ge=0, le=1, description="stacks with texture down to single voxels, in the truth, too"
    )
    empty_share: float = Field(0.0, ge=0, le=1, description="stacks of nothing but background")
    field_share: float = Field(
        0.0, ge=0, le=1, description="stacks of random textures instead of structures, or over them"
    )
    structures_per_stack: tuple[int, int] = Field((1, 3), description="kinds mixed in one stack")
    brightest: float = Field(20.0, ge=1, description="most that a voxel may exceed the peak")
    peak_e: Range = Field((3.0, 400.0), description="photo-electrons at the 99.9th percentile")
    background_fraction: Range = Field((0.002, 0.3), description="flat background over peak")
    haze_fraction: Range = Field((0.0, 0.4), description="out-of-focus haze over signal")
    read_noise_e: Range = (0.7, 3.0)
    gain_adu_per_e: Range = (0.5, 4.0)
    offset_adu: Range = (90.0, 110.0)
    scmos_share: float = Field(0.5, ge=0, le=1, description="cameras with pixel-wise maps")
    multiplied_share: float = Field(
        0.0, ge=0, le=1, description="cameras that multiply electrons (EMCCD): twice the variance"
    )
    counting_share: float = Field(
        0.0, ge=0, le=1, description="detectors that count photons: no offset, no read noise"
    )

    @model_validator(mode="after")
    def _ranges_run_upwards(self) -> Self:
        for name in type(self).model_fields:
            value = getattr(self, name)
            if isinstance(value, tuple) and len(value) == 2 and not 0 <= value[0] <= value[1]:
                raise ValueError(f"{name} {value} must run from a number of 0 or more upwards")
        if min(self.shape_zyx) < 1:
            raise ValueError(f"shape_zyx {self.shape_zyx} must be of positive numbers")
        if not 1 <= self.structures_per_stack[0] <= self.structures_per_stack[1] <= len(STRUCTURES):
            raise ValueError(f"structures_per_stack must lie within 1 and {len(STRUCTURES)}")
        return self


@dataclass(frozen=True)
class Scene:
    """A noise-free stack (Z, Y, X), 1 at its 99.9th percentile, and its truth on that scale.

    ``truth`` is what a restorer should return: ``signal`` itself, or the same emitters through a
    narrower PSF where ``SimulationConfig.truth_psf_width`` is below 1.
    """

    signal: NDArray[np.float32]
    truth: NDArray[np.float32]
    voxel_zyx_um: tuple[float, float, float]
    structures: tuple[str, ...]
    optics: Optics


def random_optics(config: SimulationConfig, rng: np.random.Generator) -> Optics:
    """Draw a microscope: the immersion follows from the aperture, as on a real objective turret."""
    aperture = uniform(rng, config.numerical_aperture)
    # Air, water, silicone, oil: the least index with some room above the aperture.
    immersion = next(index for index in (1.0, 1.333, 1.406, 1.515) if aperture < 0.96 * index)
    emission_um = uniform(rng, config.emission_um)
    microscope: Microscope = config.microscopes[int(rng.integers(len(config.microscopes)))]
    return Optics(
        microscope=microscope,
        numerical_aperture=aperture,
        immersion_index=immersion,
        sample_index=uniform(rng, config.sample_index),
        depth_um=uniform(rng, config.depth_um),
        emission_um=emission_um,
        excitation_um=0.93 * emission_um,
        pinhole_airy_units=uniform(rng, config.pinhole_airy_units),
        sheet_sigma_um=uniform(rng, config.sheet_sigma_um),
    )


def simulate_scene(config: SimulationConfig, seed: int) -> Scene:
    """Draw a noise-free scene: structures through the optics, without background.

    Returns
    -------
    Scene
        ``signal`` and ``truth`` as float32 without unit.
    """
    rng = np.random.default_rng(seed)
    # Of their own random numbers: whatever these shares, a seed gives the same structures.
    sharpness, grain, fields = (np.random.default_rng((seed, kind)) for kind in (1, 2, 3))
    lateral_um = log_uniform(rng, config.voxel_xy_um)
    voxel_zyx_um = (log_uniform(rng, config.voxel_z_um), lateral_um, lateral_um)
    voxel_um = np.array(voxel_zyx_um)
    # Emitters are drawn a little beyond the field so that the borders are like the middle.
    margin = np.array([4, 8, 8])
    drawn_shape = np.array(config.shape_zyx) + 2 * margin
    size_um = drawn_shape * voxel_um
    low, high = config.structures_per_stack
    names = rng.choice(list(STRUCTURES), size=int(rng.integers(low, high + 1)), replace=False)
    optics = random_optics(config, rng)
    aberrations = np.random.default_rng((seed, 4))
    if aberrations.random() < config.aberrated_share:
        waves = log_uniform(aberrations, config.aberration_waves)
        drawn = draw_aberrations(aberrations, waves)
        optics = optics.model_copy(update={"aberrations": drawn})
    sharp = sharpness.random() < config.sharp_share
    width = uniform(sharpness, (0.2, 0.7)) if sharp else 1.0
    psf = optics.psf(voxel_zyx_um, width)
    a, b, c = (int(d) for d in drawn_shape)
    emitters = np.zeros((a, b, c), np.float32)
    for name in names:
        part = rasterise(STRUCTURES[str(name)](rng, size_um), (a, b, c), voxel_um)
        # Brightness as the microscope would see it: a thin line and a full nucleus are made alike.
        seen = float(np.percentile(ndimage.gaussian_filter(part, 1.5), 99.9))
        emitters += part / max(seen, 1e-9) * log_uniform(rng, (0.1, 1.0))
    if fields.random() < config.field_share:
        texture = random_sample(fields, (a, b, c), voxel_um)
        seen = float(np.percentile(ndimage.gaussian_filter(texture, 1.5), 99.9))
        alone = fields.random() < 0.7
        emitters = (0 if alone else emitters) + texture / max(seen, 1e-9)
    blurred = oaconvolve(emitters, psf, mode="same")
    haze = np.zeros_like(blurred)
    if rng.random() < 0.5:
        wide = np.minimum((1.5 / voxel_um), drawn_shape / 4)
        haze = uniform(rng, config.haze_fraction) * ndimage.gaussian_filter(blurred, wide) * 3
    signal = blurred + haze
    truth = signal
    if config.truth_psf_width != 1:
        narrower = optics.psf(voxel_zyx_um, width * config.truth_psf_width)
        truth = oaconvolve(emitters, narrower, mode="same") + haze
    inner = tuple(slice(m, -m) for m in margin)
    signal, truth = (np.maximum(v[inner], 0) for v in (signal, truth))
    if grain.random() < config.grain_share:
        texture = _texture(config.shape_zyx, grain)
        signal, truth = signal * texture, truth * texture
    if grain.random() < config.empty_share:
        signal, truth = np.zeros_like(signal), np.zeros_like(truth)
    # A few lonely spots would otherwise be very many times brighter than "the peak".
    scale = max(float(np.percentile(signal, 99.9)), float(signal.max()) / config.brightest, 1e-9)
    return Scene(
        np.asarray(signal / scale, np.float32),
        np.asarray(truth / scale, np.float32),
        voxel_zyx_um,
        tuple(str(n) for n in names),
        optics,
    )


def _texture(shape_zyx: tuple[int, int, int], rng: np.random.Generator) -> NDArray[np.float32]:
    """Draw factors (Z, Y, X) around 1 that vary from voxel to voxel, or every few voxels.

    Dyes are molecules, few per voxel and clustered, and clean stacks from sharpening instruments
    are not smooth on the scale of a PSF. Who never sees that takes all fine texture for noise.
    """
    field = ndimage.gaussian_filter(
        rng.standard_normal(shape_zyx, dtype=np.float32), log_uniform(rng, (0.2, 1.5))
    )
    field *= log_uniform(rng, (0.03, 0.5)) / max(float(field.std()), 1e-9)
    return np.asarray(np.exp(field), np.float32)


def random_camera(config: SimulationConfig, rng: np.random.Generator) -> Camera:
    """Draw a camera from the configured ranges, half of them with the pixel maps of an sCMOS."""
    kind = rng.random() if config.counting_share or config.multiplied_share else 1.0
    if kind < config.counting_share:
        return Camera(offset_adu=0.0, gain_adu_per_e=1.0, read_noise_e=0.0)
    camera = Camera(
        offset_adu=uniform(rng, config.offset_adu),
        gain_adu_per_e=log_uniform(rng, config.gain_adu_per_e),
        read_noise_e=log_uniform(rng, config.read_noise_e),
        multiplies=kind < config.counting_share + config.multiplied_share,
    )
    if rng.random() < config.scmos_share:
        return camera.with_pixel_maps(config.shape_zyx[1:], rng)
    return camera


def expected_electrons(
    scene_signal: NDArray[np.float32], peak_e: float, background_fraction: float
) -> NDArray[np.float32]:
    """Return expected photo-electrons (e-): signal at ``peak_e`` on a flat background."""
    return np.asarray(scene_signal * peak_e + background_fraction * peak_e, dtype=np.float32)
