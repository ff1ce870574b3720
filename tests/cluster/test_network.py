"""Networks that are slow or go silent, full disks, and several who want the same worker."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import tifffile

from live_restore.cluster import link
from live_restore.cluster.remote import RemoteRestorer
from live_restore.inference.restored import Restored
from tests.archive.test_archive import client, recorded, results
from tests.cluster.test_restoring import local, raw, restorer_at
from tests.support.cluster import Started, a_scheduler, a_worker, ended, free_address
from tests.support.processes import PATIENCE_S, wait_for
from tests.support.proxy import Proxy
from tests.support.small_disks import small_disk
from tests.support.systems import needs_signals


def _port(address: str) -> int:
    return int(address.rpartition(":")[2])


@contextmanager
def behind(folder: Path, bytes_per_s: float = 0.0) -> Iterator[tuple[str, Proxy]]:
    """A worker that watchers reach through a proxy."""
    address, inside = free_address(), _port(free_address())
    with (
        Proxy(inside, bytes_per_s) as proxy,
        ended(
            a_scheduler(folder / "s", address),
            a_worker(folder / "w", address, odd=f"behind {inside} {proxy.port}"),
        ),
    ):
        yield address, proxy


def restored_while_silent(restorer: RemoteRestorer, proxy: Proxy, said: list[str]) -> None:
    """Restore a stack, and another one in a silence that ends when somebody has complained."""
    restorer.restore(raw())
    proxy.silent.set()
    result: list[Restored] = []
    thread = threading.Thread(target=lambda: result.append(restorer.restore(raw())))
    thread.start()
    wait_for(lambda: bool(said), "a word")
    proxy.silent.clear()
    thread.join(PATIENCE_S)
    assert result
    assert result[0].volume.tobytes() == local().volume.tobytes()


@pytest.mark.slow
def test_a_slow_network_takes_its_time_and_changes_nothing(tmp_path: Path) -> None:
    said: list[str] = []
    with behind(tmp_path, 400e3) as (address, proxy), restorer_at(address, said) as restorer:
        before, began = proxy.carried, time.monotonic()
        there = restorer.restore(raw())
        took_s, carried = time.monotonic() - began, proxy.carried - before
    assert took_s > raw().nbytes / 400e3, "it did not pass the proxy"
    assert there.volume.tobytes() == local().volume.tobytes()
    assert carried < 1.05 * 2 * raw().nbytes + 40_000, "raw, result, and the proof of 32 kB"
    assert said == []


def test_a_connection_that_goes_silent_is_named_and_its_stack_is_not_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_LEAST_CARRYING_S", 1.0)
    said: list[str] = []
    with behind(tmp_path) as (address, proxy), restorer_at(address, said) as restorer:
        restored_while_silent(restorer, proxy, said)
    assert said[0].startswith("no stack reaches tcp://127.0.0.1:")
    assert "firewall" in said[0]
    assert said[0].endswith("; stacks wait")
    assert said[1:] == [f"{address} restores again"]


@pytest.mark.slow
def test_a_scheduler_that_goes_silent_is_named_and_found_again(tmp_path: Path) -> None:
    said: list[str] = []
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    with (
        ended(scheduler, a_worker(tmp_path / "w", address)),
        Proxy(_port(address)) as proxy,
        restorer_at(f"dask://127.0.0.1:{proxy.port}", said, timeout_s=1.0) as restorer,
    ):
        restored_while_silent(restorer, proxy, said)
    assert "does not answer any more" in said[0]
    assert said[0].endswith("; stacks wait")


@pytest.mark.slow
@needs_signals
@pytest.mark.parametrize("side", ["watcher", "worker"])
def test_a_full_disk_on_either_side_is_one_clear_line_and_nothing_is_lost(
    tmp_path: Path, side: str
) -> None:
    raw, address = recorded(tmp_path / "raw", 3), free_address()
    with (
        ended(a_scheduler(tmp_path / "s", address), a_worker(tmp_path / "w", address)),
        small_disk(tmp_path / "disk", 210) as disk,
    ):
        output = f'[output]\ntemplate = "{disk}/restored/{{name}}.ome.tif"\nmin_free_gb = 0\n'
        folder = tmp_path / "state"

        def run() -> tuple[int, str]:
            if side == "worker":
                started = client(folder, raw, address, output)
            else:
                folder.mkdir(exist_ok=True)
                (folder / "config.toml").write_text(output, encoding="utf-8")
                started = Started(folder, "watch", str(raw), "--once", "--plain", "--device",
                                  address)  # fmt: skip
            with ended(started):
                return started.process.wait(PATIENCE_S), started.said

        code, said = run()
        assert code == 1
        assert "free some space" in said
        assert "Traceback" not in said
        assert len(list(disk.glob("restored/*.json"))) in (1, 2)
        subprocess.run(["mount", "-o", "remount,size=4m", str(disk)], check=True)
        code, said = run()
        assert code == 0, said
        found = results(disk)
        for number in range(3):
            there = tifffile.imread(disk / "restored" / f"{number}.ome.tif")
            assert there.shape == raw().shape
    assert found == sorted(f"{n}.{end}" for n in range(3) for end in ("json", "ome.tif"))


@pytest.mark.slow
def test_several_watchers_get_fair_shares_and_go_before_an_archive(tmp_path: Path) -> None:
    address = free_address()
    archive = recorded(tmp_path / "a", 8)
    order: list[str] = []
    with ended(a_scheduler(tmp_path / "s", address), a_worker(tmp_path / "w", address, odd="slow")):
        started = client(tmp_path / "state", archive, address)
        with ended(started), restorer_at(address) as one, restorer_at(address) as other:
            wait_for(lambda: bool(list(archive.glob("restored/*.json"))), "the archive")

            def watch(name: str) -> None:
                for _ in range(3):
                    (one if name == "one" else other).restore(raw())
                    order.append(name)

            before = len(list(archive.glob("restored/*.json")))
            threads = [threading.Thread(target=watch, args=(n,)) for n in ("one", "other")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE_S)
            meanwhile = len(list(archive.glob("restored/*.json"))) - before
            assert started.process.poll() is None, "the archive was through: nothing was seen"
            assert started.process.wait(PATIENCE_S) == 0, started.said
    assert abs(order[:4].count("one") - 2) <= 1, order
    assert meanwhile <= 4, "six live stacks had to wait for the archive's"
    assert len(results(archive)) == 16
