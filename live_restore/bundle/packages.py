"""Which packages a bundle holds, and for which computer (pure).

What live-restore needs is read from its own metadata, with the markers of the computer that the
bundle is for; the runtime of networks is chosen here, since a bundle without CUDA needs none of the
hundreds of megabytes of the build that has it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from live_restore.errors import UsageError

Platform = Literal["windows", "linux"]

EXTRAS = ("alerts", "cuda", "openvino", "page", "vendor", "zarr")
"""Extras of live-restore that a bundle may hold."""
DIRECTML = "directml"
CHOICES = (*EXTRAS, DIRECTML)
DEFAULT_CHOICES = ("openvino", "page")

# OpenVINO requires it, runs without it, and with it reports to Google Analytics when it is imported
# (openvino 2026.4.1, openvino-telemetry 2025.2.0). The backend never lets it be loaded, either.
_NOT_CARRIED = frozenset(("openvino-telemetry",))
# Each of these brings the same module: a bundle has one of them.
_RUNTIMES = ("onnxruntime", "onnxruntime-gpu", "onnxruntime-directml")
# What numpy, scipy and ONNX Runtime of today are built for; RHEL 8, Ubuntu 18.10, Debian 10.
NEWEST_GLIBC = 28
_OLDEST_GLIBC = 5
_MANYLINUX = {5: "manylinux1", 12: "manylinux2010", 17: "manylinux2014"}


@dataclass(frozen=True)
class Target:
    """A computer that a bundle is for: 64-bit x86.

    Parameters
    ----------
    platform
        Its system.
    python
        Version of the Python in the bundle, such as ``(3, 11)``.
    """

    platform: Platform
    python: tuple[int, int]

    @property
    def python_version(self) -> str:
        """The version as pip and uv take it."""
        return ".".join(map(str, self.python))

    @property
    def uv_platform(self) -> str:
        """What uv calls the system."""
        if self.platform == "windows":
            return "x86_64-pc-windows-msvc"
        return f"x86_64-manylinux_2_{NEWEST_GLIBC}"

    @property
    def wheel_platforms(self) -> list[str]:
        """The platform tags of wheels that run there, the best first."""
        if self.platform == "windows":
            return ["win_amd64"]
        tags = []
        for minor in range(NEWEST_GLIBC, _OLDEST_GLIBC - 1, -1):
            tags.append(f"manylinux_2_{minor}_x86_64")
            if minor in _MANYLINUX:
                tags.append(f"{_MANYLINUX[minor]}_x86_64")
        return tags

    @property
    def markers(self) -> dict[str, str]:
        """The environment that markers of requirements are evaluated in."""
        windows = self.platform == "windows"
        return {
            "implementation_name": "cpython",
            "implementation_version": f"{self.python_version}.0",
            "os_name": "nt" if windows else "posix",
            "platform_machine": "AMD64" if windows else "x86_64",
            "platform_python_implementation": "CPython",
            "platform_release": "",
            "platform_system": "Windows" if windows else "Linux",
            "platform_version": "",
            "python_full_version": f"{self.python_version}.0",
            "python_version": self.python_version,
            "sys_platform": "win32" if windows else "linux",
        }


def check_choices(choices: Sequence[str], platform: Platform) -> None:
    """Raise ``UsageError`` where the parts of a bundle do not go together."""
    if DIRECTML in choices and platform != "windows":
        raise UsageError("DirectML is a part of Windows", None, "omit --with directml")
    if DIRECTML in choices and "cuda" in choices:
        raise UsageError(
            "a bundle holds one build of ONNX Runtime: for cuda or for directml",
            None,
            "build two bundles",
        )


def requirements(declared: Sequence[str], choices: Sequence[str], target: Target) -> list[str]:
    """Return what has to be in the bundle, a requirement a line, sorted.

    Parameters
    ----------
    declared
        ``Requires-Dist`` of live-restore.
    choices
        Of :data:`CHOICES`.
    target
        Decides which markers hold.

    Examples
    --------
    >>> linux = Target("linux", (3, 11))
    >>> lines = ["numpy>=1.26", "onnxruntime-gpu>=1.23", "zarr>=3; extra == 'zarr'"]
    >>> requirements(lines, ["zarr"], linux)
    ['numpy>=1.26', 'onnxruntime>=1.23', 'zarr>=3']
    """
    from packaging.requirements import Requirement

    wanted = set()
    runtime_bound = ""
    for line in declared:
        requirement = Requirement(line)
        marker = requirement.marker
        if marker is not None and not any(
            marker.evaluate({**target.markers, "extra": extra})
            for extra in ("", *(name for name in choices if name in EXTRAS))
        ):
            continue
        requirement.marker = None
        if requirement.name in _RUNTIMES:
            runtime_bound = str(requirement.specifier)
        else:
            wanted.add(str(requirement))
    wanted.add(f"{_runtime(choices)}{runtime_bound}")
    if target.platform == "windows":
        # A fresh Windows lacks the C++ library that ONNX Runtime needs, and its installer needs an
        # administrator.
        wanted.add("msvc-runtime")
    return sorted(wanted)


def _runtime(choices: Sequence[str]) -> str:
    if "cuda" in choices:
        return "onnxruntime-gpu[cuda,cudnn]"
    return "onnxruntime-directml" if DIRECTML in choices else "onnxruntime"


@dataclass(frozen=True)
class Pin:
    """One package of a lock.

    Parameters
    ----------
    name, version
        As the lock has them.
    hashes
        SHA-256 (hex) of the files that may be installed.
    """

    name: str
    version: str
    hashes: tuple[str, ...]


_PIN = re.compile(r"(?P<name>[A-Za-z0-9][A-Za-z0-9._-]*)==(?P<version>[A-Za-z0-9.!+_-]+)\Z")
_HASH = re.compile(r"--hash=sha256:(?P<hex>[0-9a-f]{64})\Z")


def read_lock(text: str) -> list[Pin]:
    """Return the packages of a lock: requirements with exact versions and hashes, for pip.

    Raises
    ------
    ValueError
        A line is anything else: an address, an option, a version that is not exact, no hash.

    Examples
    --------
    >>> read_lock("numpy==2.1.0 --hash=sha256:" + "0" * 64)[0].version
    '2.1.0'
    """
    pins = []
    for line in re.sub(r"\\\r?\n", " ", text).splitlines():
        words = line.partition("#")[0].split()
        if not words:
            continue
        pin = _PIN.match(words[0])
        hashes = [_HASH.match(word) for word in words[1:]]
        if pin is None or not hashes or None in hashes:
            raise ValueError(f"{words[0]!r} is not NAME==VERSION with --hash=sha256:...")
        found = tuple(each["hex"] for each in hashes if each is not None)
        pins.append(Pin(pin["name"], pin["version"], found))
    if not pins:
        raise ValueError("it names no package")
    return pins


def carried(pins: Sequence[Pin]) -> list[Pin]:
    """Return those packages of a lock that go into a bundle: none that reports to anybody."""
    return [pin for pin in pins if pin.name.lower() not in _NOT_CARRIED]


def write_lock(pins: Sequence[Pin]) -> str:
    """Return the text of a lock, in the order of names."""
    lines = []
    for pin in sorted(pins, key=lambda each: each.name.lower()):
        words = [f"{pin.name}=={pin.version}", *(f"--hash=sha256:{h}" for h in sorted(pin.hashes))]
        lines.append(" \\\n    ".join(words))
    return "\n".join(lines) + "\n"
