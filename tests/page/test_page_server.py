"""The page's answers, against what lies in the files."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image
from starlette.testclient import TestClient

from live_restore.overview.entries import facts_of
from live_restore.page.pictures import Cut, level_of
from live_restore.stack import StackKey
from tests.page.runs import CHANNELS, SHAPE, Recorded, client_of, entries, named, spots, write_file
from tests.support.processes import run_command


def voxels(answer: Any) -> Any:
    """Return the array in an answer."""
    assert answer.status_code == 200, answer.text
    shape = tuple(map(int, answer.headers["X-Shape"].split(",")))
    dtype = np.dtype(answer.headers["X-Voxel-Type"]).newbyteorder("<")
    return np.frombuffer(answer.content, dtype).reshape(shape)


def stacks_of(entry: dict[str, Any]) -> list[dict[str, Any]]:
    return list(entry["report"]["stacks"])


def test_the_run_is_told_as_the_journal_has_it(client: TestClient) -> None:
    told = client.get("/api/run").json()
    assert told["name"] == "run"
    assert told["counts"]["done"] == 17
    assert told["counts"]["failed"] + told["counts"]["refused"] == 1
    assert (told["doubtful"], told["doubtful_brightness"]) == (1, 0)
    assert told["watched"] is False
    assert told["last_delay_s"] > 0
    assert told["disk_free_bytes"] > 0


@pytest.mark.parametrize("side", ["raw", "restored"])
def test_planes_of_a_file_are_those_of_the_file(
    client: TestClient, recorded: Recorded, side: str
) -> None:
    folder = recorded.root / "files" / ("" if side == "raw" else "restored")
    truth = tifffile.imread(folder / "cell_t001.ome.tif")
    assert truth.shape == SHAPE
    (stack,) = stacks_of(named(client, "cell_t001.ome.tif"))
    url = f"/api/stacks/{stack['id']}/{side}/plane"
    for z in range(SHAPE[0]):
        assert np.array_equal(voxels(client.get(url, params={"index": z})), truth[z])
    across_y = client.get(url, params={"axis": "y", "index": 7})
    assert np.array_equal(voxels(across_y), truth[:, 7])
    for number, axis in enumerate("zyx"):
        answer = client.get(url, params={"axis": axis, "projection": "max"})
        assert np.array_equal(voxels(answer), truth.max(axis=number))
    cut = {"index": 2, "y": 8, "x": 16, "height": 5, "width": 6}
    assert np.array_equal(voxels(client.get(url, params=cut)), truth[2, 8:13, 16:22])
    level = voxels(client.get(url, params={"index": 2, "level": 1}))
    mean = truth[2].reshape(20, 2, 28, 2).mean(axis=(1, 3))
    assert np.abs(level - mean).max() <= 0.5


def test_every_stack_of_an_acquisition_is_that_stack(
    client: TestClient, recorded: Recorded
) -> None:
    found = [each for each in entries(client) if each["index"] is not None]
    assert sorted(tuple(each["index"]) for each in found) == [
        (p, t, c) for p in range(2) for t in range(3) for c in range(2)
    ]
    for entry in found:
        position, time, channel = entry["index"]
        (stack,) = stacks_of(entry)
        assert stack["channel_name"] == CHANNELS[channel]
        label = f"p{position:03}_t{time:04}_c{channel:02}"
        result = tifffile.imread(recorded.root / "night_1_restored" / f"{label}.ome.tif")
        url = f"/api/stacks/{stack['id']}"
        raw = spots(100 * position + 10 * time + channel)
        assert np.array_equal(voxels(client.get(f"{url}/raw/plane?index=3")), raw[3])
        assert np.array_equal(voxels(client.get(f"{url}/restored/plane?index=3")), result[3])
        voxel = client.get(f"{url}/voxel?z=2&y=11&x=30").json()
        assert voxel == {"raw": raw[2, 11, 30], "restored": result[2, 11, 30]}


def test_results_in_ome_zarr_and_files_of_several_stacks(tmp_path: Path, zarr: Any) -> None:
    from tests.page.runs import SeparateImages, small_model

    root, model = tmp_path / "run", small_model(tmp_path)
    root.mkdir()
    stacks = np.stack([spots(n) for n in range(6)]).reshape(3, 2, *SHAPE)  # T, C, Z, Y, X
    tifffile.imwrite(
        root / "all.ome.tif", stacks, ome=True, photometric="minisblack",
        metadata={"axes": "TCZYX", "Channel": {"Name": list(CHANNELS)}},
    )  # fmt: skip
    SeparateImages(root / "night_2", positions=1, times=1).record(0)
    config = tmp_path / "config.toml"
    config.write_text('[output]\ndatasets = "ome-zarr"\n')
    state = tmp_path / "state"
    done = run_command(
        state, "watch", root, "--once", "--model", model, "--config", config, "--device", "cpu"
    )
    assert " 0 failed" in done.stderr, done.stderr
    recorded = Recorded(root, state, model)
    with client_of(root, recorded.journal) as client:
        for stack in stacks_of(named(client, "all.ome.tif")):
            raw = voxels(client.get(f"/api/stacks/{stack['id']}/raw/plane?index=1"))
            assert np.array_equal(raw, stacks[stack["time"], stack["channel"], 1])
            result = tifffile.imread(root / "restored" / "all.ome.tif")
            shown = voxels(client.get(f"/api/stacks/{stack['id']}/restored/plane?index=1"))
            assert np.array_equal(shown, result[stack["time"], stack["channel"], 1])
        image = zarr.open_array(root / "night_2_restored" / "p000.ome.zarr" / "0", mode="r")
        night = [each for each in entries(client) if each["index"]]
        assert len(night) == 2
        for entry in night:
            (stack,) = stacks_of(entry)
            shown = voxels(client.get(f"/api/stacks/{stack['id']}/restored/plane?index=2"))
            assert np.array_equal(shown, image[0, stack["channel"], 2])


def test_png_of_16_bits_keeps_the_grey_values(client: TestClient) -> None:
    (stack,) = stacks_of(named(client, "cell_t000.ome.tif"))
    url = f"/api/stacks/{stack['id']}/raw/plane.png"
    deep = Image.open(io.BytesIO(client.get(url, params={"index": 1, "bits": 16}).content))
    assert np.array_equal(np.asarray(deep), spots(0)[1])
    flat = client.get(url, params={"index": 1, "low": 100, "high": 355})
    expected = np.clip(spots(0)[1].astype(int) - 100, 0, 255)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(flat.content))), expected)
    small = Image.open(io.BytesIO(client.get(f"/api/stacks/{stack['id']}/thumbnail.png").content))
    assert max(small.size) <= 112


def test_doubts_failures_and_their_remedies_are_grouped(client: TestClient) -> None:
    odd = named(client, "odd voxels.ome.tif")
    assert odd["doubtful"] is True
    (stack,) = stacks_of(odd)
    assert "voxel" in stack["doubts"][0]
    groups = client.get("/api/reasons").json()
    doubtful = next(group for group in groups if group["state"] == "doubtful")
    assert (doubtful["count"], doubtful["entries"]) == (1, [odd["id"]])
    broken = named(client, "broken.tif")
    group = next(group for group in groups if broken["id"] in group["entries"])
    assert group["reason"] == broken["reason"]
    assert group["state"] in ("failed", "refused")


def test_only_what_changed_is_sent_again(client: TestClient) -> None:
    whole = client.get("/api/entries").json()
    assert len(whole["entries"]) == 18
    assert whole["more"] is False
    again = client.get("/api/entries", params={"since": whole["version"]}).json()
    assert again["entries"] == []
    newest = max(each["version"] for each in whole["entries"])
    part = client.get("/api/entries", params={"since": newest - 1}).json()
    assert [each["version"] for each in part["entries"]] == [newest]


def test_the_report_and_the_numbers_for_prometheus(client: TestClient, recorded: Recorded) -> None:
    entry = named(client, "cell_t002.ome.tif")
    told = client.get(f"/api/entries/{entry['id']}/report").json()
    path = recorded.root / "files" / "restored" / "cell_t002.json"
    report = json.loads(path.read_text(encoding="utf-8"))
    assert "model" in report.pop("settings")["models"][0], "paths of this computer stay here"
    assert told == report
    metrics = client.get("/metrics")
    assert metrics.headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = metrics.text.splitlines()
    assert 'live_restore_entries{state="done"} 17.0' in lines
    assert "live_restore_doubtful 1.0" in lines
    assert client.get("/health").json()["status"] == "ok"


def test_openapi_names_every_address_and_no_other(client: TestClient) -> None:
    from live_restore.overview.run import Run
    from live_restore.page.app import PageApp
    from live_restore.page.doing import Doing
    from live_restore.page.pixels import Pixels
    from live_restore.page.tasks import Tasks

    none = Path("none")
    run = Run(none, none)
    app = PageApp(run, Pixels(none), Doing(run, none, Tasks(none, none), Tasks(none, none)))
    served = {route.path.replace(":str", "") for route in app.asgi.routes}
    described = set(client.get("/openapi.json").json()["paths"])
    assert served - described == {"/", "/static/{name}", "/openapi.json"}
    assert described <= served


def test_a_journal_that_cannot_be_read_is_told_and_looked_at_again(tmp_path: Path) -> None:
    root, journal = tmp_path / "run", tmp_path / "journal.sqlite"
    root.mkdir()
    journal.write_bytes(b"no database at all" * 100)
    with client_of(root, journal) as client:
        assert client.get("/health").status_code == 503
        assert "journal" in client.get("/api/run").json()["problem"]
        assert client.get("/").status_code == 200


def test_results_that_vanish_or_are_damaged_cost_a_message(tmp_path: Path) -> None:
    from tests.page.runs import small_model

    root, model = tmp_path / "run", small_model(tmp_path)
    root.mkdir()
    for name in "ab":
        write_file(root / f"{name}.ome.tif", spots(1))
    done = run_command(tmp_path, "watch", root, "--once", "--model", model, "--device", "cpu")
    assert done.returncode == 0, done.stderr
    (root / "a.ome.tif").unlink()
    (root / "restored" / "a.ome.tif").unlink()
    result = root / "restored" / "b.ome.tif"
    result.write_bytes(result.read_bytes()[:3000])
    with client_of(root, Recorded(root, tmp_path, model).journal) as client:
        for name in "ab":
            (stack,) = stacks_of(named(client, f"{name}.ome.tif"))
            for side in ("raw", "restored") if name == "a" else ("restored",):
                answer = client.get(f"/api/stacks/{stack['id']}/{side}/plane?index=3")
                assert answer.status_code in (404, 503)
                assert str(tmp_path) not in answer.text
                assert answer.json()["error"]


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (17, 4), (64, 64)])
@pytest.mark.parametrize("level", [1, 2, 5])
def test_a_level_is_the_mean_of_what_is_under_it(shape: tuple[int, int], level: int) -> None:
    plane = np.random.default_rng(1).integers(0, 65535, shape).astype(np.uint16)
    step = 2**level
    found = level_of(plane, level, Cut())
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            under = plane[y * step : (y + 1) * step, x * step : (x + 1) * step]
            assert abs(float(found[y, x]) - under.mean()) <= 0.5


@pytest.mark.parametrize(
    "report",
    [
        {},
        {"format": "live-restore-report/2"},
        {"format": "live-restore-report/1", "source": 3, "seconds": []},
        {"format": "live-restore-report/1", "source": {"shape_zyx": [1, 2, 10**12]}},
    ],
)
def test_a_report_of_anybody_is_refused_not_believed(report: dict[str, Any]) -> None:
    with pytest.raises((LookupError, TypeError, ValueError, AttributeError)):
        facts_of({"seconds": {}, **report}, StackKey(Path("a.tif")))


@pytest.mark.parametrize(
    "odd", [3, [], {"levels": 3}, {"levels": [3, {"light": "x"}], "in_words": ["<b>"]}, None]
)
def test_what_is_odd_about_the_trust_in_a_report_is_left_out(odd: object) -> None:
    stack = {"position": 0, "time": 0, "channel": 0, "channel_name": "", "restored": True,
             "before": {}, "brightness": odd, "sharpness": odd, "gain_over_raw": odd,
             "less_light": odd}  # fmt: skip
    source = {"shape_zyx": [1, 2, 3], "dtype": "uint16", "axes": "ZYX", "positions": 1, "times": 1,
              "channels": 1, "voxel_um": {"z": 1, "y": 1, "x": 1}}  # fmt: skip
    report = {"format": "live-restore-report/1", "source": source, "seconds": {}, "models": {}}
    (found,) = facts_of({**report, "stacks": [stack]}, StackKey(Path("a.tif"))).stacks
    assert (found.gain_db, found.flux_bias_percent, found.half_light_db) == (None, None, None)
    assert found.less_light == ""
    known = {
        "gain_over_raw": {"db": 12.0}, "brightness": {"flux_bias_percent": -3.0},
        "sharpness": {"raw": 1.0, "restored": 0.9},
        "less_light": {"levels": [{"light": 0.5, "cost_db": 1.8}], "in_words": "half\nof it"},
    }  # fmt: skip
    (found,) = facts_of({**report, "stacks": [{**stack, **known}]}, StackKey(Path("a.tif"))).stacks
    assert (found.gain_db, found.flux_bias_percent, found.half_light_db) == (12.0, -3.0, 1.8)
    assert (found.raw_sharpness, found.restored_sharpness) == (1.0, 0.9)
    assert "\n" not in found.less_light


def test_the_page_loads_neither_runtime_nor_engine() -> None:
    code = (
        "import sys, live_restore.page.server, live_restore.page.metrics; "
        "print([m for m in sys.modules if m.startswith(('onnxruntime', 'live_restore.engine', "
        "'live_restore.inference', 'torch', 'scipy'))])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
