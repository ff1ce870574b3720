"""How soon the first picture is on the screen, and what memory the page takes; prints a table.

    python -m tests.page.measure [Z,Y,X ...]

A stack is restored by a real ``watch`` with a network of one operator while the page is open in
Chromium. Counted is from the journal's entry (the result is published) to the painted canvas.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from playwright.sync_api import sync_playwright

from tests.page.runs import (
    Recorded,
    fetched,
    fetched_bytes,
    page_process,
    resident_mb,
    small_model,
    write_file,
)
from tests.support.processes import wait_for, watching

_PAINTED = """() => {
  const canvas = document.getElementById('canvas');
  const data = canvas.getContext('2d').getImageData(canvas.width * 0.55, 0, 1, canvas.height).data;
  for (let i = 0; i < data.length; i += 4) if (data[i] > 40) return Date.now();
  return 0;
}"""


def measure(folder: Path, browser: Any, shape: tuple[int, int, int]) -> str:
    """Return a row of the table."""
    root = folder / "run"
    root.mkdir()
    live = Recorded(root, folder, small_model(folder))
    rng = np.random.default_rng(1)
    planes = [rng.poisson(20, shape[1:]).astype(np.uint16) + np.uint16(100) for _ in range(4)]
    stack = np.stack([planes[z % 4] for z in range(shape[0])])
    stack[:, :: max(1, shape[1] // 9)] += 400
    flags = ("--model", str(live.model), "--device", "cpu", "--plain")
    with watching(folder, root, *flags):
        wait_for(live.journal.exists, "the journal")
        with page_process(live) as (process, url):
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            page.set_default_timeout(300_000)
            page.goto(url)
            page.wait_for_timeout(1000)
            before = resident_mb(process)
            write_file(root / "stack.ome.tif", stack)
            painted = page.wait_for_function(_PAINTED).json_value() / 1e3
            wait_for(lambda: fetched(f"{url}api/run")["counts"]["done"] == 1, "the result")
            (entry,) = fetched(f"{url}api/entries")["entries"]
            first = painted - entry["finished_at"]
            (shown,) = entry["report"]["stacks"]
            began = time.perf_counter()
            fetched_bytes(f"{url}api/stacks/{shown['id']}/raw/plane?index=1&level=1")
            raw = time.perf_counter() - began
            page.close()
            return (
                f"{' x '.join(map(str, shape))}: first picture after {first:.2f} s, a further raw "
                f"plane {raw:.2f} s, memory {before:.0f} -> {resident_mb(process):.0f} MB"
            )


def main(shapes: list[str]) -> None:
    """Measure every shape."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
        )
        for text in shapes or ["32,512,512"]:
            z, y, x = map(int, text.split(","))
            with tempfile.TemporaryDirectory() as folder:
                print(measure(Path(folder), browser, (z, y, x)), flush=True)
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1:])
