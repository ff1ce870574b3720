"""A stack that another process restores: equal to the bit, and whole through its deaths."""

from __future__ import annotations

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from live_restore.cluster.models import load_models
from live_restore.cluster.remote import RemoteRestorer
from live_restore.errors import RuntimeFailureError, StackRefusedError
from live_restore.inference.network_runs import CancelledError
from live_restore.inference.restored import Restored
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.support.cluster import Started, a_scheduler, a_worker, ended, free_address
from tests.support.systems import needs_signals


@functools.cache
def raw() -> NDArray[np.uint16]:
    return LivingCell(shape_zyx=(8, 48, 96)).exposed(1)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A scheduler and a worker that is well."""
    folder, address = tmp_path_factory.mktemp("cluster"), free_address()
    with ended(a_scheduler(folder / "scheduler", address), a_worker(folder / "worker", address)):
        yield address


@contextmanager
def restorer_at(
    address: str,
    report: list[str] | None = None,
    beside: str = "",
    timeout_s: float = 10.0,
    **sections: Any,
) -> Iterator[RemoteRestorer]:
    """A watcher's restorer."""
    device = f"{address}, {beside}" if beside else address
    settings = load_settings(
        None,
        {
            "inference": {"device": device, "threads": 1, **sections.pop("inference", {})},
            "cluster": {"timeout_s": timeout_s},
            **sections,
        },
    )
    models = load_models(settings, (report if report is not None else []).append)
    restorer = models.rules[0][1]
    assert isinstance(restorer, RemoteRestorer)
    try:
        yield restorer.with_camera(settings.camera)
    finally:
        restorer.close()


def local(**sections: Any) -> Restored:
    """The same on this computer."""
    inference = {"device": "cpu", "threads": 1, **sections.pop("inference", {})}
    settings = load_settings(None, {"inference": inference, **sections})
    restorer = load_models(settings).rules[0][1]
    assert restorer is not None
    return restorer.with_camera(settings.camera).restore(raw())


SOON: dict[str, Any] = {"cluster": {"timeout_s": 0.5}}
CAMERA = {"gain_adu_per_e": 2.0, "offset_adu": 100.0, "read_noise_e": 1.5}


@pytest.mark.parametrize(
    "sections",
    [
        {},
        {"output": {"units": "camera-float"}, "camera": CAMERA},
        {"output": {"error_bars": True}, "camera": CAMERA, "trust": {"less_light_every": 0}},
        {
            "inference": {
                "percentiles": [1.0, 99.0],
                "tiling": "reference",
                "block_zyx": [8, 32, 64],
            }
        },
    ],
)
def test_the_result_is_the_local_one_to_the_bit(cluster: str, sections: dict[str, Any]) -> None:
    said: list[str] = []
    with restorer_at(cluster, said, **sections) as restorer:
        there = restorer.restore(raw())
        device = restorer.model.session.device
    here = local(**sections)
    assert there.volume.dtype == here.volume.dtype
    assert there.volume.tobytes() == here.volume.tobytes()
    assert (there.scale, there.percentiles, there.given_back) == (
        here.scale,
        here.percentiles,
        here.given_back,
    )
    assert there.gain == here.gain
    assert (there.gain is None) is ("camera" not in sections)
    assert (there.error_bars is None) == (here.error_bars is None)
    if there.error_bars is not None and here.error_bars is not None:
        bars = (there.error_bars.standard_error, here.error_bars.standard_error)
        assert bars[0] is not None
        assert bars[1] is not None
        assert bars[0].tobytes() == bars[1].tobytes()
    assert there.seconds.keys() - here.seconds.keys() == {"transfer"}
    assert device.name == cluster
    assert device.elsewhere
    assert "onnxruntime" in device.provider
    assert said == []


def test_a_stack_with_nothing_in_it_is_refused_there_as_here(cluster: str) -> None:
    with restorer_at(cluster) as restorer, pytest.raises(StackRefusedError, match="is constant"):
        restorer.restore(np.full((8, 32, 32), 7, np.uint16))


def test_nobody_there_and_nobody_here_waits_loudly_until_stopped() -> None:
    said: list[str] = []
    address = free_address()
    asked = threading.Event()

    def cancelled() -> bool:
        done, _ = asked.is_set(), asked.set()
        return done and bool(said)

    with restorer_at(address, said, **SOON) as restorer, pytest.raises(CancelledError):
        restorer.restore(raw(), cancelled)
    (line,) = said
    assert address in line
    assert line.endswith("; stacks wait")


