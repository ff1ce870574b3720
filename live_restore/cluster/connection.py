"""The connection to a scheduler: made again whenever it was lost, and who works there.

::

    down ──(connected)──> up ──(scheduler gone: all futures are lost)──> down, tried again later
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from distributed import Client

from live_restore.cluster import wire
from live_restore.cluster.protocol import Offer, is_offer

_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0

LIVE, ARCHIVE = 0, -1
"""Priorities: what a microscope waits for goes before what has waited for days."""


class NobodyThereError(Exception):
    """There is no scheduler, or no worker that can do it; the reason is for a person."""


class _Client(Client):  # type: ignore[misc]
    """Dask's client; without leaving a thread behind, or a connection that it has begun."""

    def start(self, **options: Any) -> None:
        """Connect."""
        try:
            super().start(**options)
        except BaseException:
            self._loop_runner.stop()
            self.status = "closed"
            raise

    async def _start(self, timeout: float, **options: Any) -> None:
        # Who takes a connection and then says nothing would be waited for without end.
        await asyncio.wait_for(super()._start(timeout=timeout, **options), 2 * timeout)

    async def _reconnect(self) -> None:
        # Who has lost its scheduler is closed, and another one is made: see ``Connection.client``.
        # One that Dask had begun to connect meanwhile would be left open.
        self.scheduler_comm = None
        for state in self.futures.values():
            state.cancel()
        self.futures.clear()


class Connection:
    """A scheduler, as long as the process lives; safe to use from several threads.

    Parameters
    ----------
    address
        ``dask://HOST:PORT``.
    certificates
        This computer's folder of them.
    timeout_s
        A peer that has not answered for so long counts as gone (s).
    """

    def __init__(self, address: str, certificates: Path | None, timeout_s: float) -> None:
        wire.prepare(timeout_s)
        self.address = address
        self._certificates = certificates
        self._security = wire.security(certificates)
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pause_s, self._again_at, self._reason = 0.0, 0.0, ""
        self._aside: dict[str, str] = {}

    def set_aside(self, worker: str, reason: str) -> None:
        """Ask a worker no more, as long as this process lives."""
        with self._lock:
            self._aside[worker] = reason

    def is_set_aside(self, worker: str) -> bool:
        """Return whether a worker is asked no more."""
        with self._lock:
            return worker in self._aside

    def client(self) -> Client:
        """Return the connected client; raises ``NobodyThereError``."""
        with self._lock:
            if self._client is not None and self._client.status == "running":
                return self._client
            if time.monotonic() < self._again_at:
                raise NobodyThereError(self._reason)
            old, self._client = self._client, None
            if old is not None:
                old.close(timeout=1)
            try:
                self._client = _Client(
                    wire.dask_address(self.address, self._certificates),
                    security=self._security,
                    timeout=self._timeout_s,
                    set_as_default=False,
                    direct_to_workers=True,
                    serializers=wire.SERIALIZERS,
                    deserializers=wire.DESERIALIZERS,
                    name="live-restore",
                )
            except (OSError, TimeoutError, ValueError, RuntimeError) as error:
                self._pause_s = min(max(_FIRST_PAUSE_S, 2 * self._pause_s), _LONGEST_PAUSE_S)
                self._again_at = time.monotonic() + self._pause_s
                self._reason = wire.reason_of(error, self.address)
                raise NobodyThereError(self._reason) from error
            self._pause_s = 0.0
            return self._client

    def require(self, client: Client) -> None:
        """Raise ``NobodyThereError`` where the scheduler is gone."""
        if client.status != "running":
            raise self._silent()

    def _silent(self) -> NobodyThereError:
        return NobodyThereError(
            f"{self.address} does not answer any more; start live-restore scheduler there, or "
            "check the network"
        )

    def asked(self, client: Client, question: Callable[..., Any], **what: Any) -> Any:
        """Ask the scheduler, which may not answer any more; raises ``NobodyThereError``."""
        try:
            return client.sync(question, callback_timeout=self._timeout_s, **what)
        except (OSError, TimeoutError) as error:
            raise self._silent() from error

    def suited(self, client: Client, offers: Sequence[Offer]) -> dict[str, int]:
        """Return the workers that can do it, and how much each does at once.

        Parameters
        ----------
        offers
            All that a worker must be able to do.

        Raises
        ------
        NobodyThereError
            There is none, and why.
        """
        known = self.asked(client, client.scheduler.identity, n_workers=-1)
        workers: Mapping[str, Any] = known["workers"]
        needed = {str(offer) for offer in offers}
        offering = {a: w for a, w in workers.items() if needed <= w["resources"].keys()}
        suited = {a: int(w["nthreads"]) for a, w in offering.items() if a not in self._aside}
        if not suited:
            raise NobodyThereError(self._nobody(workers, offers, list(offering)))
        return suited

    def close(self) -> None:
        """Let go of the scheduler."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout=self._timeout_s)

    def _nobody(
        self, workers: Mapping[str, Any], offers: Sequence[Offer], offering: list[str]
    ) -> str:
        if offering:
            reasons = "; ".join(self._aside[address] for address in offering)
            return f"every worker of {self.address} is set aside: {reasons}; restart them"
        there = [
            f"{worker['name']} restores with {', '.join(filter(is_offer, worker['resources']))}"
            for worker in workers.values()
        ]
        return (
            f"no worker of {self.address} restores with {' and '.join(map(str, offers))} "
            f"({'; '.join(there) or 'there is none'}); start live-restore worker there, of the "
            "same version and with the same model"
        )
