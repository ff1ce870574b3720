"""The API in the words of OpenAPI 3.1, for whoever writes a script or another page."""

from __future__ import annotations

from typing import Any

from live_restore._version import __version__


def _parameter(
    name: str, words: str, kind: str = "integer", where: str = "query"
) -> dict[str, Any]:
    return {
        "name": name,
        "in": where,
        "required": where == "path",
        "description": words,
        "schema": {"type": kind},
    }


def _get(words: str, parameters: list[dict[str, Any]], kind: str = "application/json") -> Any:
    answers = {
        "200": {"description": "As asked for.", "content": {kind: {}}},
        "400": {"description": "A parameter is wrong."},
        "404": {"description": "There is no such thing, or its file cannot be read."},
        "429": {"description": "Too many requests."},
        "503": {"description": "Not just now; try again."},
    }
    return {"get": {"summary": words, "parameters": parameters, "responses": answers}}


def _post(words: str, body: dict[str, Any]) -> Any:
    schema = {"type": "object", "required": list(body), "properties": body}
    return {
        "post": {
            "summary": words,
            "security": [{"token": []}],
            "requestBody": {"required": True, "content": {"application/json": {"schema": schema}}},
            "responses": {
                "202": {"description": "Will be done."},
                "400": {"description": "The body is wrong."},
                "401": {"description": "The token is needed."},
                "409": {"description": "Not as things are."},
                "503": {"description": "Too much is asked for at once."},
            },
        }
    }


def description() -> dict[str, Any]:
    """Return the document."""
    stack = _parameter("stack", "The id of a stack, from the report of an entry.", "string", "path")
    entry = _parameter("entry", "The id of an entry.", "string", "path")
    side = _parameter("side", "raw, restored or preview.", "string", "path")
    plane = [
        stack,
        side,
        _parameter("axis", "Across which axis: z (default), y or x.", "string"),
        _parameter("index", "Which plane, from 0."),
        _parameter("projection", '"max": the maximum over all planes instead of one.', "string"),
        _parameter("level", "Each edge shrunk by 2 to the power of this, by the mean."),
        *(
            _parameter(name, "Of a cut-out, in voxels of the level; 0 rows or columns: all.")
            for name in ("y", "x", "height", "width")
        ),
    ]
    png = [
        *plane,
        _parameter("bits", "8 (default) or 16 (grey values as they are)."),
        _parameter("low", "Grey value that is black, for 8 bits.", "number"),
        _parameter("high", "Grey value that is white, for 8 bits.", "number"),
    ]
    since = _parameter("since", "A version: only what changed after it. Ask again while more.")
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "live-restore page",
            "version": __version__,
            "description": "Ids are opaque and stay the same after a restart. /api/do acts: "
            "by POST, with the token in the header Authorization: Bearer, or in the page's cookie.",
        },
        "components": {"securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "paths": {
            "/api/run": _get("State of the run: counts, delay, pace, disk, device.", []),
            "/api/entries": _get("Entries and their reports, oldest change first.", [since]),
            "/api/entries/{entry}/report": _get("The whole report of a result.", [entry]),
            "/api/reasons": _get("Why entries failed or are doubtful, grouped.", []),
            "/api/disk": _get("(seconds since 1970, free bytes) since the page started.", []),
            "/api/events": _get(
                "Server-sent events: /api/run again whenever something changes.", [],
                "text/event-stream",
            ),
            "/api/stacks/{stack}/{side}/plane": _get(
                "Grey values, little-endian, rows first; X-Shape and X-Voxel-Type say of what.",
                plane, "application/octet-stream",
            ),
            "/api/stacks/{stack}/{side}/plane.png": _get("The same as PNG.", png, "image/png"),
            "/api/stacks/{stack}/thumbnail.png": _get("A small picture.", [stack], "image/png"),
            "/api/stacks/{stack}/voxel": _get(
                "One grey value, raw and restored, as in the files.",
                [stack, *(_parameter(name, "From 0.") for name in "zyx")],
            ),
            "/api/do": _get("What may be asked for, and what became of it.", []),
            "/api/do/preview": _post(
                "Restore a stack with another model, for the page only: side preview.",
                {"stack": {"type": "string"}, "model": {"type": "string"}},
            ),
            "/api/do/again": _post(
                "Restore entries again with another model, beside the results that are there.",
                {
                    "entries": {"type": "array", "items": {"type": "string"}, "maxItems": 500},
                    "model": {"type": "string"},
                },
            ),
            "/api/do/adapt": _post(
                "Let a model learn from the run of an entry; it becomes a file beside the run.",
                {"entry": {"type": "string"}, "model": {"type": "string"}},
            ),
            "/api/do/daemon": _post(
                "Ask the daemon.",
                {"wish": {"enum": ["pause", "resume", "newest-first", "in-turn"]}},
            ),
            "/health": _get("Whether the page can read the journal.", []),
            "/metrics": _get("For Prometheus.", [], "text/plain"),
        },
    }  # fmt: skip
