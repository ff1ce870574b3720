"""An acquisition folder that is being followed, safe to use from several threads."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path

from live_restore.errors import StackChangedError
from live_restore.formats.acquisition_format import (
    AcquisitionFormat,
    AcquisitionState,
    RecordingFollower,
)
from live_restore.formats.script_plan import PlanReader
from live_restore.formats.table import acquisition_format_for
from live_restore.recording import PlaneMetadata
from live_restore.stack import StackIndex, Volume


class Following:
    """An acquisition folder and its follower, one call at a time.

    Parameters
    ----------
    folder
        The folder (absolute).
    acquisition_format
        Its format.
    """

    def __init__(self, folder: Path, acquisition_format: AcquisitionFormat) -> None:
        self.folder = folder
        self._follower = acquisition_format.follow(folder)
        # What the script that records it announced, where one did.
        self._plan = PlanReader(folder)
        self._identity: tuple[int, int] | None = None
        self._lock = threading.Lock()

    def poll(self, *, over: bool = False) -> AcquisitionState:
        """Return what is there now; see ``Follower.poll``.

        Raises
        ------
        StackChangedError
            The folder vanished, or is another one by now.
        StackBusyError, StackUnreadableError
            As ``Follower.poll``.
        """
        with self._lock:
            self._require_the_same()
            return self._follower.poll(over=over, plan=self._plan.read())

    def read(self, stack_index: StackIndex) -> Volume:
        """Return a stack as of the last poll, (Z, Y, X); see ``Follower.read``."""
        with self._lock:
            return self._follower.read(stack_index)

    def recorded(self, stack_index: StackIndex) -> tuple[PlaneMetadata, ...]:
        """Return how the planes of a stack were recorded, empty where the format does not say."""
        with self._lock:
            follower = self._follower
            if isinstance(follower, RecordingFollower):
                return follower.recorded(stack_index)
            return ()

    def _require_the_same(self) -> None:
        # A follower remembers where planes lie; another acquisition of that name has others there.
        try:
            status = self.folder.stat()
        except OSError as error:
            raise StackChangedError(
                f"cannot be looked at ({error.strerror})", self.folder, "put it back"
            ) from error
        identity = (status.st_dev, status.st_ino)
        if self._identity not in (None, identity):
            raise StackChangedError("is another folder by now", self.folder)
        self._identity = identity


class Followings:
    """The acquisitions that somebody has followed last, by their folders.

    Parameters
    ----------
    formats
        Formats of acquisitions.
    most
        How many are kept.
    known
        Returns the name of the format that a folder was found to have before, "" for none.
    """

    def __init__(
        self,
        formats: Sequence[AcquisitionFormat],
        most: int,
        known: Callable[[Path], str] = lambda _: "",
    ) -> None:
        self._formats = formats
        self._known = known
        self._most = most
        self._kept: OrderedDict[Path, Following] = OrderedDict()

    def __contains__(self, folder: Path) -> bool:
        return folder in self._kept

    def of(self, folder: Path) -> Following | None:
        """Return what follows a folder, ``None`` where that is no acquisition (any more, yet)."""
        following = self._kept.pop(folder, None)
        if following is None:
            chosen = acquisition_format_for(folder, self._formats, self._known(folder))
            if chosen is None:
                return None
            following = Following(folder, chosen)
        self._kept[folder] = following
        if len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return following

    def drop(self, folder: Path) -> None:
        """Begin anew with a folder that is another one by now."""
        self._kept.pop(folder, None)
