"""The model of a cluster: exact where the answer is known, and never better than can be."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from live_restore.cli.main import main
from live_restore.cluster.plan import Site, fewest_gpus, forecast

SITES = st.builds(
    Site,
    instruments=st.integers(1, 12),
    every_s=st.floats(1, 60),
    stacks=st.integers(1, 4),
    stack_mvoxel=st.floats(0.1, 50),
    gpus=st.integers(1, 8),
    gpu_mvoxel_per_s=st.floats(5, 1000),
    per_stack_s=st.floats(0, 0.5),
    network_mb_per_s=st.floats(10, 1000),
    stacks_ahead=st.integers(1, 4),
)


def test_a_stack_that_meets_nobody_takes_what_its_parts_take() -> None:
    site = Site(1, 10.0, stack_mvoxel=8.0, gpu_mvoxel_per_s=4.0, per_stack_s=0.5)
    found = forecast(site)
    alone = 2 * 16 / 110 + 2.5
    assert (found.median_s, found.late_s) == (pytest.approx(alone), pytest.approx(alone))
    assert found.most_waiting == 0
    assert found.keeps_up


def test_stacks_of_one_time_point_queue_for_one_gpu() -> None:
    """Four stacks, 2 s each on the GPU, a network that costs nothing: 2, 4, 6, 8 s."""
    site = Site(1, 60.0, stacks=4, stack_mvoxel=2.0, gpu_mvoxel_per_s=1.0, per_stack_s=0.0,
                network_mb_per_s=1e9)  # fmt: skip
    found = forecast(site)
    assert found.median_s == pytest.approx(6.0)
    assert found.late_s == pytest.approx(8.0)
    assert found.most_waiting == 2, "two are ahead"
    assert forecast(replace(site, gpus=2)).late_s == pytest.approx(4.0)


def test_two_gpus_are_of_no_use_to_one_stack_at_a_time() -> None:
    site = Site(1, 60.0, stacks=4, stack_mvoxel=2.0, gpu_mvoxel_per_s=1.0, per_stack_s=0.0,
                network_mb_per_s=1e9, gpus=2, stacks_ahead=1)  # fmt: skip
    assert forecast(site).late_s == pytest.approx(8.0)


def test_what_cannot_keep_up_falls_behind() -> None:
    slow = Site(10, 10.0, stack_mvoxel=8.4, gpu_mvoxel_per_s=5.0)
    found = forecast(slow)
    assert not found.keeps_up
    assert found.late_s > 100
    network = replace(slow, gpus=20, network_mb_per_s=10.0)
    assert network.gpu_load < 1
    assert not forecast(network).keeps_up


def test_how_many_gpus_for_ten_microscopes() -> None:
    site = Site(10, 10.0, stacks=2, stack_mvoxel=8.4, gpu_mvoxel_per_s=10.0)
    found = fewest_gpus(site, within_s=10.0)
    assert found is not None
    assert found.late_s <= 10.0
    assert found.site.gpus >= site.stacks_per_s * site.gpu_s
    fewer = forecast(replace(site, gpus=found.site.gpus - 1))
    assert not fewer.keeps_up or fewer.late_s > 10.0
    assert fewest_gpus(replace(site, network_mb_per_s=1.0), 10.0) is None
    assert fewest_gpus(site, 0.1) is None, "one stack alone takes longer"


@settings(deadline=None, max_examples=40)
@given(SITES)
def test_no_stack_is_faster_than_its_parts_and_more_gpus_never_hurt(site: Site) -> None:
    found = forecast(site)
    alone = site.gpu_s + 2 * site.link_s
    assert found.median_s >= alone - 1e-9
    assert found.late_s >= found.median_s
    more = forecast(replace(site, gpus=site.gpus + 1))
    assert more.median_s <= found.median_s * 1.05 + 1e-9
    assert more.late_s <= found.late_s * 1.05 + 1e-9


@pytest.mark.parametrize(
    "words",
    [
        ["--every-s", "1e-300"],
        ["--gpu-mvoxel-per-s", "1e-300"],
        ["--network-mb-per-s", "5e-324"],
        ["--every-s", "1e300"],
        ["--instruments", "9" * 12],
        ["--stacks", "9" * 12],
        ["--stack", "99999,99999,99999"],
        ["--gpus", "9" * 30],
    ],
)
def test_what_no_microscope_does_is_refused_in_one_line(words: list[str], capsys: Any) -> None:
    with suppress(SystemExit):
        assert main(["cluster", "plan", "--gpu-mvoxel-per-s", "100", *words]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1
    assert len(printed.err) < 300


@pytest.mark.parametrize("gpus", [[], ["--gpus", "1"]])
def test_a_site_that_is_far_too_small_is_forecast_in_finite_numbers(
    gpus: list[str], capsys: Any
) -> None:
    slowest = ["--gpu-mvoxel-per-s", "0.001", "--every-s", "0.001", "--network-mb-per-s", "0.001"]
    assert main(["cluster", "plan", *slowest, *gpus]) != 0
    printed = capsys.readouterr()
    assert "more than 1000%" in printed.out + printed.err
    assert max(map(len, re.findall(r"\d+", printed.out + printed.err))) < 9
    if gpus:
        main(["cluster", "plan", *slowest, *gpus, "--json"])
        json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
