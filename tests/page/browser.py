"""The page in a real browser, for tests."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

PATIENCE_MS = 30_000


@contextmanager
def page_of(chromium: Path, url: str, **options: Any) -> Iterator[Any]:
    """Open the page; fail on any error in its console."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=str(chromium), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(**{"viewport": {"width": 1280, "height": 800}, **options})
        page.set_default_timeout(PATIENCE_MS)
        page.problems = []
        page.on("pageerror", lambda error: page.problems.append(str(error)))
        page.on("dialog", lambda dialog: page.problems.append(f"dialog {dialog.message}"))
        try:
            page.goto(url)
            yield page
            assert page.problems == []
        finally:
            browser.close()


def under_cursor(page: Any) -> dict[str, Any]:
    """Return the voxel that the page names, once it is exact."""
    page.wait_for_function(
        "() => JSON.parse(document.getElementById('values').dataset.voxel ?? '{}').exact"
    )
    return dict(json.loads(page.get_attribute("#values", "data-voxel")))


def pixels(page: Any) -> Any:
    """Return rows from all over the canvas (rows, columns, 4)."""
    page.wait_for_timeout(150)
    width, height, data = page.evaluate(
        "() => { const c = document.getElementById('canvas'), x = c.getContext('2d'), rows = 16;"
        "const at = n => Math.floor((n + 0.5) * c.height / rows);"
        "const row = n => Array.from(x.getImageData(0, at(n), c.width, 1).data);"
        "return [c.width, rows, Array.from({ length: rows }, (_, n) => row(n))]; }"
    )
    return np.asarray(data, np.uint8).reshape(height, width, 4)


def to_act(process: Any) -> str:
    """Return the address with the token, which is the second line that the page prints."""
    return str(process.stdout.readline()).rpartition(" ")[2].strip()
