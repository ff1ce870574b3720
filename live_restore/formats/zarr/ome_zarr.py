"""OME-Zarr 0.4 and 0.5: as pymmcore-plus writes it, live, and finished acquisitions of any program.

pymmcore-plus writes each plane as one chunk, under a temporary name that is then replaced: a chunk
that exists is whole. Where one chunk holds several planes it may be written several times, so there
only quiet can show it, and the evidence says so.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection
from dataclasses import replace
from itertools import islice
from pathlib import Path
from types import MappingProxyType

from live_restore.errors import (
    StackBusyError,
    StackChangedError,
    StackUnreadableError,
    one_line,
)
from live_restore.files.raw_data import names_in, new_volume, opened, read_at
from live_restore.files.values import (
    BEARABLE_BYTES,
    bearable_bytes,
)
from live_restore.formats.acquisition_format import (
    AcquisitionInfo,
    AcquisitionPlan,
    AcquisitionState,
    StackEvidence,
)
from live_restore.formats.own_files import ForeignFiles
from live_restore.formats.plan import IntendedPlan, Ledger, SettingsPlan
from live_restore.formats.planes import MAX_PROBLEMS, Problems, require_pixels, require_whole
from live_restore.formats.zarr.arrays import Array, ZarrError
from live_restore.formats.zarr.chunks import flat_chunks, nested_chunks
from live_restore.formats.zarr.groups import (
    Stamp,
    array_in,
    attributes_of,
    inside,
    stamp_of,
    why_unread,
)
from live_restore.formats.zarr.metadata import (
    Image,
    OmeZarrError,
    RunFacts,
    parse_image,
    series,
    with_order,
)
from live_restore.stack import StackIndex, Volume

MAX_POSITIONS = 10_000
"""Images of one acquisition that are followed."""


class _Image:
    """One position: its array, and which of its chunks are there."""

    def __init__(self, folder: Path, position: int, name: str) -> None:
        self.folder, self.position, self.name = folder, position, name
        self.stamps: tuple[Stamp | None, ...] = ()
        self.image: Image | None = None
        self.array: Array | None = None
        self.array_folder = folder
        self.facts = RunFacts()
        self.ledger = Ledger()
        self.tiles: dict[tuple[int, ...], int] = {}
        self.done: set[tuple[int, ...]] = set()
        self.planes = 0


class OmeZarrFormat:
    """Folders with ``zarr.json`` or ``.zattrs`` whose attributes are OME's."""

    name = "ome-zarr"

    def recognises(self, folder: Path, names: Collection[str]) -> bool:  # noqa: ARG002
        """Return whether there are such files."""
        return "zarr.json" in names or ".zattrs" in names or ".zgroup" in names

    def goes_on(self, folder: Path, names: Collection[str]) -> bool:
        """Return whether there are such files."""
        return self.recognises(folder, names)

    def follow(self, folder: Path) -> OmeZarrFollower:
        """Return a follower."""
        return OmeZarrFollower(folder)


