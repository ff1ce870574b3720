"""The paragraph for a paper: what was done to the stacks of a run, from its reports. Pure.

Anybody may have changed a report: what is odd about one is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from live_restore.files.values import number
from live_restore.stack import FOR_BRIGHTNESS
from live_restore.trust.digits import (
    change_in_words,
    decibels_in_words,
    range_in_words,
    ratio_in_words,
)
from live_restore.trust.doubt_lines import about_brightness, about_the_picture, finding, in_one_line

_LONGEST_DOI = 200
_PAPER = "Chen et al., Nature Methods 18, 678 (2021), doi:10.1038/s41592-021-01155-x"


def paragraph(reports: Sequence[dict[str, Any]]) -> str:
    """Return how the results that these reports describe were made, in some sentences.

    Examples
    --------
    >>> stack = {"restored": True, "model": "fast", "doubts": []}
    >>> model = {"version": "2", "sha256": "ab" * 32}
    >>> report = {"software": "live-restore 1", "models": {"fast": model}, "stacks": [stack]}
    >>> paragraph([report]).split(". ")[0]
    '1 stack was restored with live-restore 1 and the model fast 2 (sha256 abababababababab...)'
    """
    found = [(_which(report, stack), stack) for report in reports for stack in _stacks(report)]
    results = [(which, stack) for which, stack in found if stack.get("restored") is True]
    done = [stack for _, stack in results]
    restored = {which for which, _ in results}
    parts = [
        f"{_count(len(restored), 'stack')} restored with "
        f"{_listed({str(report.get('software')) for report in reports})} and "
        f"{_models(reports)}, which follow the 3D RCAN ({_PAPER})"
    ]
    if left := {which for which, _ in found} - restored:
        parts.append(f"{_count(len(left), 'stack')} left as recorded")
    if len(done) > len(restored):
        parts.append(
            f"Some were restored more than once, with other models or settings: there are "
            f"{len(done)} results, and what follows counts each"
        )
    parts += _cameras(done, reports)
    settings = _settings(reports)
    if settings:
        parts.append(settings)
    ratios = list(_numbers(done, "signal_to_noise", "ratio"))
    if ratios:
        unknown = len(done) - len(ratios)
        parts.append(
            "The signal-to-noise ratio of the raw stacks, estimated from them, was "
            f"{range_in_words(ratios, ratio_in_words)}"
            f"{f' (not known in {unknown})' if unknown else ''}"
        )
    parts.append(_gain(done))
    biases = list(_numbers(done, "brightness", "flux_bias_percent"))
    if biases:
        parts.append(
            "The light of bright regions in the restored stacks differed from that in the raw ones "
            f"by {range_in_words(biases, change_in_words)} %"
        )
    hidden = sum(bool(stack.get("defects")) for stack in done)
    if hidden:
        parts.append(
            f"In {_count(hidden, 'stack', verb=False)}, hot or dead pixels or cosmic rays were "
            "hidden from the network"
        )
    doubts = [
        [str(doubt) for doubt in told] if isinstance(told := stack.get("doubts"), list) else []
        for stack in done
    ]
    of_pictures = [tuple(map(finding, about_the_picture(each))) for each in doubts]
    doubtful = sum(map(bool, of_pictures))
    parts.append(
        f"{_count(doubtful, 'stack')} marked doubtful ({in_one_line(of_pictures)})"
        if doubtful
        else "No stack was marked doubtful"
    )
    dim = sum(bool(about_brightness(each)) for each in doubts)
    if dim:
        parts.append(f"{_count(dim, 'stack')} marked {FOR_BRIGHTNESS}")
    return ". ".join(parts) + "."


def _stacks(report: dict[str, Any]) -> list[dict[str, Any]]:
    return _dicts(report.get("stacks"))


def _which(report: dict[str, Any], stack: dict[str, Any]) -> str:
    """Return which raw stack this is a result of, whatever restored it."""
    source = report.get("source")
    name = source.get("name") if isinstance(source, dict) else None
    place = [stack.get(key) for key in ("position", "time", "channel", "raw_crc32")]
    # Of a report that does not say, each stack is one of its own.
    known = name is not None and place[-1] is not None
    return repr((name, *place)) if known else f"{id(report)} {id(stack)}"


def _models(reports: Sequence[dict[str, Any]]) -> str:
    named = {
        f"{name} {model.get('version')} (sha256 {str(model.get('sha256'))[:16]}...{_doi(model)})"
        for report in reports
        for name, model in _items(report.get("models"))
    }
    return f"the model{'s' if len(named) > 1 else ''} {_listed(named)}"


def _doi(model: dict[str, Any]) -> str:
    doi = model.get("doi")
    return f", doi:{doi[:_LONGEST_DOI]}" if isinstance(doi, str) and doi else ""


def _settings(reports: Sequence[dict[str, Any]]) -> str:
    given = [settings for r in reports if isinstance(settings := r.get("settings"), dict)]
    different = [each for i, each in enumerate(given) if each not in given[:i]]
    if len(different) != 1:
        return "Settings differed between stacks; each report holds its own" if different else ""
    (settings,) = different
    said = []
    output = settings.get("output")
    units = output.get("units") if isinstance(output, dict) else None
    words = {
        "camera": "grey values of the camera, rounded to the type of the raw data",
        "camera-float": "grey values of the camera, not rounded",
        "network": "units of the network",
    }
    if isinstance(units, str) and units in words:
        said.append(f"Results are in {words[units]}")
    if isinstance(output, dict) and output.get("keep_flux") is True:
        said.append(
            "What the network had taken from the light of regions was added back (raw less "
            "restored, behind a Gaussian of 2 x 6 x 6 voxels standard deviation)"
        )
    return ". ".join(said)


def _cameras(done: Sequence[dict[str, Any]], reports: Sequence[dict[str, Any]]) -> list[str]:
    """Return the cameras that the stacks name; of older reports, that of the settings."""
    named = [camera for stack in done if isinstance(camera := stack.get("camera"), dict)]
    if not named:
        given = (r.get("settings") for r in reports)
        named = [
            camera
            for each in given
            if isinstance(each, dict) and isinstance(camera := each.get("camera"), dict)
        ]
    known = [each for each in named if "not_known_because" not in each]
    found = dict.fromkeys(
        f"{each.get('gain_adu_per_e')} ADU per photo-electron, an offset of "
        f"{each.get('offset_adu')} ADU and a read noise of {each.get('read_noise_e')} e- (rms)"
        for each in known
    )
    verb = "The camera was" if len(found) == 1 else "The cameras were"
    said = [f"{verb} described by {'; by '.join(found)}"] if found else []
    unknown = len(named) - len(known)
    if unknown:
        said.append(f"The camera of {_count(unknown, 'stack', verb=False)} was not known")
    return said


def _gain(done: Sequence[dict[str, Any]]) -> str:
    asked = [gain for stack in done if isinstance(gain := stack.get("gain_over_raw"), dict)]
    known = list(_numbers(done, "gain_over_raw", "db"))
    # Reports of an earlier version have 15 dB as their only bound.
    bounds = [
        15.0 if (bound := number(each.get("at_least_db"))) is None else bound
        for each in asked
        if not each.get("not_known_because") and each.get("db") is None
    ]
    if not known and not bounds:
        return "The gain over the raw stacks is not known"
    gain = range_in_words(known, decibels_in_words) if known else ""
    words = [f"{gain} dB (in {len(known)})"] if known else []
    words += [f"more than {bound:g} dB (in {bounds.count(bound)})" for bound in sorted(set(bounds))]
    unknown = len(asked) - len(known) - len(bounds)
    words += [f"not known (in {unknown})"] if unknown else []
    return (
        f"Of {_count(len(asked), 'stack', verb=False)}, the gain over the raw ones was estimated "
        f"without a truth (Stein's unbiased risk estimate): {_in_a_row(words)}"
    )


def _in_a_row(words: Sequence[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _numbers(stacks: Sequence[dict[str, Any]], group: str, key: str) -> Iterator[float]:
    for stack in stacks:
        found = stack.get(group)
        value = number(found.get(key)) if isinstance(found, dict) else None
        if value is not None:
            yield value


def _count(number: int, noun: str, *, verb: bool = True) -> str:
    word = f"{number} {noun}{'' if number == 1 else 's'}"
    return f"{word} {'was' if number == 1 else 'were'}" if verb else word


def _listed(names: set[str]) -> str:
    return ", ".join(sorted(names)) or "unknown"


def _dicts(value: object) -> list[dict[str, Any]]:
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def _items(value: object) -> list[tuple[str, dict[str, Any]]]:
    if not isinstance(value, dict):
        return []
    return [(str(name), each) for name, each in value.items() if isinstance(each, dict)]
