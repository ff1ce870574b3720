"""``live-restore camera``: gain, offset, read noise and bad pixels, from what a camera recorded."""

from __future__ import annotations

import argparse
import datetime
import json
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from live_restore.cli.parsing import Commands, add_command, file
from live_restore.errors import SettingsError, StackError, UsageError, one_line

if TYPE_CHECKING:
    from live_restore.stack import Mask
    from live_restore.trust.bootstrap import Measured
    from live_restore.trust.darkness import Darkness
    from live_restore.trust.photon_transfer import CameraEstimate

_MAP = "live-restore: bad pixels of a camera"
"""How a saved map is known again: it may be saved anew, and nothing else is written over."""


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "camera", run, "measure a camera's gain, offset, read noise and bad pixels",
        "live-restore camera lit_1.tif lit_2.tif --dark dark.tif --save config.toml",
        "live-restore camera D:\\data\\run_1\\cell.tif --offset 100",
        "live-restore camera --dark dark.tif --save-map bad.tif",
        config=False, engine=False,
    )  # fmt: skip
    parser.add_argument(
        "files", type=file, nargs="*", metavar="FILE",
        help="frames of one scene each, two at least: an evenly lit field, or a run's own stacks",
    )  # fmt: skip
    parser.add_argument(
        "--dark", type=file, metavar="FILE", help="some 50 frames without light, same settings"
    )
    parser.add_argument(
        "--offset",
        type=_grey_value,
        metavar="ADU",
        help="grey value of darkness, where it is known",
    )
    parser.add_argument("--channel", type=_number, help="of files that hold several, from 0")
    parser.add_argument(
        "--serial", help="the camera's serial number, where the files do not tell it"
    )
    parser.add_argument(
        "--save", type=Path, metavar="FILE",
        help="write [camera] into this config.toml; [[cameras]] where a serial number is known, or "
        "the files hold several channels",
    )  # fmt: skip
    parser.add_argument(
        "--save-map", type=Path, metavar="FILE", help="write the bad pixels as a TIFF image"
    )
    parser.add_argument("--json", action="store_true", help="print the numbers as JSON")


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore camera``."""
    from live_restore.calibration.frames import read_dark
    from live_restore.trust.darkness import darkness

    if not arguments.files and arguments.dark is None:
        raise UsageError("nothing to measure", None, "name frames, or a dark stack with --dark")
    if arguments.dark is not None and arguments.offset is not None:
        raise UsageError("--offset and --dark exclude each other", None, "omit one")
    bad_map: Path | None = arguments.save_map
    if bad_map is not None and bad_map.exists() and not _is_map(bad_map):
        raise UsageError(
            "is there already, and no map that live-restore saved",
            bad_map,
            "give --save-map a new name",
        )
    dark: Darkness | None = None
    if arguments.dark is not None:
        frames = read_dark(arguments.dark)
        try:
            dark = darkness(frames)
        except StackError as error:
            raise type(error)(error.what, arguments.dark, error.remedy) from None
    estimate = _measured(arguments, dark) if arguments.files else None
    bad = _bad_pixels(arguments, dark)
    if arguments.json:
        print(json.dumps(_as_json(estimate, dark, bad), indent=1))
    else:
        _print(estimate, dark, bad)
    if bad_map is not None:
        _save_map(bad_map, bad)
    if arguments.save is not None:
        _save(arguments, estimate)
    return 0


def _measured(arguments: argparse.Namespace, dark: Darkness | None) -> CameraEstimate:
    from live_restore.calibration.frames import read_pairs
    from live_restore.trust.photon_transfer import photon_transfer

    pairs = [pair for path in arguments.files for pair in read_pairs(path, arguments.channel)]
    if dark is not None and pairs[0][0].shape != dark.bad_pixels.shape:
        raise UsageError(
            f"has frames of {dark.bad_pixels.shape}, and {one_line(arguments.files[0])} of "
            f"{pairs[0][0].shape}",
            arguments.dark,
            "record both with the same region of the camera",
        )
    try:
        return photon_transfer(pairs, dark, arguments.offset)
    except StackError as error:
        raise type(error)(error.what, arguments.files[0], error.remedy) from None


def _bad_pixels(arguments: argparse.Namespace, dark: Darkness | None) -> Mask | None:
    """Return the map of the dark stack, or of pixels that stand out in every frame of the files."""
    import numpy as np

    from live_restore.calibration.frames import read_pairs
    from live_restore.inference.image.defects import find_defects

    if dark is not None:
        return dark.bad_pixels
    bad: Mask | None = None
    for path in arguments.files:
        frames = [frame for pair in read_pairs(path, arguments.channel) for frame in pair]
        found = np.zeros(frames[0].shape, bool)
        found[tuple(find_defects(np.stack(frames)).pixels.T)] = True
        if bad is not None and bad.shape != found.shape:
            raise UsageError(
                "has frames of another size than the file before", path, "leave it out"
            )
        bad = found if bad is None else bad | found
    return bad


def _save_map(path: Path, bad: Mask | None) -> None:
    import tifffile

    from live_restore.files.publish import publishing

    if bad is None:
        raise UsageError("there is no map to save", path, "name frames")
    with publishing(path) as temporary:
        tifffile.imwrite(
            temporary,
            bad.astype("uint8") * 255,
            photometric="minisblack",
            compression="zlib",
            description=_MAP,
        )


def _is_map(path: Path) -> bool:
    """Return whether a file is a map of :func:`_save_map`; anything else may be raw data."""
    import tifffile

    try:
        with path.open("rb") as file, tifffile.TiffFile(file) as tiff:
            return len(tiff.pages) == 1 and tiff.pages.first.description == _MAP
    except (OSError, ValueError, tifffile.TiffFileError):
        return False


def _save(arguments: argparse.Namespace, estimate: CameraEstimate | None) -> None:
    from live_restore.calibration.config_text import with_camera
    from live_restore.files.publish import publish_text
    from live_restore.settings.load import load_settings

    path: Path = arguments.save
    if estimate is None or estimate.offset_adu is None or estimate.read_noise_e is None:
        raise UsageError(
            "[camera] takes gain, offset and read noise, and not all of them are known",
            path,
            "add frames with light, and a dark stack (--dark) or --offset",
        )
    values = {
        "gain_adu_per_e": f"{estimate.gain_adu_per_e.value:.4g}",
        "offset_adu": f"{estimate.offset_adu.value:.2f}",
        "read_noise_e": f"{estimate.read_noise_e.value:.3g}",
    }
    if arguments.save_map is not None:
        values["bad_pixels"] = json.dumps(str(arguments.save_map.absolute()))
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    names = ", ".join(one_line(each.name) for each in [*arguments.files, arguments.dark] if each)
    remarks = [f"measured {today} from {names}: gain {_in_words(estimate.gain_adu_per_e, '.4g')}"]
    try:
        # Of a file that is there, nothing may be lost that cannot be read.
        load_settings(path if path.exists() else None)
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        belongs_to = _belongs_to(arguments)
        publish_text(path, with_camera(text, values, remarks, belongs_to))
    except OSError as error:
        raise SettingsError(f"cannot be read ({error.strerror})", path, "check it") from error
    except SettingsError as error:
        raise SettingsError(error.what, path, error.remedy) from None
    if not belongs_to:
        print(f"[camera] written to {one_line(path)}")
        return
    which = ", ".join(f"{key} {json.dumps(value)}" for key, value in belongs_to.items())
    print(f"[[cameras]] of {one_line(which)} written to {one_line(path)}")
    if re.search(r"^\s*\[\s*camera\s*\]", text, re.MULTILINE):
        print("[camera] is still in it, for all other stacks: remove it if it is this camera")


def _belongs_to(arguments: argparse.Namespace) -> dict[str, Any]:
    """Return which stacks the camera recorded, as the files tell; nothing where they do not.

    Raises
    ------
    UsageError
        The files are of several cameras.
    """
    from live_restore.calibration.frames import recorded_by

    found = [recorded_by(path, arguments.channel) for path in arguments.files]
    serials = dict.fromkeys(each.serial for each in found if each.serial)
    if arguments.dark is not None:
        serials |= dict.fromkeys(filter(None, [recorded_by(arguments.dark).serial]))
    if len(serials) > 1:
        raise UsageError(
            f"these files are of several cameras ({', '.join(map(one_line, serials))})", None,
            "measure each with files of its own",
        )  # fmt: skip
    serial = arguments.serial or next(iter(serials), "")
    if serial:
        return {"serial": serial}
    channels = list(dict.fromkeys(each.channel for each in found if each.channel))
    return {"channels": channels} if channels else {}


def _print(estimate: CameraEstimate | None, dark: Darkness | None, bad: Mask | None) -> None:
    if estimate is not None:
        print(f"gain_adu_per_e = {_in_words(estimate.gain_adu_per_e, '.4g')}")
        if estimate.offset_adu is not None:
            print(f"offset_adu = {_in_words(estimate.offset_adu, '.2f')}")
        if estimate.read_noise_e is not None:
            print(f"read_noise_e = {_in_words(estimate.read_noise_e, '.3g')}")
        else:
            print("offset and read noise: not known; add a dark stack (--dark) or --offset")
        print(f"from {estimate.pairs} pair(s) of frames")
    elif dark is not None:
        print(f"offset_adu = {_in_words(dark.offset_adu, '.2f')}")
        print(
            f"read noise: {_in_words(dark.noise_adu, '.3g')} grey values; over the gain, electrons"
        )
        print("without lit frames beside it, a weak and even light in it is not noticed")
    if bad is not None:
        print(f"{int(bad.sum())} bad pixel(s) of {bad.shape[0]} x {bad.shape[1]}")


def _in_words(number: Measured, form: str) -> str:
    if number.low == number.high:
        return f"{number.value:{form}} (as given)"
    return f"{number.value:{form}} (95 %: {number.low:{form}} to {number.high:{form}})"


def _as_json(
    estimate: CameraEstimate | None, dark: Darkness | None, bad: Mask | None
) -> dict[str, Any]:
    from dataclasses import asdict

    numbers: dict[str, Any] = {}
    if estimate is not None:
        numbers = {key: value for key, value in asdict(estimate).items() if key != "noise_ratio"}
    elif dark is not None:
        numbers = {"offset_adu": asdict(dark.offset_adu), "noise_adu": asdict(dark.noise_adu)}
    return {**numbers, "bad_pixels": None if bad is None else int(bad.sum())}


def _grey_value(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError("must be a number")
    return value


def _number(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError("must be a whole number, from 0")
    return int(text)
