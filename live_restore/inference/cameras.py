"""Which camera recorded a stack, among those of the settings. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from live_restore.inference.channel_patterns import matches
from live_restore.settings.camera import CameraSettings, OneOfSeveralCameras
from live_restore.stack import Mask


@dataclass(frozen=True)
class KnownCamera:
    """A camera of the settings, and its map of bad pixels (Y, X), where it has one."""

    settings: CameraSettings
    bad_pixels: Mask | None = None

    @property
    def serial(self) -> str:
        """Its serial number; "" where the settings give none."""
        return self.settings.serial if isinstance(self.settings, OneOfSeveralCameras) else ""

    @property
    def channels(self) -> tuple[str, ...]:
        """Patterns of the channels that it records."""
        return self.settings.channels if isinstance(self.settings, OneOfSeveralCameras) else ("*",)

    @property
    def described(self) -> str:
        """Where in the settings it stands, for people.

        >>> numbers = {"gain_adu_per_e": 2, "offset_adu": 100, "read_noise_e": 1}
        >>> KnownCamera(CameraSettings(**numbers)).described
        '[camera]'
        >>> KnownCamera(OneOfSeveralCameras(**numbers, serial="A1", channels=("GFP",))).described
        '[[cameras]] serial "A1", channels "GFP"'
        """
        if not isinstance(self.settings, OneOfSeveralCameras):
            return "[camera]"
        serial = f' serial "{self.serial}",' if self.serial else ""
        return f"[[cameras]]{serial} channels {', '.join(map(_quoted, self.channels))}"


@dataclass(frozen=True)
class CameraChoice:
    """Which camera recorded a stack.

    ``camera`` is ``None`` where that is not known: ``unknown_because`` says why.
    """

    camera: KnownCamera | None = None
    unknown_because: str = ""


def choose_camera(
    cameras: Sequence[KnownCamera], channel: str, number: int, serial: str
) -> CameraChoice:
    """Return the camera that belongs to a channel and a serial number.

    One with that serial number goes before those without any, and one that names the channel before
    those that record it because they record every channel ("*"). Where two are left that could be
    meant, none is.

    Parameters
    ----------
    cameras
        Those of the settings.
    channel, number
        Name and number (from 0) of the channel.
    serial
        By the metadata of the stack, "" where they do not tell; then cameras with any number can
        be meant.

    Examples
    --------
    >>> numbers = {"gain_adu_per_e": 2, "offset_adu": 100, "read_noise_e": 1}
    >>> one, other = (KnownCamera(OneOfSeveralCameras(**numbers, serial=s)) for s in "AB")
    >>> choose_camera([one, other], "GFP", 0, "B").camera is other
    True
    >>> choose_camera([one, other], "GFP", 0, "").unknown_because
    'two of [[cameras]] could be meant: serial "A", channels "*"; serial "B", channels "*"'
    >>> choose_camera([one, other], "GFP", 0, "C").unknown_because
    'no camera of the settings has the serial number "C"'
    """
    meant: dict[tuple[bool, bool], list[KnownCamera]] = {}
    for camera in cameras:
        right = not serial or camera.serial in ("", serial)
        patterns = [each for each in camera.channels if matches(each, channel, number)]
        if right and patterns:
            exact = bool(serial) and camera.serial == serial
            named = any(each.strip("*") for each in patterns)
            meant.setdefault((exact, named), []).append(camera)
    if not meant:
        if serial and any(camera.serial for camera in cameras):
            return CameraChoice(None, f'no camera of the settings has the serial number "{serial}"')
        return CameraChoice(None, f'no camera of the settings records the channel "{channel}"')
    best = meant[max(meant)]
    if len(best) == 1:
        return CameraChoice(best[0])
    names = "; ".join(each.described.removeprefix("[[cameras]] ") for each in best[:3])
    how_many = "two" if len(best) == 2 else str(len(best))
    return CameraChoice(None, f"{how_many} of [[cameras]] could be meant: {names}")


def _quoted(name: str) -> str:
    return f'"{name}"'
