"""A double of Micro-Manager's acquisition engine, as pycromanager's Java backend meets it.

The client is the real one. What it asks for is in its source: objects on the server, one socket
that events come through, another that notifications go through, and an NDTiff data set that the
other side writes. Its images are of a few pixels, each of another value.
"""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zmq

from tests.support.micromanager import Java, Server
from tests.support.mm_files import NdTiff

_PACKAGE = "org.micromanager.remote"


class _Acquisition:
    """One acquisition: takes events, writes images, and tells of them."""

    def __init__(self, context: zmq.Context[Any], folder: Path) -> None:
        self.folder = folder
        self._context = context
        self._files = NdTiff(folder)
        self._images = 0
        self._finished = threading.Event()
        self._stop = threading.Event()
        self._event_port = _free_port()
        self._notices = context.socket(zmq.PUSH)
        self._notices.linger = 0
        self.notice_port = self._notices.bind_to_random_port("tcp://127.0.0.1")
        storage = Java(
            "Storage",
            getDiskLocation=lambda: str(folder),
            getSummaryMetadata=lambda: {"Prefix": "run"},
        )
        sink = Java("Sink", getStorage=lambda: storage, isFinished=self._finished.is_set)
        self.java = Java(
            "Acquisition",
            getEventPort=lambda: self._event_port,
            getDataSink=lambda: sink,
            isFinished=self._finished.is_set,
            areEventsFinished=self._finished.is_set,
            blockUntilEventsFinished=(["double"], lambda s: self._finished.wait(s) and None),
            waitForCompletion=lambda: None,
            checkForExceptions=lambda: None,
            abort=self._finished.set,
        )
        self._thread = threading.Thread(target=self._work, name="double of the engine")

    def start(self) -> None:
        """Begin to work: whoever is told of it listens now."""
        self._thread.start()

    def _work(self) -> None:
        with self._context.socket(zmq.PULL) as events, self._notices:
            events.connect(f"tcp://127.0.0.1:{self._event_port}")
            while not self._stop.is_set():
                if not events.poll(20):
                    continue
                for event in json.loads(events.recv_multipart()[0])["events"]:
                    if event.get("special") == "acquisition-end":
                        self._files.finish()
                        self._tell("global", "acq_events_finished")
                        self._tell("image", "data_sink_finished")
                        self._finished.set()
                        self._stop.wait()
                        return
                    self._images += 1
                    entry = self._files.image(self._images, **event["axes"])
                    self._files.write_index(entry)
                    self._tell("image", "image_saved", entry.decode("iso-8859-1"))

    def _tell(self, kind: str, milestone: str, payload: str | None = None) -> None:
        notice = {"type": kind, "milestone": milestone}
        if payload is not None:
            notice["payload"] = payload
        self._notices.send_multipart([json.dumps(notice).encode("iso-8859-1")])

    def close(self) -> None:
        """End it, wherever it is."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()


class Engine:
    """Micro-Manager with its server and its acquisition engine."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._acquisitions: list[_Acquisition] = []
        core = Java("mmcorej.CMMCore")
        self.server = Server(
            Java("org.micromanager.Studio"),
            classes={
                core.name: ([], lambda: core),
                f"{_PACKAGE}.RemoteAcquisitionFactory": ([core.name], self._factory),
                f"{_PACKAGE}.RemoteNotificationHandler": (["Acquisition"], self._handler),
            },
        )

    def _factory(self, _core: Java) -> Java:
        types = ["java.lang.String", "java.lang.String", "boolean", "int", "boolean"]
        return Java("Factory", createAcquisition=(types, self._create))

    def _create(self, directory: str, name: str, *_: object) -> Java:
        Path(directory).mkdir(parents=True, exist_ok=True)
        acquisition = _Acquisition(self._context, Path(directory) / f"{name}_1")
        self._acquisitions.append(acquisition)
        return acquisition.java

    def _handler(self, _acquisition: Java) -> Java:
        latest = self._acquisitions[-1]
        return Java(
            "Handler",
            getPort=lambda: latest.notice_port,
            start=latest.start,
            notificationHandlingComplete=lambda: None,
        )

    def close(self) -> None:
        """Die."""
        for acquisition in self._acquisitions:
            acquisition.close()
        self.server.close()
        self._context.destroy(linger=0)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def engine() -> Iterator[Engine]:
    """Run an engine until the block ends."""
    made = Engine()
    try:
        yield made
    finally:
        made.close()