def test_nobody_there_and_a_device_here_restores_here_loudly() -> None:
    said: list[str] = []
    address = free_address()
    with restorer_at(address, said, "cpu", **SOON) as restorer:
        restored = [restorer.restore(raw()), restorer.restore(raw())]
        assert restorer.model.session.device.name == "cpu"
    assert restored[1].volume.tobytes() == local().volume.tobytes()
    (line,) = said
    assert line.endswith("; restoring on this computer")


def test_a_worker_of_another_version_is_refused_by_name(tmp_path: Path) -> None:
    said: list[str] = []
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    old = a_worker(tmp_path / "w", address, odd="old")
    with (
        ended(scheduler, old),
        restorer_at(address, said) as restorer,
        pytest.raises(CancelledError),
    ):
        restorer.restore(raw(), lambda: bool(said))
    (line,) = said
    assert "live-restore 0.0.1 fast" in line
    assert "of the same version and with the same model" in line


def test_a_worker_with_wrong_numbers_is_set_aside_and_not_the_stack(tmp_path: Path) -> None:
    said: list[str] = []
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    sick = a_worker(tmp_path / "sick", address, odd="wrong")
    with ended(scheduler, sick), restorer_at(address, said) as restorer:
        result: list[Restored] = []
        thread = threading.Thread(target=lambda: result.append(restorer.restore(raw())))
        thread.start()
        deadline = time.monotonic() + 60
        while not any("set aside" in line for line in said):
            assert thread.is_alive(), "it believed the wrong numbers"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with ended(a_worker(tmp_path / "well", address)):
            thread.join(60)
    assert result
    assert result[0].volume.tobytes() == local().volume.tobytes()
    assert any("computes wrong numbers" in line and "gets no more stacks" in line for line in said)


def test_a_runtime_that_fails_on_a_stack_and_still_gives_right_answers_blames_the_stack(
    tmp_path: Path,
) -> None:
    said: list[str] = []
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    failing = a_worker(tmp_path / "w", address, odd="failing")
    with (
        ended(scheduler, failing),
        restorer_at(address, said) as restorer,
        pytest.raises(RuntimeFailureError, match="the driver was reset"),
    ):
        restorer.restore(raw())
    assert said == []


@pytest.mark.slow
def test_a_stack_that_kills_its_workers_is_given_up_and_a_worker_that_dies_loses_nothing(
    tmp_path: Path,
) -> None:
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    deadly: list[Started] = []
    stopped = threading.Event()

    def supervise() -> None:
        while not stopped.is_set():
            if not deadly or deadly[-1].process.poll() is not None:
                words = ("worker", "--scheduler", address, "--device", "cpu")
                deadly.append(Started(tmp_path / "w", *words, odd="deadly"))
            time.sleep(0.05)

    thread = threading.Thread(target=supervise)
    thread.start()
    try:
        with (
            ended(scheduler),
            restorer_at(address) as restorer,
            pytest.raises(RuntimeFailureError, match=r"3 workers .* died while they had it"),
        ):
            restorer.restore(raw())
    finally:
        stopped.set()
        thread.join()
        for each in deadly:
            each.kill()


def test_a_scheduler_that_starts_again_finds_its_worker_again(tmp_path: Path) -> None:
    said: list[str] = []
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    worker = a_worker(tmp_path / "w", address)
    with ended(worker), restorer_at(address, said) as restorer:
        before = restorer.restore(raw())
        scheduler.kill()
        worker.wait_for("is gone")
        with ended(a_scheduler(tmp_path / "s", address)):
            after = restorer.restore(raw())
            assert worker.stop() == 0
    assert before.volume.tobytes() == after.volume.tobytes()


@pytest.mark.slow
@needs_signals
def test_a_worker_that_hangs_costs_time_and_can_be_stopped_beside(tmp_path: Path) -> None:
    """Stopped, not dead: its sockets are open, and nobody answers."""
    said: list[str] = []
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    hanging = a_worker(tmp_path / "h", address)
    with ended(scheduler, hanging), restorer_at(address, said) as restorer:
        restorer.restore(raw())
        os.kill(hanging.process.pid, signal.SIGSTOP)
        began = time.monotonic()
        with pytest.raises(CancelledError):
            restorer.restore(raw(), lambda: True)
        assert time.monotonic() - began < 20
        with ended(a_worker(tmp_path / "w", address)):
            restored = restorer.restore(raw())
        os.kill(hanging.process.pid, signal.SIGCONT)
    assert restored.volume.tobytes() == local().volume.tobytes()
