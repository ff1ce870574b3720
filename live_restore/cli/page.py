"""``live-restore page``: pictures, states and plots of a run in a browser."""

from __future__ import annotations

import argparse
import importlib.util
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from live_restore.cli.beside import running_beside
from live_restore.cli.folders import the_folder
from live_restore.cli.parsing import (
    Commands,
    add_command,
    folder,
    load_settings_of,
    port,
    watched_run,
)
from live_restore.errors import UsageError
from live_restore.hooks.leash import leashed
from live_restore.installation import install_with

if TYPE_CHECKING:
    from live_restore.settings.model import Settings

_NEEDED = ("starlette", "uvicorn", "prometheus_client")
DEFAULT_PORT = 8765


def add(commands: Commands) -> None:
    """Register the command."""
    parser = add_command(
        commands, "page", run, "show pictures, states and plots of a watched folder in a browser",
        "live-restore page D:\\data --open", "live-restore page D:\\data --port 0",
        engine=False,
    )  # fmt: skip
    parser.add_argument(
        "folder", type=folder, metavar="DIR", nargs="?",
        help="folder that is, or was, watched (unset: the only one that the settings name in "
        "[[watch]])",
    )  # fmt: skip
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="address to serve at (127.0.0.1: this computer only; others need the token it prints)",
    )  # fmt: skip
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT,
        help=f"port to serve at ({DEFAULT_PORT}; 0: any that is free)",
    )  # fmt: skip
    parser.add_argument("--open", action="store_true", help="open it in this computer's browser")


def add_page_flag(parser: argparse.ArgumentParser) -> None:
    """Add ``--page`` to a command that can have the page beside it."""
    parser.add_argument(
        "--page", type=host_and_port, metavar="HOST:PORT", nargs="?",
        const=("127.0.0.1", DEFAULT_PORT),
        help=f"show it in a browser, too (127.0.0.1:{DEFAULT_PORT})",
    )  # fmt: skip


def run(arguments: argparse.Namespace) -> int:
    """Run ``live-restore page``."""
    require_extra()
    from live_restore.page.server import Address, serve

    arguments.folder = the_folder(arguments)
    root = arguments.folder.resolve()
    if not root.is_dir():
        raise UsageError("is no folder", arguments.folder, "name the folder that is watched")
    settings = load_settings_of(arguments)
    root, journal = watched_run(root, settings)
    serve(
        root,
        journal,
        Address(arguments.host, arguments.port),
        files=settings.files,
        models=tuple(rule.model for rule in settings.models if not (rule.skip or rule.steps)),
        config=arguments.config and arguments.config.absolute(),
        report=_report,
        no_browser=_no_browser if arguments.open else None,
    )
    return 0


def require_extra() -> None:
    """Raise ``UsageError`` where the packages of the page are not installed."""
    lacking = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if lacking:
        raise UsageError(f"the page needs {', '.join(lacking)}", None, install_with("page"))


def host_and_port(text: str) -> tuple[str, int]:
    """Return what HOST:PORT, HOST or PORT names.

    Examples
    --------
    >>> host_and_port("8080"), host_and_port("0.0.0.0:80"), host_and_port("[::1]:80")
    (('127.0.0.1', 8080), ('0.0.0.0', 80), ('::1', 80))
    """
    if text.isdecimal():
        return "127.0.0.1", _port(text)
    host, colon, number = text.rpartition(":")
    if not colon or text.endswith("]"):
        return text.strip("[]"), DEFAULT_PORT
    return host.strip("[]"), _port(number)


def with_free_port(address: tuple[str, int]) -> tuple[str, int]:
    """Return the address, or one with any port that is free where its own is taken."""
    host, number = address
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        with socket.create_server((host, number), family=family):
            return address
    except OSError:
        return host, 0


@contextmanager
def page_beside(
    root: Path,
    address: tuple[str, int] | None,
    settings: Settings,
    *options: str,
    report: Callable[[str], None] | None = None,
) -> Iterator[subprocess.Popen[bytes] | None]:
    """Run the page of a folder as a process of its own; what becomes of it is nobody's concern.

    It is on a leash: when this process ends, in whatever way, so does the page.

    Parameters
    ----------
    root
        The watched folder, whose journal is there.
    address
        Host and port to serve at; ``None``: no page.
    settings
        Say where the journal is, and how files are understood.
    *options
        Further ones of ``live-restore page``.
    report
        Gets the lines that it prints, from another thread; ``None``: it prints them itself.
    """
    if address is None:
        yield None
        return
    require_extra()
    host, port = address
    command = leashed(["page", str(root), "--host", host, "--port", str(port), *options])
    with running_beside("the page", command, root, settings, report) as child:
        yield child


def _report(url: str, to_act: str) -> None:
    print(f"page: {url}", flush=True)
    if to_act != url:
        print(f"with pause, previews ...: {to_act}", flush=True)


def _no_browser() -> None:
    print("no browser could be opened; open that address yourself", flush=True)


def _port(text: str) -> int:
    return port(text, lowest=0)
