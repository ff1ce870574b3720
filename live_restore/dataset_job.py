"""Restore what is complete in a dataset folder, once: one OME-TIFF per stack beside the folder."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from live_restore.errors import StackIncompleteError, StackRefusedError, StackUnreadableError
from live_restore.formats.dataset import DatasetFormat, DatasetState, Follower, StackEvidence
from live_restore.formats.table import dataset_format_for
from live_restore.inference.shelf import Shelf
from live_restore.outputs.naming import template_in
from live_restore.outputs.report import StackOutcome
from live_restore.outputs.result import Published, choose_result, publish_result
from live_restore.run_plan import PlanReader
from live_restore.settings import Settings
from live_restore.stack import Dataset, Fingerprint, StackKey

# One plane is no volume; the network needs neighbours along z.
_FEWEST_PLANES = 2


@dataclass(frozen=True)
class DatasetJob:
    """A dataset folder as it is now.

    Parameters
    ----------
    folder
        The folder (absolute).
    follower, state
        Who reads it, and what there is.
    written_ns
        When anything in it was written last (ns since 1970).
    """

    folder: Path
    follower: Follower
    state: DatasetState
    written_ns: int

    @classmethod
    def open(cls, folder: Path, formats: Sequence[DatasetFormat]) -> DatasetJob:
        """Look into ``folder``, taking its run as over.

        Raises
        ------
        StackRefusedError
            No format knows the folder.
        StackUnreadableError
            It is known, but damaged; or its script's plan is.
        """
        chosen = dataset_format_for(folder, formats)
        if chosen is None:
            raise StackRefusedError(
                "is a folder, and no dataset that live-restore knows", folder,
                "for all files in it use: live-restore watch FOLDER --once",
            )  # fmt: skip
        follower = chosen.follow(folder)
        state = follower.poll(over=True, plan=PlanReader(folder).read())
        if not state.stacks:
            problem = "; ".join(state.problems) or "holds no planes"
            raise StackUnreadableError(problem, folder, "check the acquisition")
        times_ns = (f.stat().st_mtime_ns for f in folder.rglob("*") if f.is_file())
        return cls(folder, follower, state, max(times_ns, default=0))

    def stacks(self) -> list[StackKey]:
        """Return the stacks that have begun, position slowest, then time, then channel."""
        return sorted(self.state.stacks)

    def restore(
        self, key: StackKey, shelf: Shelf, settings: Settings, output: Path | None = None
    ) -> Published:
        """Restore one stack and publish it in ``<folder>_restored``, beside the folder.

        ``output`` is another place for that folder of results.

        Raises
        ------
        StackRefusedError
            A single plane, a constant stack, or a channel without a model.
        StackIncompleteError
            Planes are missing.
        StackError, InferenceError, OutputError
            Reading, restoring or writing failed.
        """
        evidence = self.state.stacks[key]
        label = f"p{key.position:03d}_t{key.time:04d}_c{key.channel:02d}"
        self._require_a_stack(key, evidence)
        whole = self._dataset(key, evidence)
        restorer = shelf.restorer_for(whole, key.channel)
        if restorer is None:
            name = whole.channel_name(key.channel)
            raise StackRefusedError(
                f'no model for channel "{name}"', self.folder / label, "add one to [[models]]"
            )
        single = self._alone(whole, key, label)

        def outcomes() -> Iterator[StackOutcome]:
            raw = self.follower.read(key)
            yield StackOutcome(single.keys()[0], raw, restorer.restore(raw), restorer.model)

        results = (output or self.folder.parent) / f"{self.folder.name}_restored"
        place = choose_result(
            single.path, template_in(results), restorer.model.card.name, shelf.recipe
        )
        return publish_result(
            single,
            outcomes(),
            place=place,
            recipe=shelf.recipe,
            settings_digest=settings.pixel_digest(),
            units=settings.output.units,
        )

    def _require_a_stack(self, key: StackKey, evidence: StackEvidence) -> None:
        where = f"{self.folder} {key}"
        if evidence.planes_expected == 1:
            name = self.state.info.channel_name(key.channel)
            raise StackRefusedError(
                f'channel "{name}" has no z-stack', where, "there is nothing to restore in 3-D"
            )
        if not evidence.complete:
            raise StackIncompleteError(
                evidence.reason or "planes are missing", where, "record it again"
            )
        if len(evidence.present) < _FEWEST_PLANES:
            raise StackRefusedError(
                "is a single plane", where, "there is nothing to restore in 3-D"
            )

    def _dataset(self, key: StackKey, evidence: StackEvidence) -> Dataset:
        """Describe the acquisition around one of its stacks."""
        info = self.state.info
        if info.dtype is None or info.shape_yx is None:
            raise StackIncompleteError("holds no planes", self.folder, "record it again")
        shape = (len(evidence.present), *info.shape_yx)
        size = shape[0] * shape[1] * shape[2] * info.dtype.itemsize
        return Dataset(
            path=self.folder,
            fingerprint=Fingerprint(size, self.written_ns),
            positions=key.position + 1,
            times=key.time + 1,
            channels=key.channel + 1,
            shape_zyx=shape,
            dtype=info.dtype,
            voxel=info.voxel,
            channel_names=info.channel_names,
            position_names=info.position_names,
            time_increment_s=info.time_increment_s,
        )

    def _alone(self, whole: Dataset, key: StackKey, label: str) -> Dataset:
        """Describe one stack as a file of its own, and where it comes from."""
        info = self.state.info
        channel, position = info.channel_name(key.channel), info.position_name(key.position)
        return replace(
            whole,
            path=self.folder / label,
            positions=1,
            times=1,
            channels=1,
            channel_names=(channel,),
            position_names=(f"{position} t{key.time}",),
            notes=(
                f"from {info.format} dataset {self.folder.name}: position {key.position} "
                f"({position}), time {key.time}, channel {key.channel} ({channel})",
            ),
        )
