"""Which stacks are complete: pure decisions over planes in the order of their writing."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from live_restore.formats.acquisition_format import Stage
from live_restore.formats.micromanager.metadata import parse_summary
from live_restore.formats.plan import (
    AcquisitionPlan,
    ChannelPlan,
    IntendedPlan,
    Ledger,
    NoPlan,
    Planned,
    SettingsPlan,
)
from live_restore.stack import StackIndex

HERE = StackIndex(0, 0, 0)


def ledger(planes: list[tuple[StackIndex, int]]) -> Ledger:
    made = Ledger()
    for place, z in planes:
        made.add(place, z)
    return made


def stages(
    planes: list[tuple[StackIndex, int]], plan: AcquisitionPlan, over: bool
) -> dict[StackIndex, Stage]:
    return {p: e.stage for p, e in ledger(planes).evidence(plan, over).items()}


@st.composite
def runs(draw: st.DrawFn) -> tuple[list[tuple[StackIndex, int]], int]:
    """Return a whole run in some order of nested loops, and its planes per stack."""
    order = draw(st.permutations("tpcz"))
    sizes = {axis: draw(st.integers(1, 3)) for axis in "tpc"} | {"z": draw(st.integers(2, 5))}
    planes = []
    for index in itertools.product(*(range(sizes[axis]) for axis in order)):
        at = dict(zip(order, index, strict=True))
        planes.append((StackIndex(at["p"], at["t"], at["c"]), at["z"]))
    return planes, sizes["z"]


@given(runs(), st.data())
def test_without_a_plan_no_stack_is_complete_too_early(
    run: tuple[list[tuple[StackIndex, int]], int], data: st.DataObject
) -> None:
    planes, depth = run
    cut = data.draw(st.integers(0, len(planes)))
    sizes: dict[StackIndex, int] = {}
    for place, _ in planes[:cut]:
        sizes[place] = sizes.get(place, 0) + 1
    for over in (False, True):
        for place, stage in stages(planes[:cut], NoPlan(), over).items():
            if stage is Stage.COMPLETE:
                # Single planes may look like a channel without z; nobody restores those.
                assert sizes[place] == depth or (over and sizes[place] == 1)
            assert over or stage is not Stage.PARTIAL


@given(runs(), st.data())
def test_one_ledger_along_the_run_says_what_a_new_one_says(
    run: tuple[list[tuple[StackIndex, int]], int], data: st.DataObject
) -> None:
    planes, depth = run
    plan = data.draw(st.sampled_from([NoPlan(), IntendedPlan(depth), IntendedPlan(depth + 1)]))
    along = Ledger()
    for number, (place, z) in enumerate(planes):
        along.add(place, z)
        if data.draw(st.booleans()):
            over = data.draw(st.booleans())
            anew = ledger(planes[: number + 1])
            assert dict(along.evidence(plan, over)) == dict(anew.evidence(plan, over))


def test_without_a_plan_a_later_stack_closes_the_one_before() -> None:
    first, second = StackIndex(0, 0, 0), StackIndex(0, 0, 1)
    planes = [(first, 0), (first, 1), (first, 2)]
    assert stages(planes, NoPlan(), False)[first] is Stage.ARRIVING
    assert stages([*planes, (second, 0)], NoPlan(), False)[first] is Stage.COMPLETE


def test_a_run_of_one_stack_without_a_plan_stays_partial() -> None:
    planes = [(HERE, z) for z in range(9)]
    evidence = ledger(planes).evidence(NoPlan(), True)[HERE]
    assert evidence.partial
    assert evidence.reason == "nothing tells how many planes were planned"


def test_the_last_stack_is_measured_by_those_before_it() -> None:
    times = [StackIndex(0, t, 0) for t in range(3)]
    planes = [(place, z) for place in times for z in range(4)]
    assert set(stages(planes, NoPlan(), True).values()) == {Stage.COMPLETE}
    assert stages(planes[:-1], NoPlan(), True)[times[-1]] is Stage.PARTIAL


def test_a_stack_that_lacks_its_last_plane_is_not_complete_because_the_next_began() -> None:
    times = [StackIndex(0, t, 0) for t in range(3)]
    planes = [(p, z) for p in times for z in range(4) if (p.time, z) != (1, 3)]
    assert stages(planes, NoPlan(), False)[times[1]] is Stage.ARRIVING
    assert stages(planes, NoPlan(), True)[times[1]] is Stage.PARTIAL


def test_planes_between_missing_never_complete() -> None:
    later = StackIndex(0, 1, 0)
    planes = [(HERE, 0), (HERE, 2), (later, 0), (later, 1)]
    for plan in (NoPlan(), IntendedPlan(3), SettingsPlan(3, (ChannelPlan(),), 2)):
        assert stages(planes, plan, False)[HERE] is Stage.ARRIVING
        assert stages(planes, plan, True)[HERE] is Stage.PARTIAL


def test_the_settings_say_one_plane_for_a_channel_without_z_stack() -> None:
    plan = SettingsPlan(5, (ChannelPlan(), ChannelPlan(z_stack=False)), times=2)
    for z in (0, 2):
        evidence = ledger([(StackIndex(0, 0, 1), z)]).evidence(plan, False)[StackIndex(0, 0, 1)]
        assert evidence.complete
        assert evidence.expected == (z,)
        assert evidence.planes_expected == 1
    assert plan.stacks() == 4


def test_intended_dimensions_overstate_a_channel_without_z_stack() -> None:
    stack, single = [StackIndex(0, t, 0) for t in range(2)], [StackIndex(0, t, 1) for t in range(2)]
    planes = [(p, z) for p in stack for z in range(3)] + [(p, 1) for p in single]
    assert {stages(planes, IntendedPlan(3), False)[p] for p in single} == {Stage.ARRIVING}
    at_the_end = ledger(planes).evidence(IntendedPlan(3), True)
    assert all(at_the_end[p].expected == (1,) and at_the_end[p].complete for p in single)
    # One such plane alone may as well be where the run was aborted.
    assert stages(planes[:-1], IntendedPlan(3), True)[single[0]] is Stage.PARTIAL


def test_blank_planes_are_no_planes() -> None:
    made = Ledger()
    for z in range(3):
        made.add(HERE, z, blank=z == 2)
    plan = SettingsPlan(3, (ChannelPlan(),))
    assert made.evidence(plan, False)[HERE].stage is Stage.ARRIVING
    evidence = made.evidence(plan, True)[HERE]
    assert evidence.partial
    assert evidence.blank == (2,)
    made.add(HERE, 2)
    assert made.evidence(plan, True)[HERE].complete


def test_planes_beyond_the_plan_make_the_plan_worthless() -> None:
    evidence = ledger([(HERE, z) for z in range(7)]).evidence(IntendedPlan(5), False)[HERE]
    assert evidence.stage is Stage.ARRIVING
    assert evidence.planes_expected is None


def settings(**changes: object) -> dict[str, object]:
    base: dict[str, object] = {
        "channels": [
            {"config": "DAPI", "doZStack": True, "skipFactorFrame": 0, "exposure": 10},
            {"config": "Off", "useChannel": False, "exposure": 1},
            {"config": "FITC", "doZStack": False, "skipFactorFrame": 2, "exposure": 50.5},
        ],
        "slices": [0.0, 0.3, 0.6],
        "useSlices": True,
        "useChannels": True,
    }
    return base | changes


def summary(mda: object, **more: object) -> dict[str, object]:
    dimensions = {"time": 6, "position": 2, "z": 3, "channel": 2}
    return {
        "MdaSettings": mda,
        "ChNames": ["DAPI", "FITC"],
        "IntendedDimensions": dimensions,
        **more,
    }


def test_the_plan_of_the_settings() -> None:
    found = parse_summary(summary(settings()))
    assert found.plan == SettingsPlan(3, (ChannelPlan(), ChannelPlan(False, 3)), 6, 2)
    assert found.exposure_ms == (10.0, 50.5)
    assert found.plan.planes(StackIndex(1, 3, 1)) == Planned(1, anywhere=True)
    assert found.plan.planes(StackIndex(1, 4, 1)) is None
    assert found.plan.stacks() == 2 * (6 + 2)


def test_settings_without_slices_or_channels() -> None:
    flat = parse_summary(summary(settings(useSlices=False))).plan
    assert flat.planes(HERE) == Planned(1, anywhere=True)
    one = parse_summary(summary(settings(useChannels=False), ChNames=["Default"])).plan
    assert one.planes(HERE) == Planned(3)


def test_each_channel_is_recorded_by_each_camera() -> None:
    names = ["DAPI-left", "DAPI-right", "FITC-left", "FITC-right"]
    plan = parse_summary(summary(settings(), ChNames=names)).plan
    assert isinstance(plan, SettingsPlan)
    assert [channel.z_stack for channel in plan.channels] == [True, True, False, False]


def test_odd_settings_leave_the_intended_dimensions() -> None:
    odd: list[object] = [None, "", "{", "[]", 3, {"slices": "x"}, {"slices": None, "channels": []}]
    for mda in odd:
        assert parse_summary(summary(mda)).plan == IntendedPlan(3, 24)
    assert parse_summary({}).plan == NoPlan()


def test_an_irregular_time_lapse_has_no_interval() -> None:
    assert parse_summary({"Interval_ms": 2500}).interval_s == 2.5
    assert parse_summary({"Interval_ms": 2500, "CustomIntervals_ms": [1, 5]}).interval_s is None
    assert parse_summary({"Interval_ms": 0}).interval_s is None
