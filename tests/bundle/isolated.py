"""Runs a program without a network, and in a root of its own where one is named.

unshare --map-root-user --net --mount --pid --fork python -m tests.bundle.isolated ROOT PROGRAM ...

Only this computer itself answers (the page needs that). ROOT may be "/".
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import socket
import struct
import subprocess
import sys
from pathlib import Path

COMMAND = (
    "unshare", "--map-root-user", "--net", "--mount", "--pid", "--fork",
    sys.executable, "-P", str(Path(__file__)),
)  # fmt: skip
"""What leads to ROOT, the program and its arguments."""
_TOOLS = ("sh", "dirname", "rm", "rmdir")
# What every Linux has that runs wheels: the C and C++ run times.
_LIBRARIES = (
    "libc.so.6", "libm.so.6", "libdl.so.2", "libpthread.so.0", "librt.so.1", "libutil.so.1",
    "libresolv.so.2", "libgcc_s.so.1", "libstdc++.so.6",
)  # fmt: skip


def why_not() -> str:
    """Return why nothing can be isolated here; empty where it can."""
    if sys.platform != "linux" or not shutil.which("unshare"):
        return "there is no unshare"
    done = subprocess.run([*COMMAND, "/", "true"], capture_output=True, text=True, check=False)
    return f"no namespaces here: {done.stderr.strip()}" if done.returncode else ""


def make_root(root: Path) -> None:
    """Make a root that has a shell and the run times, and no Python."""
    programs = [Path(found) for name in _TOOLS if (found := shutil.which(name))]
    files = {path.resolve(): Path("/bin") / path.name for path in programs}
    told = subprocess.run(["ldd", *map(str, programs)], capture_output=True, text=True, check=True)
    paths = [
        word for word in told.stdout.split() if word.startswith("/") and not word.endswith(":")
    ]
    cache = subprocess.run(["/sbin/ldconfig", "-p"], capture_output=True, text=True, check=True)
    for line in cache.stdout.splitlines():
        name, _, path = line.strip().partition(" => ")
        if name.partition(" ")[0] in _LIBRARIES and "x86-64" in name:
            paths.append(path)
    files |= {Path(path).resolve(): Path(path) for path in paths}
    for source, name in files.items():
        target = root / name.relative_to("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)
    for folder in ("dev", "proc", "tmp", "opt", "home/user"):
        (root / folder).mkdir(parents=True, exist_ok=True)


def _main(root: str, *command: str) -> None:
    _loopback_up()
    libc = ctypes.CDLL(None, use_errno=True)

    def mount(source: str, target: str, kind: bytes | None, flags: int) -> None:
        if libc.mount(source.encode(), target.encode(), kind, ctypes.c_ulong(flags), None):
            raise OSError(ctypes.get_errno(), f"mount {target}")

    bind, recursive, private = 0x1000, 0x4000, 0x40000
    mount("none", "/", None, recursive | private)
    if root != "/":
        mount("/dev", f"{root}/dev", None, bind | recursive)
    mount("proc", f"{root}/proc", b"proc", 0)
    os.chroot(root)
    if root != "/":
        os.chdir("/")
    os.execvp(command[0], command)


def _loopback_up() -> None:
    get, put, up = 0x8913, 0x8914, 1
    with socket.socket() as any_socket:
        asked = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack_from("H", fcntl.ioctl(any_socket, get, asked), 16)
        fcntl.ioctl(any_socket, put, struct.pack("16sH22x", b"lo", flags | up))


if __name__ == "__main__":
    _main(*sys.argv[1:])
