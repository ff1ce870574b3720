"""Raw stacks for people to look at, through the formats that the daemon reads them with."""

from __future__ import annotations

from collections import OrderedDict
from pathlib import Path

import numpy as np

from live_restore.errors import StackBusyError, StackChangedError, StackError, StackUnreadableError
from live_restore.formats.file_format import Arriving, Complete, GrowingFileFormat
from live_restore.formats.following import Following, Followings
from live_restore.formats.table import format_for, make_acquisition_formats, make_formats
from live_restore.settings.model import FilesSettings
from live_restore.stack import FileStacks, StackIndex, StackKey, Volume

_FOLLOWED = 4
_FILES_KNOWN = 256


class RawVolumes:
    """Reads raw stacks; one at a time.

    Parameters
    ----------
    root
        The watched folder.
    files
        How files are understood, as the daemon does, or its stacks would be other ones.
    """

    def __init__(self, root: Path, files: FilesSettings | None = None) -> None:
        self._root = root
        self._formats = make_formats(files=files)
        pattern = None if files is None else files.plane_pattern
        self._followings = Followings(make_acquisition_formats(plane_pattern=pattern), _FOLLOWED)
        self._files: OrderedDict[Path, tuple[FileStacks, bool]] = OrderedDict()

    def read(self, key: StackKey, at: StackIndex) -> Volume:
        """Return the voxels (Z, Y, X) of one stack.

        Parameters
        ----------
        key
            The file, or which stack of an acquisition folder.
        at
            Which stack of a file.

        Raises
        ------
        LiveRestoreError
            It cannot be read, or not just now.
        """
        source = self._root / key.acquisition
        index = key.index
        if index is None:
            return self._read_file(source, at)
        fresh = source not in self._followings
        following = self._follow(source)
        try:
            if fresh:
                following.poll()
            return following.read(index)
        except StackError:
            # The follower knew the folder as it was, or has not seen this stack yet.
            self._followings.drop(source)
            following = self._follow(source)
            following.poll()
            return following.read(index)

    def _follow(self, source: Path) -> Following:
        following = self._followings.of(source)
        if following is None:
            raise StackBusyError("the raw data are not there", source.name, "put them back")
        return following

    def _read_file(self, source: Path, at: StackIndex) -> Volume:
        chosen = format_for(source, self._formats)
        if chosen is None:
            raise StackUnreadableError("is of no format that can be read", source.name)
        for attempt in range(2):
            known = self._files.pop(source, None)
            if known is None:
                found = chosen.inspect(source)
                if isinstance(found, Arriving | Complete) and found.stacks is not None:
                    known = found.stacks.file_stacks, True
                elif isinstance(found, Complete):
                    known = found.file_stacks, False
                else:
                    raise StackBusyError("is not complete", source.name, "wait for the rest of it")
            self._files[source] = known
            if len(self._files) > _FILES_KNOWN:
                self._files.popitem(last=False)
            try:
                file_stacks, in_parts = known
                with (
                    chosen.open_growing(file_stacks)
                    if in_parts and isinstance(chosen, GrowingFileFormat)
                    else chosen.open(file_stacks)
                ) as reader:
                    return np.ascontiguousarray(reader.read(at))
            except StackChangedError:
                self._files.pop(source, None)
                if attempt:
                    raise
        raise AssertionError("unreachable")
