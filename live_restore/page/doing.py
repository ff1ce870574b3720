"""What may be asked for on the page beside looking: previews, results by another model, pausing.

The guard lets a POST through only with the token. Of what arrives nothing is a path: stacks are
named by opaque ids, models by their names in a list. The daemon is asked, not touched: a wish is
left beside its journal, and work is done by a process of its own.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from live_restore.errors import UsageError, one_line
from live_restore.files.values import NotJsonError, json_object
from live_restore.journal.states import State
from live_restore.journal.wishes import Wish, send_wish, wishes_folder
from live_restore.overview.entries import ShownEntry
from live_restore.overview.run import Run
from live_restore.page.guard import MAY_ACT
from live_restore.page.tasks import Tasks, TooMuchError
from live_restore.stack import StackIndex
from live_restore.workshop import require_workshop

_MOST_ENTRIES = 500
_AT_REST = frozenset((State.DONE, State.FAILED, State.REFUSED))


class RefusedError(Exception):
    """A request that cannot be answered as it is."""

    def __init__(self, status: int, why: str) -> None:
        self.status = status
        super().__init__(why)


def bundled_names() -> tuple[str, ...]:
    """Return the models that come with the program; their files are not opened."""
    folder = resources.files("live_restore") / "models"
    names = (each.name for each in folder.iterdir() if each.name.endswith(".onnx"))
    return tuple(sorted(name.removesuffix(".onnx") for name in names))


class Doing:
    """Answers requests that act.

    Parameters
    ----------
    run
        What is shown.
    journal
        Its journal's file.
    tasks, learning
        Do what needs a network, and what takes half an hour.
    models
        Names or paths that the settings of this computer name; shown by their last part.
    """

    def __init__(
        self,
        run: Run,
        journal: Path,
        tasks: Tasks,
        learning: Tasks,
        models: tuple[str, ...] = (),
    ) -> None:
        self._run = run
        self._wishes = wishes_folder(journal)
        self._tasks = tasks
        self._learning = learning
        self._cannot_adapt = _workshop_missing()
        self._models = {name: name for name in bundled_names()}
        self._models |= {one_line(Path(each).name): each for each in models}
        self._stack: Callable[[str], tuple[ShownEntry, StackIndex]]
        self._entry: Callable[[str], ShownEntry]

    def routes(
        self,
        stack: Callable[[str], tuple[ShownEntry, StackIndex]],
        entry: Callable[[str], ShownEntry],
    ) -> list[Route]:
        """Return what is answered; ``stack`` and ``entry`` find what an id names."""
        self._stack, self._entry = stack, entry
        return [
            Route("/api/do", self._state),
            Route("/api/do/preview", self._preview, methods=["POST"]),
            Route("/api/do/again", self._again, methods=["POST"]),
            Route("/api/do/adapt", self._adapt, methods=["POST"]),
            Route("/api/do/daemon", self._daemon, methods=["POST"]),
        ]

    def close(self) -> None:
        """End what was asked for and is not done."""
        self._tasks.close()
        self._learning.close()

    async def _state(self, request: Request) -> Response:
        return JSONResponse(
            {
                "allowed": request.scope.get(MAY_ACT) is True,
                "models": list(self._models),
                "adapt": self._cannot_adapt,
                "tasks": [
                    task.to_json() for each in (self._learning, self._tasks) for task in each.all()
                ],
            }
        )

    async def _preview(self, request: Request) -> Response:
        asked = await _body(request)
        shown, at = self._stack(_text(asked, "stack"))
        name = one_line(shown.entry.key)[-80:]
        stack, model = _text(asked, "stack"), self._model(asked)
        return await self._begin(
            lambda: self._tasks.preview(stack, name, shown.entry.key, at, model)
        )

    async def _again(self, request: Request) -> Response:
        asked = await _body(request)
        names = asked.get("entries")
        if not isinstance(names, list) or not 0 < len(names) <= _MOST_ENTRIES:
            raise RefusedError(400, f"entries has to be a list of 1 to {_MOST_ENTRIES} ids")
        found = [self._entry(name if isinstance(name, str) else "") for name in names]
        if any(shown.entry.state not in _AT_REST for shown in found):
            raise RefusedError(409, "some of these are not finished yet")
        keys, model = [shown.entry.key for shown in found], self._model(asked)
        return await self._begin(lambda: self._tasks.again(keys, model))

    async def _adapt(self, request: Request) -> Response:
        asked = await _body(request)
        if self._cannot_adapt:
            raise RefusedError(409, self._cannot_adapt)
        key, model = self._entry(_text(asked, "entry")).entry.key, self._model(asked)
        if any(task.state in ("waiting", "running") for task in self._learning.all()):
            raise RefusedError(409, "one model learns already; ask again when it is done")
        return await self._begin(lambda: self._learning.adapt(key.run, key.channel, model))

    async def _daemon(self, request: Request) -> Response:
        asked = _text(await _body(request), "wish")
        wish = next((each for each in Wish if each.value == asked), None)
        if wish is None:
            raise RefusedError(400, f"wish has to be one of {', '.join(Wish)}")
        if not self._run.last_watch[0]:
            raise RefusedError(409, "nobody watches this folder now")
        await run_in_threadpool(send_wish, self._wishes, wish)
        return JSONResponse({"asked": wish.value}, 202)

    async def _begin(self, begin: Callable[[], int]) -> Response:
        try:
            number = await run_in_threadpool(begin)
        except TooMuchError:
            raise RefusedError(503, "too much is asked for at once") from None
        return JSONResponse({"task": number}, 202)

    def _model(self, asked: dict[str, Any]) -> str:
        model = self._models.get(_text(asked, "model"))
        if model is None:
            raise RefusedError(400, f"model has to be one of {', '.join(self._models)}")
        return model


def _workshop_missing() -> str:
    try:
        require_workshop()
    except UsageError as error:
        return error.what
    return ""


async def _body(request: Request) -> dict[str, Any]:
    try:
        return json_object(await request.body())
    except (NotJsonError, json.JSONDecodeError):
        raise RefusedError(400, "the body has to be a JSON object") from None


def _text(asked: dict[str, Any], name: str) -> str:
    value = asked.get(name)
    if not isinstance(value, str) or len(value) > 200:
        raise RefusedError(400, f"{name} has to be text")
    return value
