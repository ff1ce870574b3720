"""What a worker is asked to restore and publish, and what it answers: texts and back. Pure."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

import numpy as np

from live_restore import errors
from live_restore._version import __version__
from live_restore.cluster.values import DamagedMessageError, made, plain
from live_restore.engine.job import Remainder
from live_restore.errors import LiveRestoreError
from live_restore.files.values import NotJsonError, json_object
from live_restore.inference.backends.session import Floats
from live_restore.journal.entry import GROWING, Entry
from live_restore.journal.states import State
from live_restore.outputs.output import Published
from live_restore.settings.camera import CameraSettings, TrustSettings
from live_restore.settings.model import LISTS, FilesSettings, InferenceSettings, Settings
from live_restore.settings.output import OutputSettings
from live_restore.settings.section import Section
from live_restore.stack import Fingerprint, StackIndex, StackKey

Value = TypeVar("Value")

_SECTIONS: dict[str, type[Section]] = {
    "files": FilesSettings,
    "inference": InferenceSettings,
    "camera": CameraSettings,
    "output": OutputSettings,
    "trust": TrustSettings,
}
# Whatever of the client's that concerns its own computer alone stays there.
_STAYS = {"inference": {"device", "threads", "gpu_memory_gb"}, "output": {"shared"}}


@dataclass(frozen=True)
class Archive:
    """What all tasks of an archive have in common.

    Parameters
    ----------
    root
        Its folder, as whoever asks calls it.
    recipe
        Of the results.
    settings
        Those that decide what is restored and where results go, in JSON.
    digests
        Of the models (SHA-256, hex), by their names in the settings.
    right_answers
        What a device must make of the known tile, by digest: float32, base64.
    version
        Who asks.
    """

    root: str
    recipe: str
    settings: str
    digests: dict[str, str]
    right_answers: dict[str, str]
    version: str = __version__

    def right_answer(self, digest: str) -> Floats:
        """Return the right answer of a model, flat; raises ``DamagedMessageError``."""
        try:
            content = base64.b64decode(self.right_answers[digest], validate=True)
            return np.frombuffer(content, "<f4").astype(np.float32)
        except (KeyError, ValueError, binascii.Error) as error:
            raise DamagedMessageError(f"it has no right answer ({error})") from None


def answer_text(answer: Floats) -> str:
    """Return a right answer as it travels."""
    return base64.b64encode(np.ascontiguousarray(answer, "<f4").tobytes()).decode("ascii")


@dataclass(frozen=True)
class Task:
    """A stack to restore, or a file of several.

    Parameters
    ----------
    acquisition
        File or acquisition folder, below the archive's, with slashes.
    index
        Position, time and channel of a stack of an acquisition.
    size, mtime_ns
        How it was found.
    growing
        Whether it is still being written.
    format
        Of an acquisition.
    """

    acquisition: str
    index: tuple[int, int, int] | None
    size: int
    mtime_ns: int
    growing: bool = False
    format: str = ""

    @classmethod
    def of(cls, entry: Entry, format_name: str) -> Task:
        """Return the task of an entry."""
        key, (size, mtime_ns) = entry.key, entry.fingerprint
        index = None
        if key.index is not None:
            position, time, channel = key.index
            index = int(position), int(time), int(channel)
        return cls(
            key.acquisition.as_posix(), index, int(size), int(mtime_ns), entry.growing, format_name
        )

    @property
    def key(self) -> StackKey:
        """Which it is; raises ``DamagedMessageError`` for one that would lie elsewhere."""
        path = PurePosixPath(self.acquisition)
        if path.is_absolute() or ".." in path.parts or Path(path).drive:
            raise DamagedMessageError(f"{self.acquisition} is not inside the archive")
        return StackKey(Path(path), None if self.index is None else StackIndex(*self.index))

    def entry(self) -> Entry:
        """Return it as an entry of a journal; raises ``DamagedMessageError``."""
        reason = GROWING if self.growing else ""
        return Entry(self.key, State.RUNNING, reason, Fingerprint(self.size, self.mtime_ns),
                     1, 0, "", 0.0, None)  # fmt: skip


@dataclass(frozen=True)
class PublishedThere:
    """A result, as :class:`Published`, with paths as text.

    ``relative``: to the archive's folder; else as whoever asked would call them.
    """

    image: str
    report: str
    relative: bool
    delay_s: float = 0.0
    seconds: dict[str, float] | None = None
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    doubt: str = ""
    device_warnings: tuple[str, ...] = ()
    stacks: int = 1
    voxels: int = 0
    less_light: str = ""
    renamed: bool = False

    def here(self, root: Path) -> Published:
        """Return it with paths of this computer."""
        image, report = (Path(each) for each in (self.image, self.report))
        if self.relative:
            image, report = (_joined(root, each) for each in (image, report))
        return Published(
            image, report, self.delay_s, self.seconds or {}, self.warnings, self.notes,
            self.doubt, self.device_warnings, self.stacks, self.voxels, self.less_light,
        )  # fmt: skip


def _joined(root: Path, relative: Path) -> Path:
    for part in relative.parts:
        root = root.parent if part == ".." else root / part
    return root


@dataclass(frozen=True)
class TaskAnswer:
    """What became of a task.

    Parameters
    ----------
    outcome
        "restored"; "there": it was before; "taken": another process has it just now; "error";
        "unsuited": this worker cannot do it, or sees other files; "sick": its device computes wrong
        numbers.
    result
        Where the result is.
    left, growing
        As in :class:`Remainder`: position, time, channel, state, reason.
    note
        What a person should know of the acquisition.
    error, what, remedy
        Class, sentence and remedy of an error.
    seen
        Size and time stamp of the file as the worker sees it, (0, 0) of a folder, ``None`` where it
        sees nothing.
    """

    outcome: str
    result: PublishedThere | None = None
    left: tuple[tuple[int, int, int, str, str], ...] = ()
    growing: bool = False
    note: str = ""
    error: str = ""
    what: str = ""
    remedy: str = ""
    seen: tuple[int, int] | None = None

    @property
    def remainder(self) -> Remainder:
        """What is not restored; raises ``DamagedMessageError``."""
        try:
            left = {StackIndex(*each[:3]): (State(each[3]), each[4]) for each in self.left}
        except ValueError as error:
            raise DamagedMessageError(f"a stack in no state ({error})") from None
        return Remainder(left, self.growing)

    def as_error(self) -> LiveRestoreError:
        """Return the error that it tells of."""
        kind = getattr(errors, self.error, None)
        if not (isinstance(kind, type) and issubclass(kind, LiveRestoreError)):
            kind = LiveRestoreError
        return kind(self.what, None, self.remedy)


def left_of(remainder: Remainder) -> tuple[tuple[int, int, int, str, str], ...]:
    """Return what of a file is not restored as it travels."""
    return tuple((*index, state.value, why) for index, (state, why) in remainder.left.items())


def settings_text(settings: Settings) -> str:
    """Return what of some settings decides about results, as it travels."""
    sections: dict[str, Any] = {}
    for name in _SECTIONS:
        section: Section | None = getattr(settings, name)
        if section is not None:
            sections[name] = section.model_dump(mode="json", exclude=_STAYS.get(name, set()))
    for name in LISTS:
        sections[name] = [each.model_dump(mode="json") for each in getattr(settings, name)]
    return json.dumps(sections)


def settings_of(text: str, own: Settings, here: Callable[[str], Path]) -> Settings:
    """Return the settings to restore with: those that came, and what concerns this computer.

    Parameters
    ----------
    text
        From :func:`settings_text`, or from anybody.
    own
        This computer's.
    here
        Returns what a path there is called here.

    Raises
    ------
    DamagedMessageError
        They are none.
    ValueError
        They do not hold here.
    """
    came = _object(text)
    of_this_computer = own.inference.model_dump(include=_STAYS["inference"])
    came["inference"] = {**_table(came, "inference"), **of_this_computer}
    output = came["output"] = dict(_table(came, "output"))
    template = str(output.get("template", ""))
    if not template.startswith("{folder}"):
        output["template"] = here(template).as_posix()
    for camera in [came.get("camera"), *_list(came, "cameras")]:
        if isinstance(camera, dict) and camera.get("bad_pixels") is not None:
            camera["bad_pixels"] = str(here(str(camera["bad_pixels"])))
    # Not Settings(...): variables of this computer's environment would override what came.
    sections = {
        name: kind.model_validate(came[name]) for name, kind in _SECTIONS.items() if came.get(name)
    }
    lists = {
        name: tuple(kind.model_validate(each) for each in _list(came, name))
        for name, kind in LISTS.items()
    }
    return own.model_copy(update={"camera": None, **sections, **lists})


def to_text(value: Archive | Task | TaskAnswer) -> str:
    """Return what travels."""
    return json.dumps(plain(value, []))


def from_text(kind: type[Value], text: str) -> Value:
    """Return what :func:`to_text` was given; raises ``DamagedMessageError``."""
    return made(kind, _object(text), ())


def version_in(text: str) -> str:
    """Return who asks, also of an archive that only another version understands."""
    return str(_object(text).get("version", "?"))


def _object(text: str) -> dict[str, Any]:
    try:
        return dict(json_object(text))
    except NotJsonError as error:
        raise DamagedMessageError(f"it is no JSON ({error})") from None


def _table(values: Mapping[str, Any], name: str) -> dict[str, Any]:
    found = values.get(name)
    if not isinstance(found, dict):
        raise DamagedMessageError(f"it has no table {name}")
    return found


def _list(values: Mapping[str, Any], name: str) -> list[Any]:
    found = values.get(name)
    if not isinstance(found, list):
        raise DamagedMessageError(f"it has no list {name}")
    return found
