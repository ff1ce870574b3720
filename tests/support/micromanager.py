"""A double of Micro-Manager: its ZMQ server and the few objects that the bridge looks at.

The client is the real one. What it sees on the wire is described by it: a request is JSON, a reply
is JSON whose large values follow as pairs of identifier and bytes; an object is a hash code with
the methods that its class has.
"""

from __future__ import annotations

import datetime
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import zmq

Method = tuple[list[str], Callable[..., Any]]


class Java:
    """An object on the other side: a class name, and methods with the types of their arguments."""

    def __init__(self, name: str, **methods: Method | Callable[..., Any]) -> None:
        self.name = name
        self.methods: dict[str, Method] = {
            key: value if isinstance(value, tuple) else ([], value)
            for key, value in methods.items()
        }


class Server:
    """Answers on a port; further ports are opened for clients that ask for one of their own.

    ``asked`` counts the calls of each method; ``hang`` makes it take requests and answer none. With
    a ``port`` it is a server that was closed and comes back. ``classes`` can be constructed besides
    the studio.
    """

    def __init__(
        self, studio: Java, port: int | None = None, classes: dict[str, Method] | None = None
    ) -> None:
        self._classes: dict[str, Method] = {studio.name: ([], lambda: studio), **(classes or {})}
        self._objects: dict[str, Java] = {}
        self._context = zmq.Context()
        self._stop = threading.Event()
        self.hang = threading.Event()
        self._threads: list[threading.Thread] = []
        self.asked: dict[str, int] = {}
        self.port = self._serve(port)

    def _serve(self, port: int | None = None) -> int:
        socket = self._context.socket(zmq.REP)
        socket.linger = 0
        # Whoever connects and says nothing is sent away; the real server does so after 30 s.
        socket.setsockopt(zmq.HANDSHAKE_IVL, 500)
        if port is None:
            port = socket.bind_to_random_port("tcp://127.0.0.1")
        else:
            socket.bind(f"tcp://127.0.0.1:{port}")
        thread = threading.Thread(target=self._answer, args=(socket,), name=f"double {port}")
        thread.start()
        self._threads.append(thread)
        return port

    def _answer(self, socket: zmq.Socket[bytes]) -> None:
        with socket:
            while not self._stop.is_set():
                if self.hang.is_set() or not socket.poll(20):
                    self._stop.wait(0.005)
                    continue
                request = json.loads(socket.recv_multipart()[0])
                while self.hang.is_set() and not self._stop.is_set():
                    self._stop.wait(0.01)
                if self._stop.is_set():
                    return
                try:
                    reply = self._reply(request)
                except Exception as error:  # noqa: BLE001 - as the server does
                    reply = {"type": "exception", "value": repr(error), "message": repr(error)}
                pixels = reply.pop("pixels", None)
                parts = [json.dumps(reply).encode("iso-8859-1")]
                if pixels is not None:
                    parts += [(7).to_bytes(4, "little"), pixels]
                socket.send_multipart(parts)

    def _reply(self, request: dict[str, Any]) -> dict[str, Any]:
        command = request["command"]
        if command == "connect":
            return {"type": "none", "version": "5.1.0"}
        if command == "get-constructors":
            name = request["classpath"]
            arguments = self._classes[name][0]
            api = [{"name": name, "arguments": arguments, "return-type": name}]
            return {"type": "none", "api": api}
        if command == "constructor":
            port = {"port": self._serve()} if request.get("new-port") else {}
            make = self._classes[request["classpath"]][1]
            return {**self._described(make(*map(self._argument, request["arguments"]))), **port}
        if command == "destructor":
            del self._objects[request["hash-code"]]
            return {"type": "none"}
        assert command == "run-method", command
        self.asked[request["name"]] = self.asked.get(request["name"], 0) + 1
        method = self._objects[request["hash-code"]].methods[request["name"]][1]
        return self._described(method(*map(self._argument, request["arguments"])))

    def _argument(self, value: Any) -> Any:
        return self._objects[value["hash-code"]] if isinstance(value, dict) else value

    def _described(self, value: Any) -> dict[str, Any]:
        if value is None:
            return {"type": "null"}
        if isinstance(value, np.ndarray):
            kind = {1: "byte-array", 2: "short-array"}[value.itemsize]
            return {"type": kind, "value": "@7", "pixels": value.tobytes()}
        if isinstance(value, dict):
            return {"type": "object", "class": "JSONObject", "value": json.dumps(value)}
        if isinstance(value, Java):
            code = str(len(self._objects) + sum(self.asked.values()) * 100_000)
            self._objects[code] = value
            return {
                "type": "unserialized-object",
                "class": value.name,
                "hash-code": code,
                "interfaces": [value.name],
                "fields": [],
                "api": [
                    {"name": name, "arguments": arguments, "return-type": "java.lang.Object"}
                    for name, (arguments, _) in value.methods.items()
                ],
            }
        kind = "string" if isinstance(value, str) else "primitive"
        return {"type": kind, "value": value}

    @property
    def held(self) -> int:
        """Objects handed out and not released."""
        return len(self._objects)

    def close(self) -> None:
        """Die: sockets close, clients are left waiting."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._context.destroy(linger=0)


class Microscope:
    """What the double's Micro-Manager is doing; tests change it while the server runs.

    It has two engines, as the real one: which of them answers is up to the option "Use new
    Acquisition Engine" at each call, and each has a store of its own. The default one (Clojure)
    keeps its store, frozen, until its next run; the new one (AcqEngJ) forgets it at once.
    """

    def __init__(self) -> None:
        self.new_engine = False
        self._stores: dict[bool, Java | None] = {False: None, True: None}
        self._engines = {
            new: Java("Engine", getAcquisitionDatastore=lambda new=new: self._stores[new])
            for new in (False, True)
        }
        self.viewed: list[Java] = []
        self.studio = Java(
            "org.micromanager.Studio",
            getAcquisitionEngine=lambda: self._engines[self.new_engine],
            displays=lambda: self._displays,
            data=lambda: self._data,
        )
        self._displays = Java("Displays", getAllDataViewers=self._viewers)
        self._data = Java("Data", createCoords=(["java.lang.String"], _coords))

    @property
    def store(self) -> Java | None:
        """What the chosen engine says it is recording into."""
        return self._stores[self.new_engine]

    @store.setter
    def store(self, store: Java | None) -> None:
        self._stores[self.new_engine] = store

    def record(self, store: Store) -> None:
        """Begin a run, with the engine that is chosen now; a window shows it."""
        self.store = store.java
        self.viewed.append(store.java)

    def finish(self, store: Store) -> None:
        """End a run, as the chosen engine does."""
        store.frozen = True
        if self.new_engine:
            self.store = None

    def _viewers(self) -> Java:
        viewers = [Java("Viewer", getDataProvider=lambda s=store: s) for store in self.viewed]
        return Java(
            "java.util.List", size=lambda: len(viewers), get=(["int"], lambda n: viewers[n])
        )


def _coords(text: str) -> Java:
    coords = Java("Coords")
    coords.at = {k: int(v) for k, v in (pair.split("=") for pair in text.split(","))}  # type: ignore[attr-defined]
    return coords


class Store:
    """A Datastore: saved somewhere, or with planes in memory.

    ``started``: when its run began (s since 1970); ``None``: now.
    """

    def __init__(
        self,
        path: str | None,
        sizes: tuple[int, int, int, int] = (1, 1, 1, 1),
        started: float | None = None,
    ) -> None:
        self.frozen = False
        began = datetime.datetime.fromtimestamp(started or time.time(), datetime.UTC)
        date = f"{began:%Y-%m-%d %H:%M:%S}.{began.microsecond // 1000:03d} +0000"
        self.planes: dict[tuple[int, int, int, int], np.ndarray[Any, Any]] = {}
        times, positions, channels, slices = sizes
        dimensions = Java(
            "Dimensions", getT=lambda: times, getP=lambda: positions, getC=lambda: channels,
            getZ=lambda: slices,
        )  # fmt: skip
        summary = Java(
            "Summary",
            getIntendedDimensions=lambda: dimensions,
            getSafeChannelName=(["int"], lambda c: ("DAPI", "FITC")[c]),
            getZStepUm=lambda: 0.5,
            getStartDate=lambda: date,
        )
        self.java = Java(
            "Datastore",
            getSavePath=lambda: path,
            isFrozen=lambda: self.frozen,
            getSummaryMetadata=lambda: summary,
            getNumImages=lambda: len(self.planes),
            hasImage=(["Coords"], lambda coords: _place(coords) in self.planes),
            getImage=(["Coords"], lambda coords: _image(self.planes[_place(coords)])),
        )


def _place(coords: Any) -> tuple[int, int, int, int]:
    return tuple(coords.at[axis] for axis in ("time", "position", "channel", "z"))  # type: ignore[return-value]


def _image(plane: np.ndarray[Any, Any]) -> Java:
    metadata = Java("Metadata", getPixelSizeUm=lambda: 0.1)
    return Java(
        "Image",
        getRawPixels=lambda: plane.ravel(),
        getHeight=lambda: plane.shape[0],
        getWidth=lambda: plane.shape[1],
        getMetadata=lambda: metadata,
    )


@contextmanager
def serving(microscope: Microscope, port: int | None = None) -> Iterator[Server]:
    """Run a server until the block ends."""
    server = Server(microscope.studio, port)
    try:
        yield server
    finally:
        server.close()
