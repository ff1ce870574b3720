"""What makes a restored stack doubtful, and what a careful person should know besides. Pure.

A *doubt* is a reason why this stack may be wrong: something about it lies outside what its model
was shown to do well. A *note* holds for most stacks of an acquisition alike, and says what could
not be compared, or how to get more out of the next one.

Whether intensities may be measured in a restored stack is another question than whether its picture
is to be believed: dim stacks, whose pictures gain most, lose some percent of their light. So doubts
about brightness begin with ``FOR_BRIGHTNESS``, and are counted and shown apart from all others.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from live_restore.inference.image.defects import Defects
from live_restore.inference.image.flux import DOUBTFUL_PERCENT, Flux
from live_restore.inference.image.gain import Gain
from live_restore.inference.image.residual import GivenBack
from live_restore.inference.model.card import ModelCard
from live_restore.inference.model.envelope import Envelope, Range, range_in_words
from live_restore.inference.restored import Restored
from live_restore.stack import FOR_BRIGHTNESS, VoxelSize
from live_restore.trust.digits import ratio_in_words
from live_restore.trust.snr import SignalToNoise

# A pixel size that was calibrated anew differs by a few percent, and no network sees that.
_VOXEL_SLACK = 1.05
# Brighter spots (network units) are rare in training data: in a simulated stack with spots
# at 8, the bundled model gave back four fifths of their light.
_BRIGHTEST_KNOWN = 4.0
_SHARE_WORTH_A_DOUBT = 0.01
# Below it rounding (0.29 grey values rms) cost a good network half a decibel and more, at a third
# of it three (docs/decisions/0012-compared-before-rounding.md).
_COARSE_NOISE_ADU = 15.0
# In five real stacks and 38 million simulated voxels without a defect, one voxel was taken for one
# (docs/explanation/trust.md).
_DEFECTS_WORTH_A_DOUBT = 0.002
# A pixel that is hot in every plane is 4e-6 of 512 x 512; a nucleus that is cut off, 1e-3 and more.
_SATURATED_WORTH_A_DOUBT = 1e-4


def doubts_about(
    restored: Restored,
    card: ModelCard,
    voxel: VoxelSize,
    snr: SignalToNoise | None,
    flux: Flux | None = None,
    *,
    speaks_for_group: bool = True,
) -> tuple[str, ...]:
    """Judge a restored stack: return every reason why it is doubtful, none where it is not.

    Parameters
    ----------
    restored, card
        What the model made of the stack, and the model's card.
    voxel, snr
        Of the raw stack; a voxel size that is not known is not judged.
    flux
        What became of its light; ``None`` where nobody looked.
    speaks_for_group
        Whether doubts about all channels that were restored together are among them.
    """
    found = [
        voxel_doubt(voxel, card.trained_voxel_um),
        many_defects_doubt(restored.defects, restored.volume.shape),
    ]
    if card.envelope is not None:
        ratio = None if snr is None else snr.ratio
        found.insert(0, light_doubt(card.envelope, ratio))
    if snr is not None:
        found.append(saturation_doubt(snr))
    if speaks_for_group:
        found += [intensity_doubt(restored), lost_structure_doubt(restored.given_back)]
    if restored.in_camera_units:
        found.append(brightness_doubt(flux, card.envelope, None if snr is None else snr.ratio))
    return tuple(doubt for doubt in found if doubt is not None)


def light_doubt(envelope: Envelope, ratio: float | None) -> str | None:
    """Return why a stack of this estimated signal-to-noise ratio is doubtful, or ``None``.

    A ratio of ``None`` is not known: then nobody can tell whether the model helps.
    """
    if ratio is None:
        return (
            "its signal-to-noise ratio is not known, since too few voxels are there to estimate it "
            "from: whether the model helps cannot be told; compare it with the raw stack"
        )
    if envelope.snr is None:
        return f"{_is_about(ratio)}; the model was shown to help at none; use the raw stack"
    lowest, highest = envelope.snr
    if ratio < lowest:
        return (
            f"{_is_about(ratio, lowest)}, below the {lowest:.3g} down to which the model was shown "
            "to help; believe no detail that the raw stack does not show, or give it more light"
        )
    if ratio > highest:
        return (
            f"{_is_about(ratio, highest)}, above the {highest:.3g} up to which the model was shown "
            "to help; the raw stack may be the better image"
        )
    return None


def _is_about(ratio: float, bound: float | None = None) -> str:
    return f"its signal-to-noise ratio is {_about(ratio, bound)}"


def _about(ratio: float, bound: float | None = None) -> str:
    words = ratio_in_words(ratio, bound=bound)
    return words if words.startswith("below") else f"about {words}"


def saturation_doubt(snr: SignalToNoise) -> str | None:
    """Return why a stack whose brightest grey values are cut off is doubtful, or ``None``."""
    if snr.saturated_share < _SATURATED_WORTH_A_DOUBT:
        return None
    return (
        f"about {100 * snr.saturated_share:.2g} % of its raw voxels are saturated: how bright the "
        "brightest structures are, and their form, is lost; use less light or a shorter exposure"
    )


def brightness_doubt(
    flux: Flux | None, envelope: Envelope | None, ratio: float | None
) -> str | None:
    """Return why a restored stack is doubtful for measuring brightness, or ``None``.

    What was measured on the stack decides; where that is not known, what was measured of the model.

    Parameters
    ----------
    flux
        Of the stack; ``None`` where nobody looked.
    envelope
        Of the model, if anybody measured it.
    ratio
        Estimated signal-to-noise ratio of the raw stack, if it is known.
    """
    remedy = "measure it in the raw stack, or set output.keep_flux"
    if flux is not None and flux.bias_percent is not None:
        if abs(flux.bias_percent) <= DOUBTFUL_PERCENT:
            return None
        return (
            f"{FOR_BRIGHTNESS}: its bright regions have {flux.in_words} than in the raw stack; "
            f"{remedy}"
        )
    if envelope is None or not envelope.brightness_measured or ratio is None:
        return None
    if envelope.brightness_snr is None or ratio < envelope.brightness_snr[0]:
        return (
            f"{FOR_BRIGHTNESS}: at its signal-to-noise ratio of {_about(ratio)} the model was "
            f"not shown to keep it within 5 %; {remedy}"
        )
    return None


def voxel_doubt(voxel: VoxelSize, trained_um: Mapping[str, Range]) -> str | None:
    """Return how a voxel size lies outside what a model was trained on, or ``None``.

    Parameters
    ----------
    voxel
        Of the raw stack; what is unknown is not compared.
    trained_um
        Ranges (um) by the keys ``z`` and ``xy``, as on a card.
    """
    found = []
    for name, key, size_um in _sizes(voxel):
        if size_um is None or key not in trained_um:
            continue
        lowest, highest = trained_um[key]
        if not lowest / _VOXEL_SLACK <= size_um <= highest * _VOXEL_SLACK:
            trained = range_in_words((lowest, highest))
            found.append(f"{name} {size_um:.3g} um (trained on {trained} um)")
    if not found:
        return None
    return f"its voxels have another size than the model was trained on: {', '.join(found)}"


def unknown_voxel_note(voxel: VoxelSize, trained_um: Mapping[str, Range]) -> str | None:
    """Return a note where the size that would have to be compared is not known."""
    missing = [name for name, key, size in _sizes(voxel) if size is None and key in trained_um]
    if not missing:
        return None
    return (
        f"voxel size unknown ({', '.join(missing)}): "
        "whether it is one that the model was trained on cannot be told"
    )


def intensity_doubt(restored: Restored) -> str | None:
    """Return what is odd about the intensity scale of a stack, or ``None``."""
    if restored.scale_from_extremes:
        return (
            f"percentiles {restored.percentiles} of the stack are equal; "
            "its extremes were used as intensity scale"
        )
    if restored.brightest <= _BRIGHTEST_KNOWN:
        return None
    return (
        f"its brightest voxel is {restored.brightest:.1f} times as bright as "
        f"{restored.percentiles[1]:g} % of the voxels: lonely bright spots may come out too dim"
    )


def lost_structure_doubt(given_back: GivenBack | None) -> str | None:
    """Return how much more than noise the network took away, ``None`` where it is little."""
    if given_back is None or given_back.share < _SHARE_WORTH_A_DOUBT:
        return None
    return (
        f"in {100 * given_back.share:.0f} % of it the network took away more than the noise of "
        f"[camera], and {100 * given_back.weight:.0f} % of that was given back (where every stack "
        "says so, check [camera])"
    )


def defects_note(found: Sequence[Defects]) -> str | None:
    """Return a note that something was hidden from the network, ``None`` where nothing was."""
    if not any(found):
        return None
    return (
        "hot or dead pixels or cosmic rays were hidden from the network: the report counts them, "
        "output.defects decides what they are in the result"
    )


def wrong_camera_note(gain: Gain | None) -> str | None:
    """Return a note that a stack's noise is not that of ``[camera]``, or ``None``."""
    if gain is None or gain.as_set or not math.isfinite(gain.noise_as_set):
        return None
    more_or_less = "more" if gain.noise_as_set > 1 else "less"
    return (
        f"the raw stack has {more_or_less} noise than [camera] tells: measure the camera with "
        "`live-restore camera`, unless stacks are processed before, or have structure as fine as "
        "a pixel"
    )


