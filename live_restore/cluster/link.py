"""The link to a scheduler: sends a request to a worker that can do it, and returns the answer.

::

    down ──(connected)──> up ──(scheduler gone: all futures are lost)──> down, tried again later
                           │
                           ├── worker died: the same request goes to another one
                           └── wrong numbers: that worker is set aside, the request goes elsewhere

Nothing is kept here: whoever asks still has the raw stack, and asks again.
"""

from __future__ import annotations

import asyncio
import threading
import time
import uuid
from collections.abc import Callable, Coroutine, Mapping
from concurrent.futures import CancelledError as DaskCancelledError
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from live_restore.cluster import wire
from live_restore.cluster.message import Message
from live_restore.cluster.protocol import Offer, is_offer
from live_restore.cluster.station import restore_here

_POLL_S = 0.25
_LOOK_AGAIN_S = 2.0
# Asked whether to stop that much later than it was sent: who is asked may make it wait for planes.
_BEFORE_ASKING_S = 5.0
# A network that carries less is no help to a microscope; who takes nothing at all is gone.
_LEAST_CARRYING_S, _SLOWEST_BYTES_PER_S = 60.0, 1e6
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 1.0, 30.0

LIVE, ARCHIVE = 0, -1
"""Priorities: what a microscope waits for goes before what has waited for days."""


class NobodyThereError(Exception):
    """There is no scheduler, or no worker that can do it; the reason is for a person."""


class WorkerDiedError(Exception):
    """The worker that had the request is gone."""


class StoppedError(Exception):
    """A stop was asked for."""


@dataclass(frozen=True)
class Reply:
    """An answer, and the worker that gave it."""

    message: Message
    worker: str


class _Client(Client):  # type: ignore[misc]
    """Dask's client, which leaves its thread behind where it cannot connect."""

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


