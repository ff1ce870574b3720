"""The page for every window, keyboard and eye, and what it leaves of the processor."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path
from typing import Any

import pytest

from live_restore.journal.wishes import Wish, send_wish, wishes_folder
from tests.page.browser import page_of, to_act
from tests.page.runs import (
    Recorded,
    page_process,
    spots,
    write_file,
)
from tests.support.processes import stop, wait_for, watching

pytestmark = pytest.mark.browser
pytest.importorskip("playwright", reason="no playwright: pip install playwright")


def test_by_keyboard_alone(chromium: Path, recorded: Recorded) -> None:
    with page_process(recorded) as (_, url), page_of(chromium, url) as page:
        page.locator(".tile").first.wait_for()
        page.select_option("#series", label="night_1")
        page.wait_for_timeout(300)
        page.locator("#canvas").focus()
        seen = []
        for key in ("s", "d", "w", "m", "y", "x", "z", "Home", "ArrowRight", "1", "1", ",", "."):
            page.keyboard.press(key)
            page.wait_for_timeout(120)
            seen.append(page.inner_text("#stack-title"))
        assert seen[-5].endswith("time 1")
        assert "time 0" in seen[-6]
        assert page.get_attribute('button[data-axis="z"]', "aria-pressed") == "true"
        assert page.get_attribute('button[data-view="max"]', "aria-pressed") == "true"
        page.keyboard.press(" ")
        assert page.inner_text("#play") == "Pause"
        page.keyboard.press(" ")
        page.keyboard.press("?")
        assert page.locator("dialog[open]").count() == 1
        page.keyboard.press("Escape")
        for _ in range(12):  # whatever has the focus shows it
            page.keyboard.press("Tab")
            outline = page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
            assert outline not in ("none", "")


@pytest.mark.parametrize("scheme", ["dark", "light"])
@pytest.mark.parametrize("width", [1280, 1920])
def test_contrast_names_and_roles_by_axe(
    chromium: Path, recorded: Recorded, scheme: str, width: int
) -> None:
    """axe-core finds nothing that keeps from WCAG 2.1 AA, with everything on the screen."""
    axe = pytest.importorskip(
        "axe_playwright_python.sync_playwright", reason="pip install axe-playwright-python"
    )
    options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    look = {"viewport": {"width": width, "height": width * 5 // 8}, "color_scheme": scheme}
    with (
        page_process(recorded) as (process, _),
        page_of(chromium, to_act(process), **look) as page,
    ):
        assert page.get_attribute("html", "data-theme") == scheme
        page.locator(".tile img").first.wait_for()
        page.locator("#do-section").wait_for()
        page.locator(".reasons button").first.wait_for()
        for keys in ("", "d", "?"):
            for key in keys:
                page.keyboard.press(key)
            page.wait_for_timeout(300)
            found = axe.Axe().run(page, options=options).response["violations"]
            told = [(each["id"], [node["html"] for node in each["nodes"]]) for each in found]
            assert told == []


def test_a_page_leaves_the_processor_to_what_restores(
    tmp_path: Path, chromium: Path, recorded: Recorded
) -> None:
    """Beside work of this computer it plays a time point a second, and nothing moves by itself."""
    shutil.copytree(recorded.root / "files", tmp_path / "run" / "files")
    live = Recorded(tmp_path / "run", tmp_path, recorded.model)
    flags = ("--model", str(recorded.model), "--device", "cpu", "--plain")
    with watching(tmp_path, live.root, *flags) as daemon:
        wait_for(live.journal.exists, "the journal", 30)
        with page_process(live) as (_, url), page_of(chromium, url) as page:
            page.locator('.tile[data-state="done"]').first.wait_for()
            send_wish(wishes_folder(live.journal), Wish.PAUSE)
            page.wait_for_function(
                "() => document.getElementById('watched').textContent === 'paused'"
            )
            assert "slowed" not in playing_on(page), "nothing is to be done"
            write_file(live.root / "files" / "new.ome.tif", spots(3))
            page.locator('.tile[data-state="waiting"]').wait_for()
            page.wait_for_function(
                "() => document.getElementById('play').textContent.includes('slowed')"
            )
            began = page.evaluate(_PAINTS)
            page.wait_for_timeout(3000)
            assert page.evaluate("window.paints") - began <= 4
            page.keyboard.press(" ")
            assert page.evaluate("document.getAnimations().length") == 0
        stop(daemon)


def playing_on(page: Any) -> str:
    """Let it play; return what stands on the button then."""
    page.keyboard.press(" ")
    page.wait_for_timeout(500)
    return str(page.inner_text("#play"))


_PAINTS = """() => {
  const put = CanvasRenderingContext2D.prototype.putImageData;
  window.paints = 0;
  CanvasRenderingContext2D.prototype.putImageData = function (...all) {
    window.paints += 1;
    put.apply(this, all);
  };
  return 0;
}"""


PARTS = (".top", ".stage > .bar", ".canvas-frame", ".scrub", "#channels", ".strip-head", "#strip")


@pytest.mark.parametrize("size", [(800, 600), (1000, 640), (1280, 800)], ids=str)
def test_nothing_lies_over_anything(
    chromium: Path, recorded: Recorded, size: tuple[int, int]
) -> None:
    viewport = {"width": size[0], "height": size[1]}
    with (
        page_process(recorded) as (process, _),
        page_of(chromium, to_act(process), viewport=viewport) as page,
    ):
        page.locator("#do-preview:enabled").wait_for()
        boxes = [page.locator(part).bounding_box() for part in (*PARTS, "aside")]
        width, scrolled = page.evaluate("[document.documentElement.scrollWidth, scrollY]")
    assert (width <= size[0], scrolled) == (True, 0)
    for above, below in itertools.pairwise(boxes[:-1]):
        assert above["y"] + above["height"] <= below["y"] + 1, (above, below)
    stage, aside = boxes[-2], boxes[-1]
    beside = aside["x"] >= stage["x"] + stage["width"] - 1
    assert beside or aside["y"] >= stage["y"] + stage["height"] - 1
