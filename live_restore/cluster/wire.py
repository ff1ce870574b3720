"""How Dask carries our messages: its own sockets and TLS, our own serializer instead of pickle.

Dask pickles what is its own: the name of the function to call, and errors of its scheduler. So
whoever may speak to a scheduler may run what he likes on its workers, and a scheduler on its
clients; which is why nobody without a certificate may, and only loopback goes without one.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
import warnings
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import dask
from distributed import Security
from distributed.config import get_loop_factory
from distributed.protocol.serialize import register_serialization_family
from distributed.versions import VersionMismatchWarning

from live_restore.cluster.certificates import AUTHORITY, CERTIFICATE, KEY, require_member
from live_restore.cluster.message import Message, put_together, taken_apart

FAMILY = "live-restore"
SERIALIZERS = (FAMILY, "dask", "pickle")
"""What we write with: ours for messages, Dask's for its own."""
DESERIALIZERS = (FAMILY, "error")
"""What watchers read results with: no pickle passes for one."""


_LOOK_S = 1.0
# Dask asks a silent peer ten times, a second apart, and takes no shorter limit.
_SHORTEST_TCP_S = 12.0
_CHATTY = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application")


def _dumps(value: object) -> tuple[dict[str, Any], list[memoryview]]:
    if not isinstance(value, Message):
        raise NotImplementedError  # Dask's way of asking for the next family
    header, frames = taken_apart(value)
    return {"serializer": FAMILY, **header}, frames


def _loads(header: Mapping[str, Any], frames: Sequence[Any]) -> Message:
    return put_together(dict(header), frames)


def prepare(timeout_s: float) -> None:
    """Register the serializer, and set how long Dask waits for a silent peer (s)."""
    register_serialization_family(FAMILY, _dumps, _loads)
    # Between Windows and Linux numpy or Python differ easily; our messages depend on neither.
    warnings.filterwarnings("ignore", category=VersionMismatchWarning)
    # What matters of it is reported in our words; Dask's own come with tracebacks.
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    dask.config.set(
        {
            "distributed.comm.timeouts.connect": f"{timeout_s:g}s",
            "distributed.comm.timeouts.tcp": f"{max(_SHORTEST_TCP_S, timeout_s):g}s",
            # What is lost is noticed and sent again here, where the stack is.
            "distributed.comm.retry.count": 0,
            "distributed.scheduler.worker-ttl": f"{max(10.0, 3 * timeout_s):g}s",
            # Not for us to spill: what is ahead is bounded by who sends it.
            "distributed.worker.memory.target": False,
            "distributed.worker.memory.spill": False,
            "distributed.worker.memory.pause": False,
            "distributed.worker.memory.terminate": False,
            "distributed.worker.profile.enabled": False,
            "distributed.admin.tick.limit": "60s",
        }
    )


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run it as ``asyncio.run``, in the loop that Dask wants: on Windows not the usual one."""
    with asyncio.Runner(loop_factory=get_loop_factory()) as runner:
        runner.run(main)


def security(certificates: Path | None) -> Security:
    """Return how to prove who we are, and ask for the same; raises ``SettingsError``."""
    if certificates is None:
        return Security(require_encryption=False)
    require_member(certificates)
    own = {"cert": str(certificates / CERTIFICATE), "key": str(certificates / KEY)}
    roles = {
        f"tls_{role}_{what}": path
        for role in ("client", "worker", "scheduler")
        for what, path in own.items()
    }
    return Security(tls_ca_file=str(certificates / AUTHORITY), require_encryption=True, **roles)


def dask_address(address: str, certificates: Path | None) -> str:
    """Return Dask's own form of ``dask://HOST:PORT``."""
    protocol = "tcp" if certificates is None else "tls"
    return address.replace("dask", protocol, 1)


def reason_of(error: BaseException, address: str) -> str:
    """Return in one line why a scheduler cannot be spoken to."""
    if any(isinstance(each, ssl.SSLError) for each in _causes(error)) or _listens(address):
        return (
            f"{address} is there, but it and this computer do not accept each other's "
            "certificates; set cluster.certificates on both to folders that one live-restore "
            "cluster init has made, or on neither"
        )
    return f"{address} does not answer; start live-restore scheduler there, or check the network"


def _listens(address: str) -> bool:
    """Return whether anybody listens there: whoever hangs up without a word wants another guard."""
    host, _, port = address.removeprefix("dask://").rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_LOOK_S).close()
    except OSError:
        return False
    return True


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
