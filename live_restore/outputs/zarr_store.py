"""A Zarr store on disk in which every key appears whole; needs the package ``zarr``."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

from zarr.abc.store import Store
from zarr.core.buffer import Buffer
from zarr.core.common import AccessModeLiteral
from zarr.storage import LocalStore

from live_restore.errors import OutputError
from live_restore.files import disk
from live_restore.files.publish import disk_errors, publishing


class PublishingStore(LocalStore):
    """A folder whose files are written aside, synced, read back, and then given their names.

    zarr's own store renames too, but neither syncs nor checks. Nor does it mind that its folder is
    moved away while it writes: it makes another one, of which the first keys are missing, among
    them the one that says whose it is.

    Parameters
    ----------
    root
        The folder of the group, which is there.
    aside
        Folder on the same disk for temporary files: none is ever inside the group.
    """

    def __init__(self, root: Path, aside: Path) -> None:
        super().__init__(root)
        self._aside = aside
        self._refused: OutputError | None = None

    async def _open(self, *, mode: AccessModeLiteral | None = None) -> None:
        """Take the folder as it is."""
        del mode
        await Store._open(self)

    async def set(self, key: str, value: Buffer) -> None:
        """Publish one key; raises ``OutputError``.

        After the first that the disk refused, none is tried: zarr writes from a thread of its own,
        which goes on with the others while the caller already cleans up behind the first.
        """
        if self._refused is not None:
            raise self._refused
        data, final = value.to_bytes(), self.root / key

        def check(path: Path) -> None:
            if path.read_bytes() != data:
                raise OutputError("does not read back as written", path, "check that disk")

        try:
            with disk_errors(final):
                self._make_folders_of(key)
            with (
                publishing(final, check=check, aside=self._aside, beside=True) as temporary,
                disk.current.open(temporary, "wb") as file,
            ):
                file.write(data)
        except OutputError as error:
            self._refused = error
            raise

    def _make_folders_of(self, key: str) -> None:
        """Make the folders of a key below that of the group, never that one."""
        folder = self.root
        for part in PurePosixPath(key).parts[:-1]:
            above, folder = folder, folder / part
            if not folder.exists():
                folder.mkdir(exist_ok=True)
                disk.current.sync_folder(above)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Publish one key unless it is there; raises ``OutputError``.

        zarr's own would write it in another thread, unsynced, and while somebody cleans up.
        """
        if not (self.root / key).exists():
            await self.set(key, value)
