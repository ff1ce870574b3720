"""A child process that does not do what a reader of vendors' files does; for tests.

python false_reader.py MODE MODULE FILE
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import sys
import time

STACK = {"positions": 1, "times": 1, "channels": 1, "shape_zyx": [2, 4, 5], "dtype": "uint16"}
HEADER = struct.Struct(">cQ")


def say(kind: bytes, data: bytes, length: int | None = None) -> None:
    left = HEADER.pack(kind, len(data) if length is None else length) + data
    while left:
        left = left[os.write(1, left) :]


def main(mode: str) -> None:
    """Behave badly."""
    described = dict(STACK)
    if mode == "dies":
        os.kill(os.getpid(), 11)
    if mode == "hangs":
        time.sleep(60)
    if mode == "floods":
        while True:
            os.write(1, b"x" * 65536)
    if mode == "endless description":
        say(b"D", b"{}", 2**40)
    if mode == "pickles":
        say(b"D", pickle.dumps(described))
    if mode == "no such kind":
        say(b"X", b"")
    if mode == "nothing":
        return
    if mode == "huge":
        described["shape_zyx"] = [2**20, 2**20, 2**20]
    if mode == "negative":
        described["shape_zyx"] = [-1, 4, 5]
    if mode == "objects":
        described["dtype"] = "object"
    if mode == "long names":
        described["channel_names"] = ["x" * 10_000] * 10_000
    say(b"D", json.dumps(described).encode()[: 2**20])
    os.read(0, 100)
    if mode == "dies over a stack":
        say(b"V", b"12345", 80)
        os.kill(os.getpid(), 11)
    if mode == "hangs over a stack":
        say(b"V", b"12345", 80)
        time.sleep(60)
    if mode == "too much":
        say(b"V", bytes(1000))
    if mode == "an error of many lines":
        say(b"E", b"one\ntwo\x1b[31m" * 1000)
    if mode == "zeros":
        say(b"V", bytes(80))
    say(b"V", bytes(range(1, 81)))


if __name__ == "__main__":
    main(sys.argv[1])
