"""A worker: offers this computer's models to the watchers of a scheduler until it is stopped."""

from __future__ import annotations

import asyncio
import math
import secrets
import socket
import time
from collections.abc import Callable

from distributed import Worker, WorkerPlugin
from distributed.comm import connect

from live_restore.cluster import wire
from live_restore.cluster.station import Equipment, Station
from live_restore.errors import SettingsError, UsageError
from live_restore.inference.load import find_model, model_digest
from live_restore.settings.cluster import check_address
from live_restore.settings.devices import is_loopback
from live_restore.settings.model import Settings

_TICK_S = 0.2
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0
# Of a result on its way to a watcher; who stops a worker does not wait for longer.
_CLOSE_S = 10.0

Report = Callable[[str], None]


def work_for(
    scheduler: str,
    settings: Settings,
    report: Report,
    stopping: Callable[[], bool],
    *,
    host: str | None = None,
    wait_s: float = math.inf,
    plugins: Callable[[Station], tuple[WorkerPlugin, ...]] = lambda _: (),
) -> None:
    """Restore for others until ``stopping``; a scheduler that is gone is waited for.

    Parameters
    ----------
    scheduler
        ``dask://HOST:PORT``.
    settings
        Models, device and certificates of this computer.
    report
        Takes a line about every beginning and end.
    stopping
        Asked several times per second.
    host
        Address to listen at; ``None``: the one that the scheduler is reached from.
    wait_s
        For how long a scheduler is waited for (s).
    plugins
        Makes what else the worker is to have.

    Raises
    ------
    SettingsError
        The scheduler's address, or a certificate, cannot be used.
    ModelError, DeviceError
        A model or the device cannot be used.
    """
    certificates = settings.cluster.certificates
    try:
        check_address(scheduler, certificates)
    except ValueError as error:
        raise SettingsError(str(error), None) from None
    wire.prepare(settings.cluster.timeout_s)
    name = socket.gethostname()
    models = [find_model(name) for name in settings.model_names]
    if not models:
        raise UsageError("no model to restore with", None, "name one with --model")
    station = Station(Equipment({model_digest(m): m for m in models}, settings.inference, name))
    keeper = _Keeper(scheduler, settings, station, plugins(station), report, stopping, host, wait_s)
    wire.run(keeper.run())


class _Keeper:
    """Keeps a Dask worker connected; the models stay warm meanwhile."""

    def __init__(
        self,
        scheduler: str,
        settings: Settings,
        station: Station,
        plugins: tuple[WorkerPlugin, ...],
        report: Report,
        stopping: Callable[[], bool],
        host: str | None,
        wait_s: float,
    ) -> None:
        self._scheduler = scheduler
        self._address = wire.dask_address(scheduler, settings.cluster.certificates)
        self._security = wire.security(settings.cluster.certificates)
        self._timeout_s = settings.cluster.timeout_s
        self._station = station
        self._plugins = (station, *plugins)
        self._wait_s = wait_s
        self._report = report
        self._stopping = stopping
        self._host = host

    async def run(self) -> None:
        said, pause_s, until = "", _FIRST_PAUSE_S, time.monotonic() + self._wait_s
        while not self._stopping() and time.monotonic() < until:
            try:
                host = self._host or await self._own_address()
                await self._serve(host)
                said, pause_s, until = "", _FIRST_PAUSE_S, time.monotonic() + self._wait_s
            except (OSError, TimeoutError, ValueError, RuntimeError) as error:
                reason = wire.reason_of(error, self._scheduler)
                if reason != said:
                    self._report(f"{reason}; waiting for it")
                said = reason
                await self._rest(pause_s)
                pause_s = min(2 * pause_s, _LONGEST_PAUSE_S)

    async def _own_address(self) -> str:
        """Return the address from which the scheduler is reached, once it can be."""
        reached = connect(
            self._address,
            timeout=self._timeout_s,
            **self._security.get_connection_args("worker"),
        )
        # Who takes a connection and then says nothing would be waited for without end.
        comm = await asyncio.wait_for(reached, 2 * self._timeout_s)
        try:
            if is_loopback(self._scheduler):
                return "127.0.0.1"
            local: str = comm.local_address
            return local.split("://")[-1].rsplit(":", 1)[0]
        finally:
            await comm.close()

    async def _serve(self, host: str) -> None:
        slots = 2 if self._station.on_gpu else 1
        offers = {str(offer): float(slots) for offer in self._station.offers}
        # Its folder for scratch is Dask's own, who removes there what killed workers have left.
        worker = Worker(
            self._address,
            nthreads=slots,
            name=f"{self._station.host} {secrets.token_hex(4)}",
            resources=offers,
            plugins=self._plugins,
            security=self._security,
            host=host,
            dashboard_address="127.0.0.1:0",
            dashboard=False,
            memory_limit=0,
            death_timeout=self._timeout_s,
        )
        async with worker:
            self._report(f"restores with {', '.join(offers)} for {self._scheduler}")
            while worker.status.name in ("running", "paused"):
                if self._stopping():
                    await worker.close(timeout=_CLOSE_S)
                    return
                await asyncio.sleep(_TICK_S)
        self._report(f"{self._scheduler} is gone; waiting for it")

    async def _rest(self, seconds: float) -> None:
        while seconds > 0 and not self._stopping():
            await asyncio.sleep(_TICK_S)
            seconds -= _TICK_S
