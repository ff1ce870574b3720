"""A network that is slow, or goes silent: a proxy of ours in front of a port."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

_TICK_S = 0.01
_PIECE = 16_384


class Proxy:
    """Passes on what comes to its port, both ways; a context.

    Parameters
    ----------
    port
        Of this computer, where it goes.
    bytes_per_s
        How much it passes on, both ways together; 0: all.

    Attributes
    ----------
    silent
        While set, connections are taken and stay open, and nothing passes.
    carried
        Bytes so far.
    """

    def __init__(self, port: int, bytes_per_s: float = 0.0) -> None:
        self._to = port
        self._rate = bytes_per_s
        self.silent = threading.Event()
        self.carried = 0
        self._server = socket.create_server(("127.0.0.1", 0))
        self._stopping = threading.Event()
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._thread = threading.Thread(target=self._run)

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self._server.getsockname()[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stopping.set()
        self._thread.join()
        for each in (self._server, *self._pairs):
            each.close()

    def _run(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._server, selectors.EVENT_READ)
            while not self._stopping.is_set():
                if self.silent.is_set():
                    time.sleep(_TICK_S)
                    continue
                for key, _ in selector.select(_TICK_S):
                    assert isinstance(key.fileobj, socket.socket)
                    if key.fileobj is self._server:
                        self._take(selector)
                    else:
                        self._pass_on(selector, key.fileobj)

    def _take(self, selector: selectors.BaseSelector) -> None:
        near, _ = self._server.accept()
        try:
            far = socket.create_connection(("127.0.0.1", self._to))
        except OSError:
            near.close()
            return
        self._pairs |= {near: far, far: near}
        for each in (near, far):
            selector.register(each, selectors.EVENT_READ)

    def _pass_on(self, selector: selectors.BaseSelector, near: socket.socket) -> None:
        far = self._pairs.get(near)
        if far is None:
            return
        data = b""
        with suppress(OSError):
            data = near.recv(_PIECE)
            far.sendall(data)
        self.carried += len(data)
        if self._rate:
            time.sleep(len(data) / self._rate)
        if not data:
            for each in (near, far):
                del self._pairs[each]
                selector.unregister(each)
                each.close()
