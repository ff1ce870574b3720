"""A file's stacks, restored as they are read: each alone, or the channels of one model together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from live_restore.engine.job import RawStack
from live_restore.errors import StackRefusedError
from live_restore.inference.chain import ChainRestorer
from live_restore.inference.model_set import ModelSet
from live_restore.inference.restored import Restored
from live_restore.outputs.output import FinishedStack
from live_restore.stack import FileStacks
from live_restore.trust.over_time import TimeLapses
from live_restore.trust.stack_trust import assess


class ChannelGroups:
    """Takes raw stacks in any order and says which can be restored now.

    Most models take one channel: every stack is restored in its turn. A model of C channels takes
    the C channels that the settings give it of the same position and time point, in the file's
    order; their stacks wait for each other.

    Parameters
    ----------
    file_stacks, model_set
        The file, and the models for its channels.
    cancelled
        Asked before every tile.
    time_lapses
        What is remembered of the time points before; ``None``: of those of this file.

    Raises
    ------
    StackRefusedError
        A model takes more or fewer channels than the settings give it of this file.
    """

    def __init__(
        self,
        file_stacks: FileStacks,
        model_set: ModelSet,
        cancelled: Callable[[], bool] = lambda: False,
        time_lapses: TimeLapses | None = None,
    ) -> None:
        self._time_lapses = time_lapses or TimeLapses()
        self._file_stacks = file_stacks
        self._model_set = model_set
        self._cancelled = cancelled
        self._waiting: dict[tuple[int, int, int], list[RawStack]] = {}
        self._restorers = [
            model_set.restorer_for(file_stacks, c) for c in range(file_stacks.channels)
        ]
        for restorer in self._restorers:
            if restorer is None:
                continue
            takes, given = restorer.model.card.input_channels, self._restorers.count(restorer)
            if takes not in (1, given):
                raise StackRefusedError(
                    f'has {given} channel(s) for the model "{restorer.model.card.name}", '
                    f"which takes {takes} together",
                    file_stacks.path,
                    "name its channels in [[models]]",
                )

    def gather(self, raw: RawStack) -> ChannelGroup | None:
        """Take one raw stack and return what can be restored now."""
        restorer = self._restorers[raw.index.channel]
        if restorer is None:
            return self._group([raw])
        which = (raw.index.position, raw.index.time, id(restorer))
        together = [*self._waiting.pop(which, []), raw]
        if len(together) < restorer.model.card.input_channels:
            self._waiting[which] = together
            return None
        together.sort(key=lambda stack: stack.index)
        return self._group(together)

    def _group(self, stacks: list[RawStack]) -> ChannelGroup:
        return ChannelGroup(self._file_stacks, stacks, self._cancelled, self._time_lapses)

    def feed(self, raw: RawStack) -> list[FinishedStack]:
        """Take one raw stack, restore what is ready now, return it; raises as ``ChannelGroup``."""
        group = self.gather(raw)
        return [] if group is None else group.restore(self._model_set)


@dataclass(frozen=True)
class ChannelGroup:
    """Stacks that are restored together: one, or the channels of one model."""

    file_stacks: FileStacks
    stacks: list[RawStack]
    cancelled: Callable[[], bool]
    time_lapses: TimeLapses

    def restore(self, model_set: ModelSet) -> list[FinishedStack]:
        """Restore them with the models of ``model_set``, and assess what became of them.

        In a file of several stacks, a constant one (a shutter that stayed shut) must not cost the
        others their result: it is copied, and the report says so.

        Raises
        ------
        StackRefusedError
            All that the file holds is constant.
        InferenceError
            The model failed.
        """
        stacks, channel = self.stacks, self.stacks[0].index.channel
        restorer = model_set.restorer_for(self.file_stacks, channel)
        if restorer is None:
            name = self.file_stacks.channel_name(channel)
            return self._left(f'no model for channel "{name}"')
        camera = model_set.camera_of(self.file_stacks, [each.index.channel for each in stacks])
        if camera is not None and camera.camera is not None:
            restorer = restorer.with_camera(camera.camera.settings, camera.camera.bad_pixels)
        if isinstance(restorer, ChainRestorer):
            restorer = restorer.with_voxel(self.file_stacks.voxel)
        alone = len(stacks) == 1
        volume = stacks[0].volume if alone else np.stack([s.volume for s in stacks])
        try:
            restored = restorer.restore(volume, self.cancelled)
        except StackRefusedError as error:
            if self.file_stacks.stack_count == len(stacks):
                raise
            return self._left(error.what)
        shares = [restored] if alone else [_share(restored, n) for n in range(len(stacks))]
        card, voxel = restorer.model.card, self.file_stacks.voxel
        return [
            FinishedStack(
                stack.index,
                stack.volume,
                share,
                restorer.model,
                self.time_lapses.judged(
                    self.file_stacks,
                    stack.index,
                    assess(
                        stack.volume,
                        share,
                        card,
                        voxel,
                        speaks_for_group=share is shares[0],
                        estimates=model_set.estimates,
                    ),
                ),
                read_s=stack.read_s,
                camera=camera,
            )
            for stack, share in zip(stacks, shares, strict=True)
        ]

    def _left(self, reason: str) -> list[FinishedStack]:
        """Return the stacks as they are, and why."""
        voxel = self.file_stacks.voxel
        return [
            FinishedStack(
                stack.index,
                stack.volume,
                None,
                None,
                assess(stack.volume, None, None, voxel),
                reason,
                stack.read_s,
            )
            for stack in self.stacks
        ]


def _share(joint: Restored, number: int) -> Restored:
    """Return one channel of a joint result; what counts for all of them goes with the first."""
    volume = np.ascontiguousarray(joint.volume[number])
    one = slice(number, number + 1)
    own = replace(
        joint, volume=volume, defects=joint.defects[one], grey_values=joint.grey_values[one]
    )
    return own if number == 0 else replace(own, clipped_voxels=0, seconds={})
