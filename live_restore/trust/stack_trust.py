"""How far a stack can be trusted: all that is known about it, in one value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from live_restore.inference.image.flux import Flux, Known, flux_bias
from live_restore.inference.model.card import ModelCard
from live_restore.inference.restored import Restored
from live_restore.stack import Volume, VoxelSize, checksum_of
from live_restore.trust import doubts
from live_restore.trust.sharpness import Sharpness, sharpness
from live_restore.trust.snr import SignalToNoise, estimate_snr
from live_restore.trust.statistics import image_statistics


@dataclass(frozen=True)
class StackTrust:
    """What the voxels of one stack tell about it.

    Parameters
    ----------
    raw_crc32
        Of the raw voxels, (Z, Y, X) in C order: proof of what a result was made of.
    before
        Statistics of the raw stack (ADU).
    signal_to_noise
        Of the raw stack; ``None`` where nothing can be known.
    after
        Statistics of the restored stack, in its units; ``None`` where it was left as it is.
    doubts
        Why the restored stack may be wrong.
    warnings
        What went wrong with it, and is no doubt about the rest of it.
    notes
        What holds for most stacks of an acquisition alike.
    flux
        What became of its light; ``None`` where it was left as it is, or is in network units.
    sharpness
        Detail, raw and restored; ``None`` likewise, and where nothing can be known.
    """

    raw_crc32: int
    before: dict[str, float]
    signal_to_noise: SignalToNoise | None
    after: dict[str, float] | None = None
    doubts: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    flux: Flux | None = None
    sharpness: Sharpness | None = None


def assess(
    raw: Volume,
    restored: Restored | None,
    card: ModelCard | None,
    voxel: VoxelSize,
    *,
    speaks_for_group: bool = True,
    estimates: bool = True,
) -> StackTrust:
    """Look at a stack, and at what became of it.

    Parameters
    ----------
    raw
        (Z, Y, X) as read (ADU).
    restored, card
        What the model made of it, and the model's card; ``None`` where it was left as it is.
    voxel
        Of the raw stack.
    speaks_for_group
        Whether doubts about all channels that were restored together are reported with this one.
    estimates
        Whether brightness and sharpness are compared with those of the raw stack.
    """
    checksum = checksum_of(raw)
    looked_at = restored.grey_values if restored is not None else ()
    before = image_statistics(raw, looked_at[0] if looked_at else None)
    snr = estimate_snr(raw)
    if restored is None or card is None:
        return StackTrust(checksum, before, snr)
    trained_um = card.trained_voxel_um
    after = image_statistics(restored.volume)
    flux = sharp = None
    if estimates and restored.in_camera_units:
        known = Known(before["max"], after["max"], after["p1"])
        flux = flux_bias(raw, restored.volume, restored.defects, known)
        sharp = sharpness(raw, restored.volume, flux)
    notes = (
        card.sharpening_note() or None,
        doubts.rounding_note(restored.volume.dtype, None if snr is None else snr.noise_adu),
        doubts.unknown_voxel_note(voxel, trained_um),
        doubts.defects_note(restored.defects),
        doubts.wrong_camera_note(restored.gain),
        doubts.not_estimated_note(estimates=estimates),
    )
    return StackTrust(
        raw_crc32=checksum,
        before=before,
        signal_to_noise=snr,
        after=after,
        doubts=doubts.doubts_about(
            restored, card, voxel, snr, flux, speaks_for_group=speaks_for_group
        ),
        warnings=_only([doubts.clipped_warning(restored), restored.map_not_used or None]),
        notes=_only(notes),
        flux=flux,
        sharpness=sharp,
    )


def _only(sentences: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(sentence for sentence in sentences if sentence is not None)
