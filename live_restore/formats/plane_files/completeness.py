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


@dataclass(frozen=True)
class _Fault:
    """Why the file of a plane cannot be used."""

    what: str
    damaged: bool


class PlaneLedger:
    """The planes found so far, in the order in which they were written."""

    def __init__(self) -> None:
        self._ledger = Ledger()
        self._extents: dict[int, _Extent] = {}
        self._sizes: dict[StackIndex, int] = {}
        self._settled: set[StackIndex] = set()
        self._faults: dict[StackIndex, dict[int, _Fault]] = {}
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
        self._faults.get(stack_index, {}).pop(z, None)
        extent = self._extents.setdefault(stack_index.channel, _Extent(z, z))
        extent.lowest, extent.highest = min(extent.lowest, z), max(extent.highest, z)
        self._sizes[stack_index] = size = self._sizes.get(stack_index, 0) + 1
        extent.most = max(extent.most, size)
        self._ledger.add(stack_index, z, blank=blank)

    def fault(self, stack_index: StackIndex, z: int, what: str, *, damaged: bool) -> None:
        """Record why the file of a plane cannot be used.

        ``damaged``: it was a plane, or would have become one, so its stack is not whole without it.
        """
        self._faults.setdefault(stack_index, {})[z] = _Fault(what, damaged)

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
            index: self._without_faults(index, self._judged(index, each, over), over)
            for index, each in self._ledger.evidence(NoPlan(), over).items()
        }
        for index, faults in self._faults.items():
            if index not in found and faults:
                found[index] = _of_no_use(list(faults.values()), over)
        self._settled = {index for index, each in found.items() if each.complete and not over}
        return found

    def _without_faults(
        self, index: StackIndex, evidence: StackEvidence, over: bool
    ) -> StackEvidence:
        """Return the evidence on a stack some of whose files cannot be used."""
        faults = self._faults.get(index)
        if not faults or evidence.stage is Stage.REFUSED:
            return evidence
        damaged = [each.what for each in faults.values() if each.damaged]
        if evidence.complete and damaged:
            stage = Stage.PARTIAL if over else Stage.ARRIVING
            return StackEvidence(stage, evidence.present, reason=damaged[0])
        if evidence.partial:
            return replace(evidence, reason=next(iter(faults.values())).what)
        return evidence

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


def _of_no_use(faults: list[_Fault], over: bool) -> StackEvidence:
    """Return the evidence on a stack of which no plane can be used."""
    if not over:
        return StackEvidence(Stage.ARRIVING, (), reason=faults[0].what)
    useless = [each.what for each in faults if not each.damaged]
    if useless:
        return StackEvidence(Stage.REFUSED, (), reason=useless[0])
    return StackEvidence(Stage.PARTIAL, (), reason=faults[0].what)


def _spans(evidence: StackEvidence, extent: _Extent) -> bool:
    present = evidence.present
    return bool(present) and (present[0], present[-1]) == (extent.lowest, extent.highest)
