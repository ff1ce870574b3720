"""Files of kernels: an archive beside the model, read in bounded memory and checked to the byte.

A file of kernels is a program: the card runs whatever is in it. Digests show that it is whole, and
which model it is for, not who made it.
"""

from __future__ import annotations

import errno
import hashlib
import io
import zipfile
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from live_restore.errors import DeviceError
from live_restore.files.archives import BAD_ZIP
from live_restore.files.reading import read_regular
from live_restore.files.values import NotJsonError, json_object
from live_restore.inference.backends.kernels.plan import FORMAT, MANIFEST, Manifest, Program

SUFFIX = ".kernels.zip"
# Those of `fast` and `standard` have 2 MB; the plan of 100 groups of 100 blocks would have 20.
_MOST_BYTES = 1 << 27
_MOST_MANIFEST_BYTES = 1 << 22


def kernels_beside(model: Path) -> Path:
    """Return where the kernels of a model are looked for.

    Examples
    --------
    >>> kernels_beside(Path("models/fast.onnx")).name
    'fast.kernels.zip'
    """
    return model.with_name(model.stem + SUFFIX)


@dataclass(frozen=True)
class KernelFile:
    """A file of kernels for one model, whole.

    Parameters
    ----------
    path
        For messages.
    manifest
        What it says.
    content
        Its members, by name.
    """

    path: Path
    manifest: Manifest
    content: dict[str, bytes]

    @property
    def remedy(self) -> str:
        """What to do where it turns out to be damaged."""
        return _remedy(self.path)

    def capability_for(self, card: tuple[int, int]) -> str:
        """Return for which compute capability a card's programs were compiled.

        A program for 8.0 runs on 8.6, too; from 9.0 on Triton compiles for one capability alone
        (``sm_90a``; https://docs.nvidia.com/cuda/cuda-c-programming-guide, binary compatibility).

        Raises
        ------
        DeviceError
            There are none for it.
        """
        major, minor = card
        shared = set.intersection(*(set(each.cubins) for each in self.manifest.programs))
        there = sorted(shared, key=int)
        fitting = [
            each
            for each in there
            if divmod(int(each), 10) == card
            or (major == 8 and int(each) // 10 == 8 and int(each) % 10 <= minor)
        ]
        if not fitting:
            raise DeviceError(
                f"{self.path.name} holds kernels for compute capability "
                f"{', '.join(f'{int(each) / 10:.1f}' for each in there) or 'none'}, and this card "
                f"has {major}.{minor}",
                None,
                "compile them with a later version of live-restore-export",
            )
        return fitting[-1]

    def cubin(self, program: Program, capability: str) -> bytes:
        """Return a program's bytes."""
        return self.content[program.cubins[capability].file]


def read_kernels(path: Path, model_digest: str) -> KernelFile:
    """Return a model's kernels.

    Parameters
    ----------
    path
        The archive.
    model_digest
        SHA-256 (hex) of the ONNX model that is to be run.

    Raises
    ------
    DeviceError
        There is none, it is damaged, or it belongs to another model.
    """
    again = _remedy(path)
    try:
        members = _members(read_regular(path, _MOST_BYTES))
        manifest = _manifest(members)
        if manifest.model_sha256 != model_digest:
            raise DeviceError(
                f"{path.name} holds kernels of another model, {manifest.model_sha256[:12]}, not "
                f"{model_digest[:12]}",
                None,
                again,
            )
        _check_programs(manifest, members)
    except FileNotFoundError:
        raise DeviceError(
            f"{path.name} is not beside the model", None, again.replace("it again", "it")
        ) from None
    except _DamagedError as error:
        raise DeviceError(f"{path.name} is damaged ({error})", None, again) from None
    except OSError as error:
        why = "too large" if error.errno == errno.EFBIG else str(error.strerror)
        raise DeviceError(f"{path.name} cannot be read ({why})", None, again) from None
    return KernelFile(path, manifest, members)


def kernels_digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file of kernels, or "" where there is none to be read."""
    try:
        return hashlib.sha256(read_regular(path, _MOST_BYTES)).hexdigest()
    except OSError:
        return ""


def _remedy(path: Path) -> str:
    return f"compile it again with live-restore-export kernels {path.name.removesuffix(SUFFIX)}"


class _DamagedError(Exception):
    """Why, in a few words."""


def _manifest(members: dict[str, bytes]) -> Manifest:
    content = members.get(MANIFEST, b"")
    if len(content) > _MOST_MANIFEST_BYTES:
        raise _DamagedError(f"{MANIFEST} is too large")
    try:
        said = json_object(content).get("format")  # and bearable, before anything is made of it
    except NotJsonError as error:
        raise _DamagedError(f"{MANIFEST}: {error}") from None
    if said != FORMAT:
        raise _DamagedError(f"its format is {str(said)[:40]!r}, not {FORMAT}")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        why = first["msg"].removeprefix("Value error, ")
        raise _DamagedError((f"{where}: {why}" if where else why)[:200]) from None


def _check_programs(manifest: Manifest, members: dict[str, bytes]) -> None:
    for program in manifest.programs:
        for cubin in program.cubins.values():
            if cubin.file not in members:
                raise _DamagedError(f"{cubin.file} is missing")
            if hashlib.sha256(members[cubin.file]).hexdigest() != cubin.sha256:
                raise _DamagedError(f"{cubin.file} has another digest")


def _members(data: bytes) -> dict[str, bytes]:
    """Return what is in an archive; nothing in it is compressed, so that nothing can swell."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = archive.infolist()
            if any(each.compress_type != zipfile.ZIP_STORED for each in entries):
                raise _DamagedError("something in it is compressed")
            # Entries may overlap: a small file may name the same bytes a thousand times.
            if sum(each.file_size for each in entries) > len(data):
                raise _DamagedError("it claims more than it has")
            return {each.filename: archive.read(each) for each in entries}
    except (*BAD_ZIP, RuntimeError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0][:120]
        raise _DamagedError(reason) from None