class Link:
    """A scheduler, as long as the process lives; safe to use from several threads.

    Parameters
    ----------
    address
        ``dask://HOST:PORT``.
    certificates
        This computer's folder of them.
    timeout_s
        A peer that has not answered for so long counts as gone (s).
    priority
        :data:`LIVE` or :data:`ARCHIVE`.
    """

    def __init__(
        self,
        address: str,
        certificates: Path | None,
        timeout_s: float,
        priority: int = LIVE,
    ) -> None:
        wire.prepare(timeout_s)
        self.address = address
        self._certificates = certificates
        self._security = wire.security(certificates)
        self._timeout_s = timeout_s
        self._priority = priority
        self._lock = threading.Lock()
        self._client: Client | None = None
        self._pause_s, self._again_at, self._reason = 0.0, 0.0, ""
        self._aside: dict[str, str] = {}

    def set_aside(self, worker: str, reason: str) -> None:
        """Ask a worker no more, as long as this process lives."""
        with self._lock:
            self._aside[worker] = reason

    def ask(self, message: Message, offer: Offer, cancelled: Callable[[], bool]) -> Reply:
        """Return what a worker answers.

        Parameters
        ----------
        message
            From ``protocol.to_message``.
        offer
            What the worker must be able to do.
        cancelled
            Whether to stop; asked now and then.

        Raises
        ------
        NobodyThereError
            No scheduler, or no worker.
        WorkerDiedError
            It has to be asked again.
        StoppedError
            ``cancelled``.
        """
        client = self._connected()
        try:
            workers = self._suited(client, offer)
            sent = self._sent(client, message, workers, cancelled)
            answer = client.submit(
                restore_here,
                sent,
                key=f"live-restore-{uuid.uuid4().hex}",
                workers=workers,
                resources={str(offer): 1},
                priority=self._priority,
                retries=0,
                pure=False,
            )
            del sent
            self._wait(client, answer, offer, cancelled)
            return self._fetched(client, answer, message.nbytes, cancelled)
        except (KilledWorker, FutureCancelledError, DaskCancelledError) as error:
            self._require(client)
            raise WorkerDiedError(str(error)) from error
        except (OSError, TimeoutError, ValueError) as error:
            self._require(client)
            raise WorkerDiedError(str(error)) from error

    def _sent(
        self,
        client: Client,
        message: Message,
        workers: list[str],
        cancelled: Callable[[], bool],
    ) -> Future:
        """Send straight to a worker: past the scheduler, which would have to hold it."""
        sending = client.scatter(
            message, workers=workers, direct=True, hash=False, asynchronous=True
        )
        try:
            return self._carried(client, sending, message.nbytes, cancelled)
        except (OSError, TimeoutError, ValueError) as error:
            self._require(client)
            raise NobodyThereError(
                f"no stack reaches {' or '.join(workers)}, where {self.address} has workers; let "
                "its firewall pass them, or see whether they are still there"
            ) from error

    def close(self) -> None:
        """Let go of the scheduler."""
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close(timeout=self._timeout_s)

    def _wait(
        self, client: Client, answer: Future, offer: Offer, cancelled: Callable[[], bool]
    ) -> None:
        began = looked = time.monotonic()
        while not answer.done():
            self._require(client)
            now = time.monotonic()
            if now - began > _BEFORE_ASKING_S and cancelled():
                answer.cancel()
                raise StoppedError
            if now - looked > _LOOK_AGAIN_S:
                looked = now
                self._suited(client, offer)  # else it would wait for a worker that never comes
            with suppress(TimeoutError):
                answer.exception(timeout=_POLL_S)  # waits; the result would be fetched twice

    def _fetched(
        self, client: Client, answer: Future, nbytes: int, cancelled: Callable[[], bool]
    ) -> Reply:
        holders = self._asked(client, client.scheduler.who_has, keys=[answer.key])
        worker = next(iter(holders.get(answer.key, ())), "?")
        fetching = client.gather([answer], direct=True, asynchronous=True)
        (message,) = self._carried(client, fetching, nbytes, cancelled)
        return Reply(message, worker)

    def _carried(
        self,
        client: Client,
        carrying: Coroutine[Any, Any, Any],
        nbytes: int,
        cancelled: Callable[[], bool],
    ) -> Any:
        """Wait for so many bytes to be carried; raises ``TimeoutError`` where nobody takes them."""
        running = asyncio.run_coroutine_threadsafe(carrying, client.loop.asyncio_loop)
        began = time.monotonic()
        limit_s = _LEAST_CARRYING_S + nbytes / _SLOWEST_BYTES_PER_S
        try:
            while True:
                with suppress(TimeoutError):
                    return running.result(_POLL_S)
                self._require(client)
                waited_s = time.monotonic() - began
                if running.done() or waited_s > limit_s:
                    raise TimeoutError(f"not carried in {waited_s:.0f} s")
                if waited_s > _BEFORE_ASKING_S and cancelled():
                    raise StoppedError
        finally:
            running.cancel()

    def _asked(self, client: Client, question: Callable[..., Any], **what: Any) -> Any:
        """Ask the scheduler, which may not answer any more."""
        try:
            return client.sync(question, callback_timeout=self._timeout_s, **what)
        except (OSError, TimeoutError) as error:
            raise NobodyThereError(wire.reason_of(error, self.address)) from error

    def _connected(self) -> Client:
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

    def _require(self, client: Client) -> None:
        """Raise ``NobodyThereError`` where the scheduler is gone."""
        if client.status != "running":
            raise NobodyThereError(
                f"{self.address} does not answer any more; start live-restore scheduler there, "
                "or check the network"
            )

    def _suited(self, client: Client, offer: Offer) -> list[str]:
        """Return the workers that can do it, or say why there is none."""
        known = self._asked(client, client.scheduler.identity, n_workers=-1)
        workers: Mapping[str, Any] = known["workers"]
        offering = [a for a, worker in workers.items() if str(offer) in worker["resources"]]
        suited = [address for address in offering if address not in self._aside]
        if not suited:
            raise NobodyThereError(self._nobody(workers, offer, offering))
        return suited

    def _nobody(self, workers: Mapping[str, Any], offer: Offer, offering: list[str]) -> str:
        if offering:
            reasons = "; ".join(self._aside[address] for address in offering)
            return f"every worker of {self.address} is set aside: {reasons}; restart them"
        there = [
            f"{worker['name']} restores with {', '.join(filter(is_offer, worker['resources']))}"
            for worker in workers.values()
        ]
        return (
            f"no worker of {self.address} restores with {offer} "
            f"({'; '.join(there) or 'there is none'}); start live-restore worker there, of the "
            "same version and with the same model"
        )
