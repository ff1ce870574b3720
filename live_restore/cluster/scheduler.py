"""The scheduler: where watchers and workers find each other.

It is Dask's own. ``dask scheduler`` would do but for three things: it listens on every interface,
opens a page for a browser there, and takes anybody without a certificate, unless all three are
asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from distributed import Scheduler

from live_restore.cluster import wire
from live_restore.errors import SettingsError
from live_restore.settings.cluster import check_address

_TICK_S = 0.2
# The watchers count for themselves how many workers a stack has cost: they know its attempts.
_ALLOWED_FAILURES = 0

Report = Callable[[str], None]


def schedule(
    address: str,
    certificates: Path | None,
    timeout_s: float,
    report: Report,
    stopping: Callable[[], bool],
) -> None:
    """Bring watchers and workers together until ``stopping``.

    Parameters
    ----------
    address
        ``dask://HOST:PORT`` to listen at.
    certificates
        This computer's folder of them.
    timeout_s
        A peer that has not answered for so long counts as gone (s).
    report
        Takes a line once it listens.
    stopping
        Asked several times per second.

    Raises
    ------
    SettingsError
        It cannot listen there, or not safely.
    """
    try:
        check_address(address, certificates)
    except ValueError as error:
        raise SettingsError(str(error), None) from None
    wire.prepare(timeout_s)
    try:
        wire.run(_run(address, certificates, report, stopping))
    except OSError as error:
        raise SettingsError(
            f"cannot listen there ({error.strerror or error})", address, "choose another port"
        ) from None


async def _run(
    address: str, certificates: Path | None, report: Report, stopping: Callable[[], bool]
) -> None:
    protocol, _, place = wire.dask_address(address, certificates).partition("://")
    host, _, port = place.rpartition(":")
    scheduler = Scheduler(
        host=host,
        port=int(port),
        protocol=protocol,
        security=wire.security(certificates),
        dashboard_address="127.0.0.1:0",
        dashboard=False,
        allowed_failures=_ALLOWED_FAILURES,
    )
    async with scheduler:
        guard = "with certificates" if certificates else "without certificates, this computer only"
        report(f"listens at {address} ({guard})")
        while not stopping() and scheduler.status.name == "running":
            await asyncio.sleep(_TICK_S)