class OmeZarrFollower:
    """Follows one acquisition saved as OME-Zarr."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._problems = Problems()
        self._foreign = ForeignFiles(folder)
        self._images: dict[str, _Image] = {}
        self._evidence: dict[StackIndex, StackEvidence] = {}
        self._unusable: dict[str, str] = {}

    def poll(self, *, over: bool = False, plan: AcquisitionPlan | None = None) -> AcquisitionState:
        """Return what is there now."""
        unread: dict[str, str] = {}
        for position, path in enumerate(self._paths()[:MAX_POSITIONS]):
            if path in self._unusable:
                continue
            try:
                if path not in self._images:
                    self._images[path] = _Image(inside(self._folder, path), position, path)
                image = self._images[path]
                self._look(image)
                if image.array is None:
                    unread[path] = why_unread(image.folder, image.array_folder)
            except (StackChangedError, StackBusyError):
                continue  # not made yet, gone, or locked for a moment
            except (OmeZarrError, ZarrError, StackUnreadableError) as error:
                what = error.what if isinstance(error, StackUnreadableError) else error
                self._problems.add(f"{path or self._folder.name}: {what}")
                # Of a path that may not be followed the line above is all that is told.
                self._unusable[path] = one_line(what) if path in self._images else ""
                self._images.pop(path, None)
        images = [image for image in self._images.values() if image.array is not None]
        ended, why = self._ended(images)
        stacks: dict[StackIndex, StackEvidence] = {}
        for image in images:
            assert image.image is not None
            assert image.array is not None
            found = image.ledger.evidence(plan or self._plan(image), over or ended is True)
            shared = image.image.planes_share_chunks(image.array.chunks)
            for stack_index, evidence in found.items():
                if shared:
                    evidence = replace(evidence, may_change=True)
                self._evidence[stack_index] = evidence
                stacks[stack_index] = evidence
        self._foreign.look(names_in(self._folder)[0])
        lost = {path: why for path, why in (self._unusable | unread).items() if path and why}
        state = AcquisitionState(self._info(images), MappingProxyType(stacks), ended, why)
        return replace(
            state,
            problems=self._problems.lines,
            foreign=self._foreign.names,
            unusable=dict(islice(lost.items(), MAX_PROBLEMS)),
        )

    def read(self, stack_index: StackIndex) -> Volume:
        """Return a stack, (Z, Y, X)."""
        indices = require_whole(stack_index, self._evidence.get(stack_index), self._folder)
        image, array, axes = self._holding(stack_index)
        height, width = array.shape[-2:]
        shape, dtype = (len(indices), height, width), array.dtype.newbyteorder("=")
        needed = math.prod(shape) * dtype.itemsize
        if needed > BEARABLE_BYTES and needed > bearable_bytes(
            self._stored(image, stack_index, indices)
        ):
            raise StackUnreadableError(
                f"its chunks are too small for a stack of {' x '.join(map(str, shape))} voxels",
                image.array_folder,
                "copy the acquisition again",
            )
        volume = new_volume(shape, dtype, image.array_folder)
        for index in axes.chunks_of(array, stack_index, indices):
            try:
                part = array.decode(self._chunk(image, array, index))
            except ZarrError as error:
                raise StackUnreadableError(
                    str(error), image.array_folder / array.key(index), "copy the acquisition again"
                ) from error
            axes.place_chunk(volume, part, array, index, stack_index, indices)
        require_pixels(stack_index, volume, self._folder)
        return volume

    def _stored(self, image: _Image, stack_index: StackIndex, indices: tuple[int, ...]) -> int:
        """Return how many bytes the chunks of a stack have on disk."""
        assert image.image is not None
        assert image.array is not None
        stored = 0
        for index in image.image.chunks_of(image.array, stack_index, indices):
            with opened(image.array_folder / image.array.key(index)) as (_, size):
                stored += size
        return stored

    def _holding(self, stack_index: StackIndex) -> tuple[_Image, Array, Image]:
        """Return the image that holds a stack."""
        for image in self._images.values():
            if image.array is not None and image.image is not None:
                in_a_row = image.image.order is not None
                if in_a_row or image.position == stack_index.position:
                    return image, image.array, image.image
        raise StackChangedError(
            f"{stack_index.label} cannot be used any more", self._folder, "look at it"
        )

    # Metadata -------------------------------------------------------------------------------------

    def _paths(self) -> list[str]:
        """Return the images of the acquisition, relative to its folder; "" is the folder itself."""
        attributes = attributes_of(self._folder)
        if attributes is None:
            if not self._folder.is_dir():
                raise StackChangedError("the folder vanished", self._folder, "put it back")
            return []
        if "plate" in attributes:
            raise StackUnreadableError(
                "an OME-Zarr plate (HCS), which is not read", self._folder,
                "give live-restore the images of its wells, one by one",
            )  # fmt: skip
        if "multiscales" in attributes:
            return [""]
        if "bioformats2raw.layout" not in attributes:
            return []
        try:
            inner = attributes_of(inside(self._folder, "OME")) or {}
        except OmeZarrError as error:
            raise StackUnreadableError(str(error), self._folder, "copy it again") from error
        listed = series(inner)
        if listed:
            return listed
        numbers = [name for name in names_in(self._folder)[1] if re.fullmatch(r"\d{1,6}", name)]
        return sorted(numbers, key=int)

    def _look(self, image: _Image) -> None:
        """Read what changed in one image's metadata, and find its new chunks."""
        stamps = (stamp_of(image.folder), stamp_of(image.array_folder))
        if image.array is None or stamps != image.stamps:
            attributes = attributes_of(image.folder)
            if attributes is None or "multiscales" not in attributes:
                return
            image.image = parse_image(attributes)
            image.array_folder = inside(image.folder, image.image.path)
            array = array_in(image.array_folder)
            if array is None:
                return
            image.image.check(array)
            image.facts.read(attributes)
            array = self._in_order(image, array)
            if image.array is not None and array.grid != image.array.grid:
                # It grew: branches that were complete may not be any more.
                image.done.clear()
                image.tiles.clear()
                image.planes = 0
            image.array, image.stamps = array, stamps
        assert image.array is not None
        self._find_chunks(image, image.array)

    def _in_order(self, image: _Image, array: Array) -> Array:
        """Return the array; where its frames lie in one row, as long as it will become."""
        assert image.image is not None
        order = image.facts.order
        if order is None or image.image.axes != ("t", "y", "x") or len(order.frames) < 2:
            return array
        if array.shape[0] > len(order.frames):
            self._problems.add(
                f"{array.shape[0]} frames, where the sequence has {len(order.frames)}"
            )
            return array
        image.image = with_order(image.image, order)
        # The writer records the length only at the end.
        return replace(array, shape=(len(order.frames), *array.shape[1:]))

    def _plan(self, image: _Image) -> AcquisitionPlan:
        assert image.image is not None
        assert image.array is not None
        if image.image.order is not None:
            return image.image.order.plan
        sizes = image.image.sizes(image.array.shape)
        if len(image.facts.channels) == sizes["c"]:
            return SettingsPlan(sizes["z"], image.facts.channels, sizes["t"])
        return IntendedPlan(sizes["z"], sizes["t"] * sizes["c"])

    def _info(self, images: list[_Image]) -> AcquisitionInfo:
        info = AcquisitionInfo(self._folder.name, OmeZarrFormat.name)
        if not images:
            return info
        first = images[0]
        assert first.image is not None
        assert first.array is not None
        stacks = sum(self._plan(image).stacks() or 0 for image in images)
        height, width = first.array.shape[-2:]
        return replace(
            info,
            dtype=first.array.dtype.newbyteorder("="),
            shape_yx=(height, width),
            channel_names=first.image.channel_names or first.facts.channel_names,
            position_names=self._position_names(images),
            voxel=first.image.voxel,
            time_increment_s=first.image.interval_s,
            exposure_ms=first.facts.exposure_ms,
            stacks_planned=stacks or None,
        )

    def _position_names(self, images: list[_Image]) -> tuple[str, ...]:
        """Return the names in the sequence, else the images' own, else their paths."""
        planned = images[0].facts.position_names
        if images[0].image is not None and images[0].image.order is not None:
            return planned if any(planned) else ()
        if len(planned) == len(self._images) and any(planned):
            return planned
        named = {i.position: (i.image.name if i.image else "") or i.name for i in images}
        return tuple(named.get(number, "") for number in range(max(named) + 1))

    def _ended(self, images: list[_Image]) -> tuple[bool | None, str]:
        """ome-writers adds a record of every frame when it closes."""
        counts = [image.facts.frames for image in images]
        if not images or not any(image.facts.writer for image in images):
            return None, "this format has no end marker"
        if all(n and n >= i.planes > 0 for n, i in zip(counts, images, strict=True)):
            return True, "the writer has listed every frame, which it does at the end"
        return False, "the writer has not listed its frames yet"

    # Chunks ---------------------------------------------------------------------------------------

    def _find_chunks(self, image: _Image, array: Array) -> None:
        base = image.array_folder
        if array.separator == "/":
            new = nested_chunks(
                base / array.prefix if array.prefix else base, (), array, image.done
            )
        else:
            new = flat_chunks(base, array, image.done)
        assert image.image is not None
        for index in new:
            prefix, needed = index[:-2], array.grid[-2] * array.grid[-1]
            parts = image.tiles.get(prefix, 0) + 1
            image.tiles[prefix] = parts
            if parts == needed:
                del image.tiles[prefix]
                for stack_index, z in image.image.covered(array, prefix):
                    image.planes += 1
                    if image.image.order is None:
                        stack_index = stack_index._replace(position=image.position)
                    image.ledger.add(stack_index, z)

    def _chunk(self, image: _Image, array: Array, index: tuple[int, ...]) -> bytes:
        path = image.array_folder / array.key(index)
        with opened(path) as (stream, size):
            limit = array.chunk_bytes + array.chunk_bytes // 4 + 65536
            if size > limit:
                raise StackUnreadableError("larger than a chunk can be", path, "copy it again")
            return read_at(stream, 0, size)
