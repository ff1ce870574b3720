"""The page's process: looks at a run, serves it to browsers, and touches nothing of it.

::

    daemon ──writes──> journal, results, reports <──reads── page <──http── browsers
                       raw data                  <──reads──

It may crash, hang or be killed at any moment; whoever starts it again sees the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import psutil

from live_restore.errors import UsageError
from live_restore.overview.run import Run
from live_restore.page.app import PageApp
from live_restore.page.doing import Doing
from live_restore.page.guard import Guard
from live_restore.page.pixels import Pixels
from live_restore.page.tasks import Tasks
from live_restore.settings.model import FilesSettings

_LOOPBACK = frozenset(("127.0.0.1", "localhost", "::1"))
_NICE = 15
"""Below the daemon (5), which is below the acquisition program."""
_MOST_CONNECTIONS = 200
_CLOSE_S = 1
_STOP_LOOK_S = 0.1


@dataclass(frozen=True)
class Address:
    """Where the page is served."""

    host: str
    port: int

    @property
    def loopback(self) -> bool:
        """Whether only this computer can reach it."""
        if self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False


def serve(
    root: Path,
    journal: Path,
    address: Address,
    *,
    files: FilesSettings | None = None,
    models: tuple[str, ...] = (),
    config: Path | None = None,
    report: Callable[[str, str], None],
    no_browser: Callable[[], None] | None = None,
) -> None:
    """Serve the page of one watched folder until a signal ends it.

    Parameters
    ----------
    root, journal
        The watched folder, and the file of its journal.
    address
        Where; any but this computer itself needs the token that is reported.
    files
        How files are understood, as the daemon does.
    models, config
        Models that the settings name beside the bundled ones, and the settings' file: for previews.
    report
        Gets the address to look at it, and the one to act, too, once it answers.
    no_browser
        Given, the latter is opened in the browser of this computer; called where there is none.

    Raises
    ------
    UsageError
        The address cannot be had.
    """
    import uvicorn

    _give_way()
    listening = _listen(address)
    port = int(listening.getsockname()[1])
    token = secrets.token_urlsafe(24)
    app = page_app(root, journal, files=files, models=models, config=config)
    shown = socket.gethostname() if address.host in ("0.0.0.0", "::") else address.host  # noqa: S104
    url = f"http://{f'[{shown}]' if ':' in shown else shown}:{port}/"
    to_act = f"{url}?token={token}"
    logging.getLogger("uvicorn.error").setLevel(logging.WARNING)
    options = uvicorn.Config(
        _guard_of(app, address, token),
        log_config=None,
        access_log=False,
        server_header=False,
        date_header=False,
        proxy_headers=False,
        limit_concurrency=_MOST_CONNECTIONS,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=_CLOSE_S,
        h11_max_incomplete_event_size=16 * 1024,
        http="h11",
        ws="none",
        lifespan="on",
    )
    server = uvicorn.Server(options)

    async def run() -> None:
        serving = asyncio.create_task(server.serve([listening]))
        while not (server.started or serving.done()):
            await asyncio.sleep(0.01)
        if server.started:
            report(url if address.loopback else to_act, to_act)
            if no_browser is not None:
                threading.Thread(target=_open, args=(to_act, no_browser), daemon=True).start()
        while not (server.should_exit or serving.done()):
            await asyncio.sleep(_STOP_LOOK_S)
        await app.let_go()  # or open pages would be cut off, which is logged as an error
        await serving

    try:
        asyncio.run(run())
    finally:
        listening.close()


def _open(url: str, no_browser: Callable[[], None]) -> None:
    if not webbrowser.open(url):
        no_browser()


def guarded(
    root: Path,
    journal: Path,
    address: Address,
    *,
    token: str = "",
    files: FilesSettings | None = None,
    models: tuple[str, ...] = (),
    config: Path | None = None,
) -> Guard:
    """Return the application with its guard."""
    app = page_app(root, journal, files=files, models=models, config=config)
    return _guard_of(app, address, token)


def page_app(
    root: Path,
    journal: Path,
    *,
    files: FilesSettings | None = None,
    models: tuple[str, ...] = (),
    config: Path | None = None,
) -> PageApp:
    """Return the application without a guard; parameters as of :func:`serve`."""
    run = Run(root, journal)
    tasks, learning = (Tasks(root, journal, config) for _ in range(2))
    pixels = Pixels(root, files, tasks.preview_of)
    return PageApp(run, pixels, Doing(run, journal, tasks, learning, models))


def _guard_of(app: PageApp, address: Address, token: str) -> Guard:
    names = set(_LOOPBACK)
    if not address.loopback:
        names |= {address.host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return Guard(app, frozenset(names), loopback=address.loopback, token=token)


def _listen(address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # on Windows it would let two programs have one port
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((address.host, address.port))
        listening.listen(128)
    except OSError as error:
        listening.close()
        raise UsageError(
            f"the page cannot be served at {address.host}:{address.port} "
            f"({error.strerror or error})",
            None,
            "name another port, or 0 for any: live-restore page --port 0, watch --page 127.0.0.1:0",
        ) from None
    return listening


def _give_way() -> None:
    process = psutil.Process()
    if sys.platform == "win32":
        process.nice(psutil.BELOW_NORMAL_PRIORITY_CLASS)
    else:
        process.nice(max(_NICE, process.nice()))
    if sys.platform == "linux":
        # To wake up for a request interrupts nobody who computes; it waits for some milliseconds.
        os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
