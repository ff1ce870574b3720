"""A daemon whose stacks other processes restore: the same results, through everybody's deaths."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from distributed.protocol import dumps, to_serialize

from live_restore.cluster import wire
from live_restore.cluster.models import load_models
from live_restore.cluster.protocol import Request, options_text, to_message
from live_restore.cluster.remote import RemoteRestorer
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.cluster.kills import run
from tests.support.cluster import Started, a_scheduler, a_worker, ended, free_address
from tests.support.processes import PATIENCE_S
from tests.support.systems import needs_signals

SHAPE = (8, 48, 96)


def recorded(folder: Path, stacks: int) -> None:
    folder.mkdir()
    cell = LivingCell(shape_zyx=SHAPE)
    for number in range(stacks):
        tifffile.imwrite(folder / f"{number}.tif", cell.exposed(number), metadata={"axes": "ZYX"})


def test_a_daemons_results_are_the_local_ones(tmp_path: Path) -> None:
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    with ended(scheduler, a_worker(tmp_path / "w", address)):
        watching = []
        for name, device in (("here", "cpu"), ("there", address)):
            recorded(tmp_path / name, 2)
            words = ("watch", str(tmp_path / name), "--once", "--plain", "--device", device)
            watching.append(Started(tmp_path / "state", *words))
        for each in watching:
            assert each.process.wait(PATIENCE_S) == 0, each.said
    for number in range(2):
        here, there = (
            tmp_path / which / "restored" / f"{number}.ome.tif" for which in ("here", "there")
        )
        assert np.array_equal(tifffile.imread(here), tifffile.imread(there))
        report = json.loads(there.with_name(f"{number}.json").read_text(encoding="utf-8"))
        assert report["stacks"][0]["device"] == address
        assert report["seconds"]["transfer"] >= 0
        assert (
            report["recipe"]
            == json.loads(here.with_name(f"{number}.json").read_text(encoding="utf-8"))["recipe"]
        ), "the other's results are known as one's own"


def test_a_result_is_carried_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask fetches a result whenever somebody asks for it."""
    carried: list[int] = []
    read = wire.put_together

    def counted(header: Any, frames: Any) -> Any:
        message = read(header, frames)
        carried.append(message.nbytes)
        return message

    monkeypatch.setattr(wire, "put_together", counted)
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    raw = LivingCell(shape_zyx=SHAPE).exposed(0)
    with ended(scheduler, a_worker(tmp_path / "w", address)):
        settings = load_settings(None, {"inference": {"device": address, "threads": 1}})
        restorer = load_models(settings).rules[0][1]
        assert isinstance(restorer, RemoteRestorer)
        restorer.restore(raw)
        restorer.close()
    (nbytes,) = carried
    assert raw.nbytes < nbytes < raw.nbytes + 40_000, "the result, and the proof of 32 kB"


def test_what_is_sent_is_the_raw_stack_and_little_else() -> None:
    raw = np.zeros((32, 512, 512), np.uint16)
    request = to_message(Request("f" * 64, options_text(load_settings()), raw))
    wire.prepare(10.0)
    frames = dumps({"data": to_serialize(request)}, serializers=wire.SERIALIZERS)
    assert sum(memoryview(frame).nbytes for frame in frames) < raw.nbytes * 1.001


@pytest.mark.slow
@needs_signals
def test_a_few_deaths_harm_nothing(tmp_path: Path) -> None:
    figures = run(tmp_path, kills=2, stacks=4, workers=1, seed=1)
    assert figures.harm == 0, figures


@pytest.mark.slow
@needs_signals
def test_many_deaths_harm_nothing(tmp_path: Path) -> None:
    figures = run(tmp_path, kills=20, stacks=60, workers=2, seed=2)
    assert figures.harm == 0, figures
    assert set(figures.kills) == {"worker", "scheduler", "daemon"}


@pytest.mark.slow
@needs_signals
def test_many_deaths_harm_no_archive(tmp_path: Path) -> None:
    figures = run(tmp_path, kills=20, stacks=60, workers=2, seed=3, archive=True)
    assert figures.harm == 0, figures
    assert set(figures.kills) == {"worker", "scheduler", "daemon"}


@contextmanager
def half_open() -> Iterator[str]:
    """Give the address of something that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken: list[socket.socket] = []

        def accept() -> None:
            while True:
                try:
                    taken.append(server.accept()[0])
                except OSError:
                    return

        thread = threading.Thread(target=accept)
        thread.start()
        try:
            yield f"dask://127.0.0.1:{server.getsockname()[1]}"
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()
            for each in taken:
                each.close()


@needs_signals
def test_a_peer_that_never_answers_is_named_and_stops_nothing(tmp_path: Path) -> None:
    recorded(tmp_path / "raw", 1)
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "config.toml").write_text("[cluster]\ntimeout_s = 1\n", encoding="utf-8")
    with half_open() as address:
        started = Started(tmp_path / "state", "watch", str(tmp_path / "raw"), "--plain",
                          "--device", address)  # fmt: skip
        with ended(started):
            started.wait_for("stacks wait")
            began = time.monotonic()
            assert started.stop() == 0
            assert time.monotonic() - began < 10
    assert address in started.said
    assert "Traceback" not in started.said
