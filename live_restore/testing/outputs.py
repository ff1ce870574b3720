"""What every output must do: subclass :class:`OutputCompliance`, and pytest runs it.

Needs pytest. The class says what a subclass has to provide.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from pathlib import Path

import numpy as np
import pytest

from live_restore.errors import OutputError
from live_restore.files import disk
from live_restore.files.naming import TEMPORARY_SUFFIX, results_of_acquisition, template_in
from live_restore.formats.acquisition_format import AcquisitionInfo
from live_restore.outputs.output import (
    AcquisitionStack,
    FinishedStack,
    Output,
    Published,
    ResultPath,
    ResultRequest,
)
from live_restore.outputs.provenance import is_current, restored_pixels
from live_restore.stack import FileStacks, Fingerprint, StackIndex, Units, Volume, VoxelSize
from live_restore.testing.bad_disks import (
    CrashError,
    FullDisk,
    RottingDisk,
    SlowDisk,
    contents_of,
    names_in,
    polling,
)
from live_restore.testing.results import (
    FIRST,
    Described,
    finished_stack,
    publish_all,
    some_volume,
)

DTYPES = ("uint8", "uint16", "float32")
RECIPE, OTHER_RECIPE = "a" * 64, "b" * 64
VOXEL = VoxelSize(0.5, 0.1, 0.2)
CHANNELS = ("DAPI", "GFP \u03b1")
SHAPE_ZYX = (3, 5, 6)
LARGE_SHAPE_ZYX = (8, 64, 64)
# Refusals of the disk that are played: more than writing, naming and reporting one stack needs.
MOST_DISK_CALLS = 24
ACQUISITION_INDICES = tuple(
    StackIndex(position, time_point, channel)
    for position in range(2)
    for time_point in range(2)
    for channel in range(len(CHANNELS))
)


class OutputCompliance:
    """Subclass it as ``class TestMine(OutputCompliance)`` and provide what raises here.

    Large because a method is a promise of ``Output``, by its name.

    Examples
    --------
    ::

        class TestOmeTiff(OutputCompliance):
            def output(self):
                return OmeTiffOutput()

            def read(self, image, index):
                ...

            def described(self, image):
                ...
    """

    takes_files = True
    """Whether one result may hold the stacks of a whole file. Every output takes single stacks of
    acquisition folders."""
    grows = False
    """Whether an image holds further stacks that read as zeros until they are written."""

    # To provide -------------------------------------------------------------------------------

    def output(self) -> Output:
        """Return the output under test."""
        raise NotImplementedError

    def read(self, image: Path, index: StackIndex) -> Volume:
        """Return one stack (Z, Y, X) of an image, read by somebody else's reader.

        ``index`` counts from the first stack of the image: of a file, as in the file; of an image
        that ``grows``, as in the acquisition; else it is ``FIRST``.
        """
        raise NotImplementedError

    def described(self, image: Path) -> Described:
        """Return voxel size and channel names, read by somebody else's reader."""
        raise NotImplementedError

    # What it is tested with -------------------------------------------------------------------

    def stack_request(
        self,
        folder: Path,
        index: StackIndex = FIRST,
        *,
        recipe: str = RECIPE,
        dtype: str = "uint16",
        shape_zyx: tuple[int, int, int] = SHAPE_ZYX,
        units: Units = "camera",
    ) -> ResultRequest:
        """Return the request for one stack of an acquisition folder."""
        acquisition = folder / "run_1"
        info = AcquisitionInfo("run_1", "any", channel_names=CHANNELS, voxel=VOXEL)
        stacks = FileStacks(
            acquisition / index.label,
            Fingerprint(1000 + index.time, 10**18),
            positions=1,
            times=1,
            channels=1,
            shape_zyx=shape_zyx,
            dtype=np.dtype(dtype),
            voxel=VOXEL,
            channel_names=(CHANNELS[index.channel],),
            first_channel=index.channel,
        )
        return ResultRequest(
            stacks,
            template_in(results_of_acquisition(acquisition)),
            "fast",
            recipe,
            "s" * 64,
            units,
            AcquisitionStack(info, index),
        )

    def file_request(self, folder: Path, dtype: str = "uint16") -> ResultRequest:
        """Return the request for a file of two positions, two times and two channels."""
        stacks = FileStacks(
            folder / "cell.tif",
            Fingerprint(1000, 10**18),
            positions=2,
            times=2,
            channels=len(CHANNELS),
            shape_zyx=SHAPE_ZYX,
            dtype=np.dtype(dtype),
            voxel=VOXEL,
            axes="TCZYX",
            channel_names=CHANNELS,
        )
        return ResultRequest(stacks, "{folder}/restored/{name}.ome.tif", "fast", RECIPE, "s" * 64)

    def index_in_image(self, request: ResultRequest) -> StackIndex:
        """Return where :meth:`read` finds the stack of an acquisition folder."""
        assert request.acquisition_stack is not None
        return request.acquisition_stack.index if self.grows else FIRST

    def publish(
        self, request: ResultRequest, raw: Volume, path: ResultPath | None = None
    ) -> Published:
        """Publish one stack that was left as it is."""
        output = self.output()
        stacks = [finished_stack(raw, voxel=VOXEL, reason="not asked for")]
        return publish_all(output, request, path or output.choose(request), stacks)

    # Voxels -----------------------------------------------------------------------------------

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_stacks_of_an_acquisition_read_back_as_written(
        self, tmp_path: Path, dtype: str
    ) -> None:
        """Several positions, times and channels, in no order."""
        written = []
        for seed, index in enumerate(reversed(ACQUISITION_INDICES)):
            request = self.stack_request(tmp_path, index, dtype=dtype)
            raw = some_volume(seed, SHAPE_ZYX, dtype)
            written.append((request, raw, self.publish(request, raw).image))
        for request, raw, image in written:
            found = self.read(image, self.index_in_image(request))
            assert found.dtype == raw.dtype
            np.testing.assert_array_equal(found, raw)

    @pytest.mark.parametrize("dtype", DTYPES)
    def test_stacks_of_a_file_read_back_as_written(self, tmp_path: Path, dtype: str) -> None:
        """All in one image, handed over last first."""
        if not self.takes_files:
            pytest.skip("it takes no whole files")
        request, output = self.file_request(tmp_path, dtype), self.output()
        raw = {
            index: some_volume(seed, SHAPE_ZYX, dtype)
            for seed, index in enumerate(request.file_stacks.indices())
        }
        stacks = [
            finished_stack(raw[index], index=index, reason="not asked for")
            for index in reversed(raw)
        ]
        image = publish_all(output, request, output.choose(request), stacks).image
        for index, volume in raw.items():
            found = self.read(image, index)
            assert found.dtype == volume.dtype
            np.testing.assert_array_equal(found, volume)

    def test_results_that_are_not_rounded_are_float32(self, tmp_path: Path) -> None:
        """``units = "camera-float"`` of a uint16 stack."""
        request = self.stack_request(tmp_path, units="camera-float")
        volume = some_volume(1, SHAPE_ZYX).astype(np.float32) + np.float32(0.25)
        image = self.publish(request, volume).image
        found = self.read(image, self.index_in_image(request))
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, volume)

    def test_voxel_size_and_channel_names_are_kept(self, tmp_path: Path) -> None:
        """Names that are no ASCII too."""
        index = StackIndex(0, 0, 1)
        request = self.stack_request(tmp_path, index)
        found = self.described(self.publish(request, some_volume(1, SHAPE_ZYX)).image)
        assert found.voxel == VOXEL
        assert found.channel_names == (CHANNELS if self.grows else (CHANNELS[1],))

    # Whose it is ------------------------------------------------------------------------------

    def test_the_same_again_is_current(self, tmp_path: Path) -> None:
        """It is known before any work, and written again takes the same name."""
        request, raw = self.stack_request(tmp_path), some_volume(1, SHAPE_ZYX)
        output = self.output()
        assert not is_current(output.choose(request), request.file_stacks)
        first = self.publish(request, raw)
        path = output.choose(request)
        assert is_current(path, request.file_stacks)
        assert (path.image, path.report, path.taken) == (first.image, first.report, True)
        assert restored_pixels(path.report) == zlib.crc32(raw.data)
        names = names_in(tmp_path)
        assert self.publish(request, raw).image == first.image
        assert names_in(tmp_path) == names

    def test_another_raw_file_of_that_name_is_not_current(self, tmp_path: Path) -> None:
        """Its fingerprint tells."""
        request = self.stack_request(tmp_path, StackIndex(0, 0, 0))
        self.publish(request, some_volume(1, SHAPE_ZYX))
        other = self.stack_request(tmp_path, StackIndex(0, 1, 0)).file_stacks
        assert not is_current(self.output().choose(request), other)

    def test_another_recipe_takes_another_name(self, tmp_path: Path) -> None:
        """And changes no byte of what is there."""
        one = self.stack_request(tmp_path)
        two = self.stack_request(tmp_path, recipe=OTHER_RECIPE)
        first = self.publish(one, some_volume(1, SHAPE_ZYX))
        before = contents_of(tmp_path)
        assert not is_current(self.output().choose(two), two.file_stacks)
        second = self.publish(two, some_volume(2, SHAPE_ZYX))
        assert {second.image, second.report}.isdisjoint({first.image, first.report})
        assert {path: contents_of(tmp_path)[path] for path in before} == before
        for request in (one, two):
            assert is_current(self.output().choose(request), request.file_stacks)

    @pytest.mark.parametrize(
        ("name", "when"), [("image", "before"), ("image", "after"), ("report", "before")]
    )
    def test_what_is_not_ours_is_never_overwritten(
        self, tmp_path: Path, name: str, when: str
    ) -> None:
        """Put there before the name is chosen, or after, while the stack is being restored."""
        request, output = self.stack_request(tmp_path), self.output()
        path = output.choose(request)
        foreign: Path = getattr(path, name)
        foreign.parent.mkdir(parents=True, exist_ok=True)
        foreign.write_bytes(b"not ours")
        if when == "before":
            path = output.choose(request)
        raw = some_volume(1, SHAPE_ZYX)
        published = self.publish(request, raw, path)
        assert foreign.read_bytes() == b"not ours"
        assert foreign not in (published.image, published.report)
        found = self.read(published.image, self.index_in_image(request))
        np.testing.assert_array_equal(found, raw)

    def test_it_knows_its_own(self, tmp_path: Path) -> None:
        """And takes nothing else for it."""
        output = self.output()
        image = self.publish(self.stack_request(tmp_path), some_volume(1, SHAPE_ZYX)).image
        assert output.made(image)
        foreign = tmp_path / "foreign.tif"
        assert not output.made(foreign)
        foreign.write_bytes(b"not ours")
        assert not output.made(foreign)
        assert not output.made(tmp_path)

    # All or nothing ---------------------------------------------------------------------------

    def test_a_reader_never_sees_a_part_of_a_stack(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It polls the final name while stacks are written over each other on a slow disk."""
        monkeypatch.setattr(disk, "current", SlowDisk())
        request = self.stack_request(tmp_path, shape_zyx=LARGE_SHAPE_ZYX)
        image = self.output().choose(request).image
        volumes = [some_volume(seed, LARGE_SHAPE_ZYX) for seed in range(4)]
        with polling(lambda: self._seen(image, request)) as seen:
            for raw in volumes:
                # On Windows what is being read cannot be replaced, and the writer is told so.
                with suppress(OutputError) if sys.platform == "win32" else nullcontext():
                    self.publish(request, raw)
        seen.append(self._seen(image, request))
        assert any(volume is not None for volume in seen[:-1]), "the reader was never fast enough"
        for volume in seen:
            if volume is None or (self.grows and not volume.any()):
                continue
            assert any(np.array_equal(volume, raw) for raw in volumes), "a part of a stack was seen"

    def _seen(self, image: Path, request: ResultRequest) -> Volume | None:
        if not image.exists():
            return None
        return self.read(image, self.index_in_image(request))

    @pytest.mark.parametrize("where", ["between stacks", "when it is verified"])
    def test_a_crash_before_it_is_published_leaves_no_name(
        self, tmp_path: Path, where: str
    ) -> None:
        """Neither an image nor a report, nor anything half-written."""
        request, output = self.stack_request(tmp_path), self.output()

        def stacks() -> Iterator[FinishedStack]:
            if where == "between stacks":
                raise CrashError
            yield finished_stack(some_volume(1, SHAPE_ZYX), reason="not asked for")

        def verify() -> tuple[str, ...]:
            raise CrashError

        with pytest.raises(CrashError):
            publish_all(output, request, output.choose(request), stacks(), verify)
        assert names_in(tmp_path) == set()

    def test_what_verifying_warns_of_is_in_the_report(self, tmp_path: Path) -> None:
        """And nothing is lost of what is known about the stacks."""
        request, output = self.stack_request(tmp_path), self.output()
        stacks = [finished_stack(some_volume(1, SHAPE_ZYX), reason="not asked for")]
        published = publish_all(
            output, request, output.choose(request), stacks, lambda: ("it was moved",)
        )
        assert published.warnings == (
            "left as it is: not asked for",
            "it was moved",
        )
        text = published.report.read_text(encoding="utf-8")
        assert all(warning in text for warning in published.warnings)

    @pytest.mark.parametrize("call", range(MOST_DISK_CALLS))
    def test_a_disk_that_refuses_leaves_nothing_that_passes_for_a_result(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
    ) -> None:
        """From the n-th call on it is full; then it has room again."""
        request, raw = self.stack_request(tmp_path), some_volume(1, SHAPE_ZYX)
        output, full = self.output(), FullDisk(call)
        refusal = None
        with monkeypatch.context() as patched:
            patched.setattr(disk, "current", full)
            try:
                self.publish(request, raw)
            except OutputError as error:
                refusal = error
        path = output.choose(request)
        assert (refusal is not None) == full.refused
        if refusal is not None:
            assert "free some space" in refusal.remedy
            assert not path.report.exists()
            assert not is_current(path, request.file_stacks)
            seen = self._seen(path.image, request) if path.taken else None
            assert seen is None or np.array_equal(seen, raw), "a part of a result has its name"
        assert not [name for name in names_in(tmp_path) if name.endswith(TEMPORARY_SUFFIX)]
        published = self.publish(request, raw)
        found = self.read(published.image, self.index_in_image(request))
        np.testing.assert_array_equal(found, raw)
        assert is_current(output.choose(request), request.file_stacks)

    def test_what_does_not_read_back_is_not_published(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One byte of what was written is another on the disk."""
        request = self.stack_request(tmp_path, shape_zyx=LARGE_SHAPE_ZYX)
        with monkeypatch.context() as patched:
            patched.setattr(disk, "current", RottingDisk())
            with pytest.raises(OutputError, match="does not read back as written"):
                self.publish(request, some_volume(1, LARGE_SHAPE_ZYX))
        assert names_in(tmp_path) == set()
