"""Which words ``inference.device`` may be: the devices that ship, and those of other packages."""

from __future__ import annotations

import re
from importlib.metadata import EntryPoint, entry_points

BACKEND_GROUP = "live_restore.backends"
"""Entry point group by which other packages add backends: the device's name -> a callable."""

ONE_OF_A_KIND = ("cpu", "openvino")
"""Built-in devices of which a computer has one."""
NUMBERED = ("cuda", "cuda-kernels", "directml", "openvino-gpu", "tensorrt", "tensorrt-rtx")
"""Built-in devices of which it may have several: "cuda:1"."""
BY_NAME_ONLY = frozenset({"cuda-kernels"})
"""Built-in devices that "auto" never takes: nobody has measured them."""

_REMOTE = re.compile(
    r"dask://(?P<host>[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]):(?P<port>\d{1,5})\Z",
    re.ASCII,
)
_LOOPBACK = re.compile(r"(?:localhost|127(?:\.\d{1,3}){3}|\[::1\])\Z", re.ASCII | re.IGNORECASE)

_NAME = re.compile(r"[a-z][a-z0-9-]*\Z", re.ASCII)
_NUMBER = re.compile(r":\d{1,3}\Z", re.ASCII)


def check_devices(text: str) -> str:
    """Return devices, separated by comma and space.

    Raises
    ------
    ValueError
        There is no such device, one is named twice, or "auto" is not alone.

    Examples
    --------
    >>> check_devices("cuda:0,cuda:1")
    'cuda:0, cuda:1'
    """
    devices = [device.strip() for device in text.split(",")]
    for device in devices:
        if not (is_remote(device) or _is_device(device)):
            raise ValueError(f'"{device}" is no device: "auto", "cpu", "openvino", "cuda:1" ...')
    # "cuda" is "cuda:0".
    if len({device.removesuffix(":0") for device in devices}) < len(devices):
        raise ValueError("names a device twice")
    if len(devices) > 1 and "auto" in devices:
        raise ValueError('"auto" chooses one device: leave it out, or name it alone')
    return ", ".join(devices)


def is_remote(device: str) -> bool:
    """Return whether a device is the scheduler of workers, which may be on other computers.

    Examples
    --------
    >>> is_remote("dask://gpu-pc:8786"), is_remote("cuda:1"), is_remote("dask://gpu-pc")
    (True, False, False)
    """
    found = _REMOTE.match(device)
    return found is not None and 0 < int(found["port"]) < 65536


def is_loopback(address: str) -> bool:
    """Return whether ``dask://HOST:PORT`` cannot be reached from another computer.

    Examples
    --------
    >>> is_loopback("dask://127.0.0.1:8786"), is_loopback("dask://127.0.0.1.example.org:8786")
    (True, False)
    """
    found = _REMOTE.match(address)
    return found is not None and _LOOPBACK.match(found["host"]) is not None


def is_device_name(name: str) -> bool:
    """Return whether a device can be called so: in settings a comma and a colon separate."""
    return _NAME.match(name) is not None


def installed_backends() -> tuple[EntryPoint, ...]:
    """Return the backends that installed packages add, unloaded.

    Raises
    ------
    ValueError
        What some package says about itself cannot be read.
    """
    try:
        return tuple(entry_points(group=BACKEND_GROUP))
    except Exception as error:
        # Python's parser of other packages' files promises no error of its own.
        raise ValueError(f"an installed package has damaged metadata ({error})") from error


def _is_device(word: str) -> bool:
    name = _NUMBER.sub("", word)
    if name in ("auto", *ONE_OF_A_KIND):
        return word == name
    if name in NUMBERED:
        return True
    # Asked last: it reads the metadata of every package that is installed.
    return is_device_name(name) and any(name == each.name for each in installed_backends())
