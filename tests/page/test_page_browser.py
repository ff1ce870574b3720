"""The page in a real browser, while a run goes on."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import tifffile

from tests.page.browser import page_of, pixels, to_act, under_cursor
from tests.page.runs import (
    HOSTILE,
    SHAPE,
    Recorded,
    SeparateImages,
    page_process,
    spots,
    write_file,
)
from tests.support.models import write_model
from tests.support.processes import run_command, stop, wait_for, watching

pytestmark = pytest.mark.browser
pytest.importorskip("playwright", reason="no playwright: pip install playwright")


def test_a_live_run_appears_tile_by_tile(
    tmp_path: Path, chromium: Path, recorded: Recorded
) -> None:
    """2 positions x 20 times x 2 channels arrive; the server is killed in between, and goes on."""
    root = tmp_path / "run"
    root.mkdir()
    night = SeparateImages(root / "night_1", positions=2, times=20)
    live = Recorded(root, tmp_path, recorded.model)
    flags = ("--model", str(recorded.model), "--device", "cpu", "--plain")
    with watching(tmp_path, root, *flags) as daemon:
        wait_for(live.journal.exists, "the journal", 30)
        with page_process(live) as (server, url), page_of(chromium, url) as page:
            assert page.inner_text("#watched") == "watching"
            done = page.locator('.tile[data-state="done"]')
            for time in range(10):
                night.record(time)
                page.wait_for_function(
                    "n => document.querySelectorAll('.tile[data-state=done]').length >= n",
                    arg=2 * time + 1,
                )
            server.kill()
            page.wait_for_function(
                "() => document.getElementById('watched').textContent.includes('gone')"
            )
            for time in range(10, 20):
                night.record(time)
            with page_process(live, port=int(urlsplit(url).port or 0)):
                wait_for(lambda: done.count() == 40, "tiles after the server came back", 40)
                page.locator("#n-done").wait_for()
                assert page.locator(".grid-row").count() == 2
        stop(daemon)


def test_wipe_planes_and_values_are_those_of_the_files(chromium: Path, recorded: Recorded) -> None:
    with page_process(recorded) as (_, url), page_of(chromium, url) as page:
        choose_files(page)
        page.locator('.tile[aria-label^="cell_t001:"]').click()
        page.wait_for_function(
            "() => document.getElementById('stack-title').textContent === 'cell_t001.ome.tif'"
        )
        raw = spots(1)
        result = tifffile.imread(recorded.root / "files" / "restored" / "cell_t001.ome.tif")
        assert not np.array_equal(raw, result)
        box = page.locator("#canvas").bounding_box()
        for step, (across, down) in enumerate([(0.4, 0.3), (0.55, 0.5), (0.45, 0.8)]):
            page.keyboard.press("ArrowUp")  # the next plane
            page.wait_for_timeout(200)
            page.mouse.move(box["x"] + box["width"] * across, box["y"] + box["height"] * down)
            found = under_cursor(page)
            z, y, x = found["z"], found["y"], found["x"]
            assert z == min(SHAPE[0] - 1, SHAPE[0] // 2 + 1 + step)
            (values,) = found["values"]
            assert (values["raw"], values["restored"]) == (raw[z, y, x], result[z, y, x])
        half = pixels(page)
        for _ in range(20):
            page.keyboard.press("]")
        all_raw = pixels(page)
        for _ in range(20):
            page.keyboard.press("[")
        all_restored = pixels(page)
        middle = half.shape[1] // 2
        assert np.array_equal(half[:, : middle - 2], all_raw[:, : middle - 2])
        assert np.array_equal(half[:, middle + 2 :], all_restored[:, middle + 2 :])
        assert not np.array_equal(all_raw, all_restored)


def choose_files(page: Any) -> None:
    """Choose the folder of files, not the acquisition."""
    page.locator(".tile").first.wait_for()
    page.select_option("#series", label="files")


def test_doubtful_is_marked_and_found_and_hostile_names_are_text(
    chromium: Path, recorded: Recorded
) -> None:
    with page_process(recorded) as (_, url), page_of(chromium, url) as page:
        choose_files(page)
        tile = page.locator('.tile[data-state="doubtful"]')
        tile.wait_for()
        assert tile.locator("svg.mark.doubtful").count() == 1
        assert "doubtful" in tile.get_attribute("aria-label")
        assert page.inner_text("#n-doubtful") == "1"
        assert page.get_by_label(HOSTILE).count() == 1
        assert page.locator(".tile img[src=x]").count() == 0
        page.click('button[data-filter="doubtful"]')
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 1")
        page.locator(".tile").click()
        assert "voxel" in page.inner_text("#doubts")
        page.click('button[data-filter="failed"]')
        page.locator(".tile").wait_for()
        page.wait_for_function("() => document.querySelectorAll('.reasons button').length === 2")


def test_measuring_brightness_has_a_sign_of_its_own(chromium: Path, recorded: Recorded) -> None:
    """As a server tells it of a dim stack."""

    def dim(route: Any) -> None:
        answer = route.fetch()
        told = answer.json()
        for entry in told["entries"]:
            if entry["name"] == "cell_t001.ome.tif":
                entry["report"]["stacks"][0]["brightness_doubt"] = "at its ratio"
        route.fulfill(response=answer, json=told)

    with page_process(recorded) as (_, url), page_of(chromium, url) as page:
        page.route("**/api/entries*", dim)
        page.reload()
        choose_files(page)
        tile = page.locator('.tile[data-state="brightness"]')
        tile.wait_for()
        assert tile.locator("svg.mark.brightness").count() == 1
        assert "restored, brightness doubtful" in tile.get_attribute("aria-label")
        assert page.locator('.tile[data-state="doubtful"]').count() == 1
        tile.click()
        assert "doubtful for measuring brightness: at its ratio" in page.inner_text("#doubts")
        page.click('button[data-filter="doubtful"]')
        page.wait_for_function("() => document.querySelectorAll('.tile').length === 1")
        assert page.locator(".tile.brightness").count() == 0


def test_single_voxels_of_a_large_stack(tmp_path: Path, chromium: Path, recorded: Recorded) -> None:
    """Planes above 1024 arrive shrunk, and whole where one zooms in; values are exact anyway."""

    root = tmp_path / "run"
    root.mkdir()
    rng = np.random.default_rng(3)
    stack = rng.integers(100, 5000, (3, 1500, 2100)).astype(np.uint16)
    write_file(root / "large.ome.tif", stack)
    done = run_command(
        tmp_path, "watch", root, "--once", "--model", recorded.model, "--device", "cpu"
    )
    assert done.returncode == 0, done.stderr
    result = tifffile.imread(root / "restored" / "large.ome.tif")
    live = Recorded(root, tmp_path, recorded.model)
    with page_process(live) as (_, url), page_of(chromium, url) as page:
        page.locator(".tile img").wait_for()  # noise alone is doubtful
        page.wait_for_timeout(500)
        box = page.locator("#canvas").bounding_box()
        x, y = box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.4
        page.mouse.move(x, y)
        coarse = under_cursor(page)
        for _ in range(30):
            page.mouse.wheel(0, -200)
        page.wait_for_timeout(800)
        page.mouse.move(x + 1, y)
        for found in (coarse, under_cursor(page)):
            where = found["z"], found["y"], found["x"]
            (values,) = found["values"]
            assert (values["raw"], values["restored"]) == (stack[where], result[where])


def test_a_preview_by_keyboard_stands_in_the_place_of_raw(
    chromium: Path, recorded: Recorded
) -> None:
    with (
        page_process(recorded) as (process, url),
        page_of(chromium, url) as looking,
    ):
        assert looking.locator("#do-section").is_hidden()
        address = to_act(process)
        looking.goto(address)
        page = looking
        page.locator("#do-preview:enabled").wait_for()  # of what is shown first, untouched
        choose_files(page)
        page.locator('.tile[aria-label^="cell_t001:"]').click()
        page.select_option("#do-model", "fast")
        page.locator("#do-preview").focus()
        page.keyboard.press("Enter")
        page.wait_for_function(
            "() => document.getElementById('tag-left').textContent === 'preview, fast'"
        )
        preview = pixels(page)
        page.locator("#canvas").focus()
        page.keyboard.press("p")
        assert page.inner_text("#tag-left") == "raw"
        raw = pixels(page)
        middle = raw.shape[1] // 2
        assert not np.array_equal(preview[:, : middle - 2], raw[:, : middle - 2])
        assert np.array_equal(preview[:, middle + 2 :], raw[:, middle + 2 :])
        page.locator("#do-pause").wait_for()
        assert page.locator("#do-pause").is_disabled(), "nobody watches"


def test_a_preview_is_of_all_channels_that_are_shown(chromium: Path, recorded: Recorded) -> None:
    """Raw beside it would look as if the model had left the noise of that channel."""
    with page_process(recorded) as (process, url), page_of(chromium, url) as page:
        page.goto(to_act(process))
        page.locator(".tile").first.wait_for()
        page.select_option("#series", label="night_1")
        page.select_option("#do-model", "fast")
        page.locator("#do-preview:enabled").click()
        page.wait_for_function(
            "() => document.getElementById('tag-left').textContent === 'preview, fast'"
        )
        told = page.evaluate("fetch('/api/do').then((answer) => answer.json())")
        stacks = {task["stack"] for task in told["tasks"] if task["state"] == "done"}
        assert len(stacks) == 2


def test_what_never_became_whole_is_counted_at_the_top(chromium: Path, tmp_path: Path) -> None:
    root = tmp_path / "run"
    root.mkdir()
    write_file(root / "whole.ome.tif", spots(1))
    (root / "cut.ome.tif").write_bytes((root / "whole.ome.tif").read_bytes()[:-5000])
    model = write_model(tmp_path / "tiny.onnx")
    live = Recorded(root, tmp_path / "state", model)
    flags = ("--model", str(model), "--device", "cpu", "--plain")
    with watching(live.state, root, *flags) as daemon:
        wait_for((root / "restored" / "whole.json").exists, "the result")
        stop(daemon)
    with page_process(live) as (_, url), page_of(chromium, url) as page:
        page.locator(".tile").nth(1).wait_for()
        assert page.inner_text("#not-whole").split() == ["incomplete", "1"]


def test_a_difference_is_of_planes_and_never_of_two_maxima(
    chromium: Path, recorded: Recorded
) -> None:
    with page_process(recorded) as (_, url), page_of(chromium, url) as page:
        choose_files(page)
        page.locator('[data-view="max"]').click()
        page.locator('[data-mode="difference"]').click()
        assert page.get_attribute('[data-view="max"]', "aria-pressed") == "false"
        page.locator('[data-view="max"]').click()
        assert page.get_attribute('[data-mode="difference"]', "aria-pressed") == "false"


def test_until_raw_is_read_restored_is_on_both_sides(chromium: Path, recorded: Recorded) -> None:
    """A picture that is black on one side would say that there is nothing."""
    with page_process(recorded) as (_, url), page_of(chromium, url) as page:
        choose_files(page)
        page.locator('.tile[aria-label^="cell_t000:"]').click()
        page.wait_for_function("() => document.getElementById('tag-left').textContent === 'raw'")
        held: list[Any] = []
        page.route(re.compile("/raw/plane"), lambda route: held.append(route))
        page.locator('.tile[aria-label^="cell_t001:"]').click()
        page.wait_for_function(
            "() => document.getElementById('tag-left').textContent === 'raw is being read'"
        )
        left = pixels(page)[:, :400]
        assert len(np.unique(left)) > 8, "nothing but black"
        for route in held:
            route.continue_()
        page.wait_for_function("() => document.getElementById('tag-left').textContent === 'raw'")
        assert not np.array_equal(pixels(page)[:, :400], left)


def test_the_contrast_follows_what_is_much_brighter_and_stays_where_it_was_set(
    tmp_path: Path, chromium: Path, recorded: Recorded
) -> None:
    root = tmp_path / "run"
    root.mkdir()
    for name, peak in (("a_dim", 60.0), ("b_paler", 50.0), ("c_bright", 6000.0)):
        write_file(root / f"{name}.ome.tif", spots(4, peak=peak))
    flags = ("--once", "--model", recorded.model, "--device", "cpu")
    assert run_command(tmp_path, "watch", root, *flags).returncode == 0

    def white_of(page: Any, name: str) -> str:
        page.locator(f'.tile[aria-label^="{name}:"]').click()
        page.wait_for_function(
            "name => document.getElementById('stack-title').textContent.startsWith(name)", arg=name
        )
        page.wait_for_timeout(500)
        return str(page.locator('input[data-which="high"]').input_value())

    with (
        page_process(Recorded(root, tmp_path, recorded.model)) as (_, url),
        page_of(chromium, url) as page,
    ):
        page.locator(".tile img").first.wait_for()
        dim = float(white_of(page, "a_dim"))
        assert float(white_of(page, "b_paler")) == dim, "as for the same cell when it bleaches"
        assert float(white_of(page, "c_bright")) > 5 * dim
        assert page.get_attribute("#auto", "aria-pressed") == "true"
        page.locator('input[data-which="high"]').fill("777")
        page.keyboard.press("Tab")
        assert page.get_attribute("#auto", "aria-pressed") == "false"
        assert white_of(page, "a_dim") == "777"