def not_estimated_note(*, estimates: bool) -> str | None:
    """Return a note of what nobody looked at, ``None`` where all was looked at."""
    if estimates:
        return None
    return (
        "trust.enabled is false: how much nearer to the truth results are, and whether brightness "
        "and sharpness were kept, also over time, was not looked at"
    )


def many_defects_doubt(found: Sequence[Defects], shape: tuple[int, ...]) -> str | None:
    """Return why so many defects in a stack of (Z, Y, X) are suspicious, or ``None``.

    Pixels that the camera's map names are not counted.
    """
    z, y, x = shape
    share = sum(
        (len(each.pixels) - each.mapped) / (y * x) + len(each.voxels) / (z * y * x)
        for each in found
    )
    if share < _DEFECTS_WORTH_A_DOUBT:
        return None
    return (
        f"{100 * share:.1f} % of it was taken for defects of the camera: if these are structure, "
        "compare with the raw stack"
    )


def clipped_warning(restored: Restored) -> str | None:
    """Return how many voxels lay outside the integer type of the result, or ``None``."""
    if not restored.clipped_voxels:
        return None
    return (
        f"{restored.clipped_voxels} voxels lay outside {restored.volume.dtype.name} "
        "and were clipped"
    )


def rounding_note(dtype: np.dtype[np.generic], noise_adu: float | None) -> str | None:
    """Return a note where whole grey values are coarse for what was restored.

    Parameters
    ----------
    dtype
        Of the restored stack.
    noise_adu
        Standard deviation of the raw stack's noise (ADU), ``None`` where it is not known.
    """
    if dtype.kind not in "iu" or noise_adu is None or noise_adu >= _COARSE_NOISE_ADU:
        return None
    return (
        "the noise is a few grey values only, so that rounding to whole ones costs "
        'accuracy: set output.units = "camera-float" to keep the fractions'
    )


def _sizes(voxel: VoxelSize) -> tuple[tuple[str, str, float | None], ...]:
    return (("z", "z", voxel.z_um), ("y", "xy", voxel.y_um), ("x", "xy", voxel.x_um))
