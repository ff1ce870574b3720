"""What the page answers: its own files, the API, pictures, events."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections.abc import AsyncIterator, Callable
from functools import cache
from importlib import resources
from pathlib import PurePath
from typing import Any, cast

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from live_restore.errors import LiveRestoreError, StackBusyError, one_line
from live_restore.files.values import NotJsonError
from live_restore.outputs.report_file import read_report
from live_restore.overview.entries import ShownEntry, report_of
from live_restore.overview.reasons import grouped
from live_restore.overview.run import Run
from live_restore.page import pictures
from live_restore.page.doing import Doing, RefusedError
from live_restore.page.events import Announcer, EventStream
from live_restore.page.openapi import description
from live_restore.page.pixels import Axis, ByteCache, Pixels, Side
from live_restore.stack import StackIndex

LOOK_S = 0.1
"""Two ``stat`` calls, 20 us; a look at 2,000 entries takes 15 ms and happens when there is news."""
_DRAWING_AT_ONCE = 2
_MOST_WAITING = 200
_THUMBNAIL_BYTES = 24 * 2**20
_THUMBNAIL_PLANES = 8
_TEXT_BYTES = 8 * 2**20
"""8,000 entries of one stack each; to put one into words takes 0.15 ms."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


class PageApp:
    """The application behind the guard.

    Parameters
    ----------
    run
        What is shown.
    pixels
        Where pictures come from.
    doing
        What may be asked for beside looking.
    """

    def __init__(self, run: Run, pixels: Pixels, doing: Doing) -> None:
        self._doing = doing
        self._run = run
        self._pixels = pixels
        self._announcer = Announcer(run.summary)
        self._thumbnails = ByteCache(_THUMBNAIL_BYTES)
        self._texts = ByteCache(_TEXT_BYTES)
        self._drawing = asyncio.Semaphore(_DRAWING_AT_ONCE)
        self._waiting = 0
        stack = "/api/stacks/{stack:str}"
        self.asgi = Starlette(
            routes=[
                Route("/", _index),
                Route("/static/{name:str}", _static),
                Route("/health", self._health),
                Route("/metrics", self._metrics),
                Route("/openapi.json", _openapi),
                Route("/api/run", self._summary),
                Route("/api/entries", self._entries),
                Route("/api/entries/{entry:str}/report", self._report),
                Route("/api/reasons", self._reasons),
                Route("/api/disk", self._disk),
                Route("/api/events", self._events),
                Route(f"{stack}/thumbnail.png", self._thumbnail),
                Route(f"{stack}/{{side:str}}/plane", self._plane),
                Route(f"{stack}/{{side:str}}/plane.png", self._plane_png),
                Route(f"{stack}/voxel", self._voxel),
                *doing.routes(self._stack_of, self._entry),
            ],
            exception_handlers={RefusedError: _refused, LiveRestoreError: _not_readable},
            lifespan=self._lifespan,
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        await self.asgi(scope, receive, send)

    async def let_go(self) -> None:
        """End the streams of events, so that a server can stop."""
        await self._announcer.close()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        loop, stop = asyncio.get_running_loop(), threading.Event()
        await run_in_threadpool(self._run.look)

        def keep_looking() -> None:
            while not stop.wait(0.0 if self._run.busy else LOOK_S):
                if self._run.look():
                    asyncio.run_coroutine_threadsafe(self._announcer.announce(), loop)

        await self._announcer.announce()
        looking = threading.Thread(target=keep_looking, name="looking", daemon=True)
        looking.start()
        try:
            yield
        finally:
            stop.set()
            await self._announcer.close()
            await run_in_threadpool(looking.join)
            await run_in_threadpool(self._doing.close)

    async def _drawn(self, work: Callable[[], Any]) -> Any:
        """Do work with pixels: a few at once, and no endless queue."""
        if self._waiting >= _MOST_WAITING:
            raise RefusedError(503, "too much is asked for at once")
        self._waiting += 1
        try:
            async with self._drawing:
                return await run_in_threadpool(work)
        finally:
            self._waiting -= 1

    async def _health(self, _: Request) -> Response:
        problem = self._run.seen.problem
        told = {"status": "journal unreadable" if problem else "ok", "version": self._run.version}
        return JSONResponse(told, 503 if problem else 200)

    async def _metrics(self, _: Request) -> Response:
        from live_restore.page.metrics import CONTENT_TYPE, metrics_text

        summary = await run_in_threadpool(self._run.summary)
        return Response(metrics_text(summary), media_type=CONTENT_TYPE)

    async def _summary(self, _: Request) -> Response:
        return JSONResponse(await run_in_threadpool(self._run.summary))

    async def _entries(self, request: Request) -> Response:
        since = _number(request, "since", 0, 2**53)
        content = await run_in_threadpool(self._entries_text, since)
        return Response(content, media_type="application/json")

    def _entries_text(self, since: int) -> bytes:
        """Put what changed into JSON; of what has not changed since it was asked for, no more."""
        changes = self._run.entries_since(since)
        parts = []
        for each in changes.entries:
            text = self._texts.get((each.id, each.version))
            if text is None:
                text = json.dumps(each.to_json()).encode()
                self._texts.put((each.id, each.version), text)
            parts.append(text)
        head = {"version": changes.version, "more": changes.more, "removed": changes.removed}
        return json.dumps(head).encode()[:-1] + b', "entries": [' + b", ".join(parts) + b"]}"

    async def _reasons(self, _: Request) -> Response:
        groups = await run_in_threadpool(
            lambda: grouped(self._run.shown(), pattern=self._pixels.plane_pattern)
        )
        return JSONResponse([group.to_json() for group in groups])

    async def _disk(self, _: Request) -> Response:
        return JSONResponse(self._run.disk())

    async def _events(self, _: Request) -> Response:
        return cast("Response", EventStream(self._announcer))  # any ASGI application will do

    async def _report(self, request: Request) -> Response:
        shown = self._entry(request.path_params["entry"])
        if shown.facts is None:
            raise RefusedError(404, "there is no report")
        try:
            report = await run_in_threadpool(read_report, report_of(shown.entry))
        except (OSError, NotJsonError):
            raise RefusedError(404, "the report is not there any more") from None
        # Where models and maps lie on this computer is nobody's business in a browser.
        report.pop("settings", None)
        return JSONResponse(report)

    async def _thumbnail(self, request: Request) -> Response:
        shown, at = self._stack(request)
        key = (shown.id, at, shown.entry.finished_at)
        content = self._thumbnails.get(key)
        if content is None:
            content = await self._drawn(lambda: self._make_thumbnail(shown, at))
            self._thumbnails.put(key, content)
        return Response(content, media_type="image/png", headers={"Cache-Control": "max-age=3600"})

    def _make_thumbnail(self, shown: ShownEntry, at: StackIndex) -> bytes:
        """Draw the maximum over some planes: of 60 x 2048 x 2048 all take 0.7 s, eight 0.1 s."""
        assert shown.facts is not None
        depth = shown.facts.shape_zyx[0]
        step = -(-depth // _THUMBNAIL_PLANES)
        return pictures.thumbnail(
            self._pixels.rough_projection(shown, at, range(step // 2, depth, step))
        )

    async def _plane(self, request: Request) -> Response:
        plane = await self._asked_plane(request)
        kind, content = await run_in_threadpool(pictures.voxel_bytes, plane)
        headers = {"X-Voxel-Type": kind, "X-Shape": f"{plane.shape[0]},{plane.shape[1]}"}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def _plane_png(self, request: Request) -> Response:
        bits = _number(request, "bits", 8, 16)
        if bits not in (8, 16):
            raise RefusedError(400, "bits has to be 8 or 16")
        low, high = _real(request, "low", 0.0), _real(request, "high", 65535.0)
        plane = await self._asked_plane(request)
        content = await self._drawn(lambda: pictures.png(plane, bits, low, high))
        return Response(content, media_type="image/png")

    async def _asked_plane(self, request: Request) -> pictures.Plane:
        shown, at = self._stack(request)
        side = _one_of(request.path_params["side"], ("raw", "restored", "preview"))
        axis = _one_of(request.query_params.get("axis", "z"), ("z", "y", "x"))
        projection = request.query_params.get("projection", "")
        _one_of(projection or "max", ("max",))
        index = _number(request, "index", 0, 2**20)
        level = _number(request, "level", 0, pictures.MAX_LEVEL)
        cut = pictures.Cut(
            *(_number(request, name, 0, 2**20) for name in ("y", "x", "height", "width"))
        )

        def draw() -> pictures.Plane:
            if projection:
                plane = self._pixels.projection(shown, at, _side(side), _axis(axis))
            else:
                plane = self._pixels.plane(shown, at, _side(side), _axis(axis), index)
            return pictures.level_of(plane, level, cut)

        try:
            found: pictures.Plane = await self._drawn(draw)
        except pictures.TooLargeError as error:
            raise RefusedError(400, str(error)) from None
        return found

    async def _voxel(self, request: Request) -> Response:
        shown, at = self._stack(request)
        z, y, x = (_number(request, name, 0, 2**20) for name in "zyx")

        def look() -> dict[str, Any]:
            return {
                side: self._pixels.voxel(shown, at, _side(side), (z, y, x))
                for side in ("raw", "restored")
            }

        return JSONResponse(await self._drawn(look))

    def _entry(self, name: str) -> ShownEntry:
        shown = self._run.entry(name)
        if shown is None:
            raise RefusedError(404, "there is no such entry")
        return shown

    def _stack(self, request: Request) -> tuple[ShownEntry, StackIndex]:
        return self._stack_of(request.path_params["stack"])

    def _stack_of(self, name: str) -> tuple[ShownEntry, StackIndex]:
        shown = self._entry(name.split("-")[0])
        if shown.facts is not None:
            for stack in shown.facts.stacks:
                if stack.id == name:
                    return shown, StackIndex(*map(int, name.split("-")[1:]))
        raise RefusedError(404, "there is no such stack")


def _side(text: str) -> Side:
    return "raw" if text == "raw" else "preview" if text == "preview" else "restored"


def _axis(text: str) -> Axis:
    return "z" if text == "z" else "y" if text == "y" else "x"


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name, str(default))
    if not (text.isascii() and text.isdigit() and len(text) < 17 and int(text) <= most):
        raise RefusedError(400, f"{name} has to be a whole number, 0 to {most}")
    return int(text)


def _real(request: Request, name: str, default: float) -> float:
    try:
        value = float(request.query_params.get(name, default))
    except ValueError:
        value = float("nan")
    if not abs(value) < 1e30:
        raise RefusedError(400, f"{name} has to be a number")
    return value


def _one_of(text: str, allowed: tuple[str, ...]) -> str:
    if text not in allowed:
        raise RefusedError(400, f"has to be one of {', '.join(allowed)}")
    return text


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, RefusedError)
    return JSONResponse({"error": str(error)}, error.status)


async def _not_readable(_: Request, error: Exception) -> Response:
    assert isinstance(error, LiveRestoreError)
    # Without the path: that is nobody's business but this computer's.
    status = 503 if isinstance(error, StackBusyError) else 404
    return JSONResponse({"error": one_line(error.reason)}, status)


@cache
def _static_files() -> dict[str, tuple[bytes, str]]:
    folder = resources.files("live_restore.page") / "static"
    return {
        each.name: (each.read_bytes(), kind)
        for each in folder.iterdir()
        if (kind := _TYPES.get(PurePath(each.name).suffix))
    }


async def _index(_: Request) -> Response:
    content, kind = _static_files()["index.html"]
    return Response(content, headers={"Content-Type": kind})


async def _static(request: Request) -> Response:
    found = _static_files().get(request.path_params["name"])
    if found is None:
        raise RefusedError(404, "there is no such file")
    return Response(found[0], headers={"Content-Type": found[1], "Cache-Control": "no-cache"})


async def _openapi(_: Request) -> Response:
    return Response(json.dumps(description(), indent=1), media_type="application/json")
