"""A Zarr store on disk in which every key appears whole; needs the package ``zarr``."""

from __future__ import annotations

from pathlib import Path

from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from live_restore.errors import OutputError
from live_restore.outputs import disk
from live_restore.outputs.publish import publishing


class PublishingStore(LocalStore):
    """A folder whose files are written aside, synced, read back, and then given their names.

    zarr's own store renames too, but neither syncs nor checks.

    Parameters
    ----------
    root
        The folder of the group.
    aside
        Folder on the same disk for temporary files: none is ever inside the group.
    """

    def __init__(self, root: Path, aside: Path) -> None:
        super().__init__(root)
        self._aside = aside

    async def set(self, key: str, value: Buffer) -> None:
        """Publish one key; raises ``OutputError``."""
        data = value.to_bytes()

        def check(path: Path) -> None:
            if path.read_bytes() != data:
                raise OutputError("does not read back as written", path, "check that disk")

        with (
            publishing(self.root / key, check=check, aside=self._aside) as temporary,
            disk.current.open(temporary, "wb") as file,
        ):
            file.write(data)
