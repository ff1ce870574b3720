"""What the doctor makes of the answers of systems, which need not be this one."""

from __future__ import annotations

from pathlib import Path

import pytest

from live_restore.doctor import computer, folder
from live_restore.doctor.finding import Finding, answer


@pytest.mark.parametrize(
    ("driver", "cuda", "platform", "verdict"),
    [
        ("580.82.07", "13.0", "linux", "good"),
        ("575.57.08", "13.0", "linux", "bad"),
        ("527.41", "12.8", "win32", "bad"),
        ("528.33", "12.8", "win32", "good"),
        ("580.82.07", "", "linux", "note"),
        ("unknown", "13.0", "linux", "note"),
    ],
)
def test_the_driver_against_the_runtime(
    driver: str, cuda: str, platform: str, verdict: str
) -> None:
    finding = computer.driver_finding(driver, cuda, platform)
    assert finding.verdict == verdict
    assert driver in finding.found
    assert bool(finding.remedy) is (verdict != "good")


GERMAN = """GUID des Energieschemas: 381b4222-f694-41f0-9685-ff5bb260df2e  (Ausbalanciert)
      Mindestwert: 0x00000000
      Höchstwert: 0xffffffff
      Inkrement: 0x00000001
    Index der aktuellen Wechselstromeinstellung: 0x00000000
    Index der aktuellen Gleichstromeinstellung: 0x00000708
"""


def test_sleep_is_told_in_any_language() -> None:
    assert computer.seconds_of_powercfg(GERMAN) == 0
    assert computer.seconds_of_powercfg("") is None
    assert computer.sleep_finding(0).verdict == "good"
    assert "30 minutes" in computer.sleep_finding(1800).found


def test_what_defender_leaves_out() -> None:
    state, data = Path("C:/state"), Path("D:/data/run")
    for excluded in ([], None):
        finding = computer.antivirus_finding([state, data], excluded)
        assert finding.verdict == "note"
        assert f"Add-MpPreference -ExclusionPath '{state}', '{data}'" in finding.remedy
    half = computer.antivirus_finding([state, data], [str(Path("d:/DATA"))])
    assert f"'{state}'" in half.remedy
    assert str(data) not in half.remedy
    assert computer.antivirus_finding([data], [str(data.parent)]).verdict == "good"


UNWELL = [
    computer.gpu_memory_finding(0, 3.9, 8.0),
    computer.sleep_finding(None),
    computer.sleep_finding(600),
    computer.clock_finding(None),
    computer.clock_finding(False),
    computer.long_paths_finding(enabled=False),
    computer.indexing_finding([Path("D:/data")]),
    computer.telemetry_finding(""),
    computer.telemetry_finding("0"),
    folder.speed_finding(10),
    folder.skew_finding(-3600),
    folder.skew_finding(5),
    folder.events_finding(None, network=False),
    folder.events_finding(0.1, network=True),
]
WELL = [
    computer.gpu_memory_finding(1, 7.5, 8.0),
    computer.sleep_finding(0),
    computer.clock_finding(True),
    computer.long_paths_finding(enabled=True),
    computer.indexing_finding([]),
    computer.telemetry_finding("1"),
    folder.speed_finding(500),
    folder.skew_finding(1),
    folder.events_finding(0.1, network=False),
]


@pytest.mark.parametrize("finding", UNWELL, ids=lambda f: f"{f.what}: {f.found}")
def test_what_is_not_good_has_a_remedy(finding: Finding) -> None:
    assert finding.verdict != "good"
    assert finding.remedy


@pytest.mark.parametrize("finding", WELL, ids=lambda f: f.what)
def test_what_is_good_needs_none(finding: Finding) -> None:
    assert finding.verdict == "good"
    assert not finding.remedy


def test_a_folder_is_measured_and_left_as_it_was(tmp_path: Path) -> None:
    found = {f.what: f for f in folder.examine_folder(tmp_path)}
    assert set(found) == {"write speed", "clock of the disk", "events"}
    assert "MB/s" in found["write speed"].found
    assert found["clock of the disk"].verdict == "good"
    assert found["events"].verdict == "good"
    assert list(tmp_path.iterdir()) == []
    (gone,) = folder.examine_folder(tmp_path / "gone")
    assert gone.verdict == "bad"


def test_a_program_that_is_not_there_has_no_answer() -> None:
    assert answer("no-such-program-of-any-system") is None
