"""Server-sent events: every client hears of the newest version, and never of a backlog of them.

A client that does not read holds one small message, not a queue; after a while it is let go.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

MOST_LISTENERS = 64
_HEARTBEAT_S = 10.0
_STUCK_S = 30.0
"""A client that takes no byte for this long is let go."""


class Announcer:
    """Wakes the listeners when something has changed; belongs to one event loop."""

    def __init__(self, summary: Callable[[], dict[str, Any]]) -> None:
        self._summary = summary
        self._changed = asyncio.Condition()
        self._number = 0
        self._text = ""
        self.listeners = 0
        self.closing = False

    async def announce(self) -> None:
        """Tell everybody; what is told is put together once for all of them."""
        text = json.dumps(self._summary())
        async with self._changed:
            self._number += 1
            self._text = text
            self._changed.notify_all()

    async def close(self) -> None:
        """Let every listener go."""
        async with self._changed:
            self.closing = True
            self._changed.notify_all()

    async def next(self, seen: int) -> tuple[int, str]:
        """Return the newest announcement after ``seen``, or ("", after a while) none."""
        async with self._changed:
            try:
                await asyncio.wait_for(
                    self._changed.wait_for(lambda: self._number != seen or self.closing),
                    _HEARTBEAT_S,
                )
            except TimeoutError:
                return seen, ""
            return self._number, self._text


class EventStream:
    """The answer to one listener."""

    def __init__(self, announcer: Announcer) -> None:
        self._announcer = announcer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send events until the client goes, or does not read."""
        announcer = self._announcer
        if announcer.listeners >= MOST_LISTENERS:
            busy = PlainTextResponse("too many open pages\n", 503, {"Retry-After": "10"})
            await busy(scope, receive, send)
            return
        announcer.listeners += 1
        gone = asyncio.create_task(_gone(receive))
        sending = asyncio.create_task(self._send_all(send))
        try:
            await asyncio.wait((gone, sending), return_when=asyncio.FIRST_COMPLETED)
        finally:
            announcer.listeners -= 1
            for task in (gone, sending):
                task.cancel()
            await asyncio.gather(gone, sending, return_exceptions=True)

    async def _send_all(self, send: Send) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-store")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        seen, text = -1, ""
        while not self._announcer.closing:
            body = f"event: run\ndata: {text}\n\n" if text else ": still here\n\n"
            message = {"type": "http.response.body", "body": body.encode(), "more_body": True}
            await asyncio.wait_for(send(message), _STUCK_S)
            seen, text = await self._announcer.next(seen)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
