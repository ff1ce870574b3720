"""The link to a scheduler: sends a request to a worker that can do it, and returns the answer.

::

    ask ──> sent to a worker ──> answered ──> fetched
             │
             ├── worker died: the same request goes to another one
             └── wrong numbers: that worker is set aside, the request goes elsewhere

Nothing is kept here: whoever asks still has the raw stack, and asks again.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Coroutine
from concurrent.futures import CancelledError as DaskCancelledError
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from distributed import Client, Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from live_restore.cluster.connection import Connection, NobodyThereError
from live_restore.cluster.message import Message
from live_restore.cluster.protocol import Offer
from live_restore.cluster.station import restore_here

_POLL_S = 0.25
_LOOK_AGAIN_S = 2.0
# Asked whether to stop that much later than it was sent: who is asked may make it wait for planes.
_BEFORE_ASKING_S = 5.0
# A network that carries less is no help to a microscope; who takes nothing at all is gone.
_LEAST_CARRYING_S, _SLOWEST_BYTES_PER_S = 60.0, 1e6


class WorkerDiedError(Exception):
    """The worker that had the request is gone."""


class StoppedError(Exception):
    """A stop was asked for."""


@dataclass(frozen=True)
class Reply:
    """An answer, and the worker that gave it."""

    message: Message
    worker: str


class Link:
    """Stacks to the workers of a scheduler and back; safe to use from several threads.

    Parameters
    ----------
    connection
        To the scheduler.
    priority
        :data:`LIVE` or :data:`ARCHIVE`.
    """

    def __init__(self, connection: Connection, priority: int) -> None:
        self._connection = connection
        self._priority = priority

    @property
    def address(self) -> str:
        """The scheduler's."""
        return self._connection.address

    def set_aside(self, worker: str, reason: str) -> None:
        """Ask a worker no more, as long as this process lives."""
        self._connection.set_aside(worker, reason)

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
        client = self._connection.client()
        try:
            workers = list(self._connection.suited(client, [offer]))
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
            self._connection.require(client)
            raise WorkerDiedError(str(error)) from error
        except (OSError, TimeoutError, ValueError) as error:
            self._connection.require(client)
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
            self._connection.require(client)
            raise NobodyThereError(
                f"no stack reaches {' or '.join(workers)}, where {self.address} has workers; let "
                "its firewall pass them, or see whether they are still there"
            ) from error

    def close(self) -> None:
        """Let go of the scheduler."""
        self._connection.close()

    def _wait(
        self, client: Client, answer: Future, offer: Offer, cancelled: Callable[[], bool]
    ) -> None:
        began = looked = time.monotonic()
        while not answer.done():
            self._connection.require(client)
            now = time.monotonic()
            if now - began > _BEFORE_ASKING_S and cancelled():
                answer.cancel()
                raise StoppedError
            if now - looked > _LOOK_AGAIN_S:
                looked = now
                # Else it would wait for a worker that never comes.
                self._connection.suited(client, [offer])
            with suppress(TimeoutError):
                answer.exception(timeout=_POLL_S)  # waits; the result would be fetched twice

    def _fetched(
        self, client: Client, answer: Future, nbytes: int, cancelled: Callable[[], bool]
    ) -> Reply:
        holders = self._connection.asked(client, client.scheduler.who_has, keys=[answer.key])
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
                self._connection.require(client)
                waited_s = time.monotonic() - began
                if running.done() or waited_s > limit_s:
                    raise TimeoutError(f"not carried in {waited_s:.0f} s")
                if waited_s > _BEFORE_ASKING_S and cancelled():
                    raise StoppedError
        finally:
            running.cancel()
