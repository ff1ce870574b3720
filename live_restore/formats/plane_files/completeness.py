"""Which stacks of planes in files are whole, where nothing says how many planes there are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from live_restore.formats.acquisition_format import StackEvidence, Stage
from live_restore.formats.plan import Ledger, NoPlan
from live_restore.stack import StackIndex


@dataclass
class _Extent:
    """The planes of one channel: the lowest and the highest z, and the most that a stack has."""

    lowest: int
    highest: int
    most: int = 0


class PlaneLedger:
    """The planes found so far, in the order in which they were written."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._extents: dict[int, _Extent] = {}
        self._sizes: dict[StackIndex, int] = {}
        self._settled: set[StackIndex] = set()
        self._disordered = False
        self._newest_ns = 0
        self._longest_gap_ns = 0

    def add(self, stack_index: StackIndex, z: int, written_ns: int, *, blank: bool) -> None:
        """Record one plane that is whole on disk.

        Parameters
        ----------
        stack_index, z
            Which.
        written_ns
            When its file was written (ns since 1970).
        blank
            It holds nothing but zeros.
        """
        if stack_index in self._settled or written_ns < self._newest_ns:
            self._disordered = True  # a copy: that a later stack began proves nothing
        if self._newest_ns and self._sizes.get(stack_index):
            self._longest_gap_ns = max(self._longest_gap_ns, written_ns - self._newest_ns)
        self._newest_ns = max(self._newest_ns, written_ns)
        extent = self._extents.setdefault(stack_index.channel, _Extent(z, z))
        extent.lowest, extent.highest = min(extent.lowest, z), max(extent.highest, z)
        self._sizes[stack_index] = size = self._sizes.get(stack_index, 0) + 1
        extent.most = max(extent.most, size)
        self._ledger.add(stack_index, z, blank=blank)

    def refuse(self, stack_index: StackIndex, z: int) -> None:
        """Record that two acquisitions claim a plane: which is meant, nobody can say."""
        self._ledger.refuse(stack_index, z)

    @property
    def pause_s(self) -> float:
        """The longest pause (s) between the planes of a stack, by the dates of their files."""
        return self._longest_gap_ns / 1e9

    def evidence(self, *, over: bool) -> Mapping[StackIndex, StackEvidence]:
        """Return the evidence on every stack that has begun; ``over``: nothing arrives any more."""
        found = {
            index: self._judged(index, each, over)
            for index, each in self._ledger.evidence(NoPlan(), over).items()
        }
        self._settled = {index for index, each in found.items() if each.complete and not over}
        return found

    def _judged(self, index: StackIndex, evidence: StackEvidence, over: bool) -> StackEvidence:
        if evidence.stage is Stage.REFUSED:
            return replace(
                evidence,
                reason="two acquisitions have files of these numbers; "
                "put the files of each into a folder of its own",
            )
        extent = self._extents[index.channel]
        whole = bool(evidence.present) and not evidence.blank
        depth = evidence.present[-1] - evidence.present[0] + 1 if whole else 0
        whole = whole and depth == len(evidence.present)
        if not over:
            if evidence.complete and (self._disordered or not _spans(evidence, extent)):
                return replace(evidence, stage=Stage.ARRIVING, reason="waiting for quiet")
            return evidence
        if whole and len(evidence.present) == extent.most:
            return StackEvidence(
                Stage.COMPLETE,
                evidence.present,
                extent.most,
                evidence.present,
                reason="nothing arrives any more, and no stack of its channel has more planes",
            )
        if evidence.blank:
            return evidence
        return StackEvidence(
            Stage.PARTIAL,
            evidence.present,
            extent.most if depth == len(evidence.present) else None,
            reason=f"{len(evidence.present)} planes, other stacks have {extent.most}"
            if whole
            else "planes between are missing",
        )


def _spans(evidence: StackEvidence, extent: _Extent) -> bool:
    present = evidence.present
    return bool(present) and (present[0], present[-1]) == (extent.lowest, extent.highest)
