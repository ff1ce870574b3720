"""When a file counts as finished: every evidence, before and after every limit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from live_restore.formats.file_format import Arriving, Complete
from live_restore.settings.model import FilesSettings, WatchSettings
from live_restore.sources.completeness import Readiness, decide_file, quiet_needed_s
from tests.support.fakes import a_dataset

WATCH = WatchSettings(settle_s=0.25, quiet_s=2, stall_s=600)
FILES = FilesSettings()
RESTORE_BLANKS = FilesSettings(blank_planes="restore")
LATER, READY, INCOMPLETE = Readiness.LOOK_LATER, Readiness.READY, Readiness.INCOMPLETE

DECLARED = Complete(a_dataset(), declared=True)
UNDECLARED = Complete(a_dataset(), declared=False)
BLANK = Complete(a_dataset(), declared=True, blank_planes=(0, 2, 3, 4, 9))
ZERO_TAIL = Complete(a_dataset(), declared=True, zero_tail=True)
ARRIVING = Arriving("2 of 3 planes")


@pytest.mark.parametrize(
    ("evidence", "files", "quiet_s", "verdict"),
    [
        (DECLARED, FILES, 0.25, READY),
        (UNDECLARED, FILES, 1.99, LATER),
        (UNDECLARED, FILES, 2, READY),
        (ZERO_TAIL, FILES, 1.99, LATER),
        (ZERO_TAIL, FILES, 2, READY),
        (BLANK, FILES, 2, LATER),
        (BLANK, FILES, 599, LATER),
        (BLANK, FILES, 600, INCOMPLETE),
        (BLANK, RESTORE_BLANKS, 0.25, READY),
        (ARRIVING, FILES, 0.25, LATER),
        (ARRIVING, FILES, 599, LATER),
        (ARRIVING, FILES, 600, INCOMPLETE),
        (ARRIVING, RESTORE_BLANKS, 600, INCOMPLETE),
    ],
)
def test_verdicts(
    evidence: Arriving | Complete, files: FilesSettings, quiet_s: float, verdict: Readiness
) -> None:
    assert decide_file(evidence, quiet_s, WATCH, files).readiness is verdict


@given(
    st.sampled_from([DECLARED, UNDECLARED, BLANK, ZERO_TAIL, ARRIVING]),
    st.floats(0, 1e4),
    st.floats(0, 1e4),
)
def test_a_later_look_has_a_reason_and_an_end(
    evidence: Arriving | Complete, quiet_s: float, gap_s: float
) -> None:
    decision = decide_file(evidence, quiet_s, WATCH, FILES, gap_s)
    if decision.readiness is LATER:
        assert decision.reason
    assert decide_file(evidence, WATCH.stall_s, WATCH, FILES, gap_s).readiness is not LATER


@pytest.mark.parametrize(
    ("gap_s", "quiet_s"), [(0, 2), (0.5, 2), (3.2, 9.6), (250, 600), (float("inf"), 600)]
)
def test_the_pauses_of_a_writer_tell_how_long_to_wait(gap_s: float, quiet_s: float) -> None:
    assert quiet_needed_s(gap_s, WATCH) == pytest.approx(quiet_s)
    assert decide_file(UNDECLARED, quiet_s - 0.01, WATCH, FILES, gap_s).readiness is LATER
    assert decide_file(UNDECLARED, quiet_s + 0.01, WATCH, FILES, gap_s).readiness is READY
    assert decide_file(DECLARED, 0.25, WATCH, FILES, gap_s).readiness is READY


def test_reasons_say_what_and_what_to_do() -> None:
    reason = decide_file(BLANK, 600, WATCH, FILES).reason
    assert reason.startswith("5 plane(s) hold nothing but zeros (plane 0, 2, 3, 4, ...)")
    assert 'set files.blank_planes = "restore" if they are real' in reason
    assert decide_file(ARRIVING, 600, WATCH, FILES).reason == (
        "2 of 3 planes; unchanged for 600 s, not restored"
    )
