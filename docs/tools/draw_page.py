"""Takes the pictures of the page in the documentation anew, from a demo that has ended.

    python docs/tools/draw_page.py            needs Debian's Chromium and playwright

A person has to look at them afterwards.
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

IMAGES = Path(__file__).parents[1] / "images"
PICTURES = {
    "page-dark.png": ("dark", 1280, 900),
    "page-light.png": ("light", 1280, 900),
    "page-dark-1920.png": ("dark", 1920, 1080),
    "page-light-1920.png": ("light", 1920, 1080),
}
TIMES = 12


def main() -> None:
    """Write the pictures."""
    with tempfile.TemporaryDirectory() as folder:
        demo = subprocess.Popen(
            [sys.executable, "-m", "live_restore", "demo", "--times", str(TIMES), "--out", folder,
             "--page", "0", "--device", "cpu"],
            stdout=subprocess.PIPE, text=True, env={**os.environ, "BROWSER": "true"},
        )  # fmt: skip
        assert demo.stdout is not None
        addresses = [re.search(r"http://\S+", demo.stdout.readline()) for _ in range(2)]
        looking, acting = (found.group() for found in addresses if found is not None)
        try:
            with sync_playwright() as playwright:
                browser = playwright.chromium.launch(
                    executable_path="/usr/bin/chromium", args=["--no-sandbox", "--disable-gpu"]
                )
                for name, (scheme, width, height) in PICTURES.items():
                    page = browser.new_page(
                        viewport={"width": width, "height": height}, color_scheme=scheme
                    )
                    page.set_default_timeout(300_000)
                    page.goto(acting if scheme == "light" else looking)
                    _ready(page)
                    page.screenshot(path=IMAGES / name)
                    page.close()
                browser.close()
        finally:
            demo.send_signal(signal.SIGINT)
            demo.communicate()


def _ready(page: Page) -> None:
    page.wait_for_function(
        "n => document.querySelectorAll('.tile[data-state=done], .tile[data-state=doubtful]')"
        ".length === n && document.getElementById('watched').textContent === 'not watched'",
        arg=TIMES,
    )
    page.wait_for_timeout(2500)  # thumbnails and plots
    page.mouse.move(*_middle(page))
    page.wait_for_timeout(500)


def _middle(page: Page) -> tuple[float, float]:
    box = page.locator("#canvas").bounding_box()
    assert box is not None
    return box["x"] + 0.62 * box["width"], box["y"] + 0.4 * box["height"]


if __name__ == "__main__":
    main()
