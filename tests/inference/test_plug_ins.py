"""Backends of other packages: installed, they are devices; broken, they break nothing."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import numpy as np
import pytest

from live_restore.cli.main import main
from live_restore.errors import DeviceError, RuntimeFailureError, SettingsError
from live_restore.inference.backends.backend import Backend, Limits, TakesCounts
from live_restore.inference.backends.onnx_cpu import OnnxCpu
from live_restore.inference.backends.session import Shape5
from live_restore.inference.backends.table import make_backends
from live_restore.inference.device.choice import DeviceRequest, candidates
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model.card import ModelCard
from live_restore.settings.devices import NUMBERED, ONE_OF_A_KIND
from live_restore.settings.load import load_settings
from tests.inference.test_sessions import source

GOOD = """
from dataclasses import replace

from live_restore.inference.backends.onnx_cpu import OnnxCpu


class Npu(OnnxCpu):
    name = "npu"
    on_cpu = False

    def version(self):
        return "npu runtime 3"

    def open(self, *arguments):
        session = super().open(*arguments)
        session.device = replace(session.device, name="npu:0", on_gpu=True)
        return session
"""


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that packages are installed into."""
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(str(folder))
    return folder


@pytest.fixture(autouse=True)
def unload(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget the modules of the test before."""
    for name in ("npu_package", "other_package"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def install(site: Path, code: str, entries: str, package: str = "npu_package") -> None:
    """Do what pip does: a module, and metadata that name its entry points."""
    (site / f"{package}.py").write_text(code, encoding="utf-8")
    metadata = site / f"{package}-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[live_restore.backends]\n{entries}\n")
    importlib.invalidate_caches()


def plug_in(name: str = "npu") -> Backend:
    return next(backend for backend in make_backends() if backend.name == name)


def opened(backend: Backend) -> object:
    return backend.open(source(), (1, 1, 4, 16, 16), "fp32", 0, Limits(1))


def test_the_words_of_the_settings_are_the_devices_that_ship() -> None:
    assert {b.name for b in make_backends()} == {*ONE_OF_A_KIND, *NUMBERED}


def test_an_installed_backend_is_a_device(site: Path) -> None:
    with pytest.raises(SettingsError, match='"npu" is no device'):
        load_settings(None, {"inference": {"device": "npu"}})
    install(site, GOOD, "npu = npu_package:Npu")
    for word in ("npu", "npu:1", "cpu, npu"):
        assert load_settings(None, {"inference": {"device": word}}).inference.device == word
    with pytest.raises(SettingsError):
        load_settings(None, {"inference": {"device": "npu:x"}})
    names = [backend.name for backend in make_backends()]
    assert names[-2:] == ["cpu", "npu"], "ours first"
    backend = plug_in()
    assert (backend.obstacle(), backend.on_cpu) == ("", False)
    model = load_model(find_model("fast"), "npu", 1)
    tile = np.random.default_rng(1).random((1, 1, 4, 16, 20), np.float32)
    out = model.session.run(tile)
    assert (model.session.device.name, model.session.device.on_gpu) == ("npu:0", True)
    right = load_model(find_model("fast"), "cpu", 1).session.run(tile)
    np.testing.assert_array_equal(out, right)


def test_it_is_measured_and_chosen_like_the_others(site: Path) -> None:
    install(site, GOOD, "npu = npu_package:Npu")
    assert plug_in().obstacle() == ""
    reason = load_model(find_model("fast"), "auto", 1).session.device.reason
    assert "npu fp32 " in reason


def test_it_is_loaded_only_where_it_may_be_used(site: Path) -> None:
    install(site, GOOD, "npu = npu_package:Npu")
    load_model(find_model("fast"), "cpu", 1)
    assert "npu_package" not in sys.modules


BROKEN = [
    ("raise RuntimeError('no driver\\nmore')", "RuntimeError: no driver"),
    ("import a_library_that_nobody_has", "ModuleNotFoundError: No module named 'a_library"),
    ("raise SystemExit(3)", "SystemExit: 3"),
    ("x = 1", "AttributeError: "),
    ("Npu = 3", "TypeError: "),
    ("def Npu():\n    raise OSError", "OSError: no reason given"),
    ("Npu = dict", "TypeError: it has no obstacle"),
    (GOOD + "    on_cpu = 'yes'\n", "TypeError: it has no on_cpu"),
    (GOOD + "    name = 'other'\n", 'ValueError: it is called "other", its entry point "npu"'),
    (GOOD + "    def obstacle(self):\n        return 1 / 0\n", "ZeroDivisionError: "),
    (GOOD + "    def precisions(self):\n        return 5\n", "TypeError: "),
    (GOOD + "    def version(self):\n        raise KeyError('v')\n", "KeyError: 'v'"),
]


@pytest.mark.parametrize(("code", "why"), BROKEN)
def test_a_broken_one_is_an_obstacle_with_its_name(site: Path, code: str, why: str) -> None:
    install(site, code, "npu = npu_package:Npu")
    obstacle = plug_in().obstacle()
    assert obstacle.startswith(f"package npu_package does not work ({why}")
    assert obstacle.endswith("; update or uninstall it")
    assert "\n" not in obstacle
    found = candidates(DeviceRequest("auto"), ModelCard(name="x"), (OnnxCpu(), plug_in()))
    assert [str(variant) for variant in found.variants] == ["cpu fp32"]
    assert found.obstacles == {"npu": obstacle}
    with pytest.raises(DeviceError, match="npu_package does not work"):
        load_model(find_model("fast"), "npu", 1)
    with pytest.raises(DeviceError, match="npu_package does not work"):
        opened(plug_in())


@pytest.mark.parametrize(
    ("method", "why"),
    [
        ("def open(self, *_):\n        return {}['x']", "KeyError: 'x'"),
        ("def open(self, *_):\n        return 3", "AttributeError: "),
        (
            "def open(self, *_):\n        import types\n"
            "        return types.SimpleNamespace(device='npu')",
            "its session names no device",
        ),
    ],
)
def test_one_that_opens_nothing_is_refused(site: Path, method: str, why: str) -> None:
    install(site, f"{GOOD}    {method}\n", "npu = npu_package:Npu")
    backend = plug_in()
    assert backend.obstacle() == ""
    with pytest.raises(DeviceError, match=f"package npu_package.*{why}") as caught:
        opened(backend)
    assert "\n" not in str(caught.value)
    device = load_model(find_model("fast"), "auto", 1, backends=(OnnxCpu(), backend)).session.device
    assert device.name == "cpu"
    assert "npu fp32: package npu_package" in device.reason, "and reported"


def test_one_whose_counts_session_names_no_device_is_refused(site: Path) -> None:
    method = "def open_counts(self, *_):\n        return 3"
    install(site, f"{GOOD}    {method}\n", "npu = npu_package:Npu")
    backend = plug_in()
    assert isinstance(backend, TakesCounts)
    assert backend.obstacle() == ""
    with pytest.raises(DeviceError, match="package npu_package does not work"):
        backend.open_counts(source(), (1, 1, 4, 16, 16), "fp32", 0, Limits(1))


def test_one_that_fails_on_a_tile_is_an_error_of_ours(site: Path) -> None:
    code = GOOD.replace(
        "return session", "session.run = lambda tile: 1 / 0\n        return session"
    )
    install(site, code, "npu = npu_package:Npu")
    shape: Shape5 = (1, 1, 4, 16, 16)
    session = plug_in().open(source(), shape, "fp32", 0, Limits(1))
    with pytest.raises(RuntimeFailureError, match="division by zero"):
        session.run(np.zeros(shape, np.float32))


def test_one_that_computes_wrong_numbers_is_refused_by_name(site: Path) -> None:
    code = GOOD.replace(
        "return session", "run = session.run\n        session.run = lambda t: run(t) * 0.9\n"
        "        return session"
    )  # fmt: skip
    install(site, code, "npu = npu_package:Npu")
    with pytest.raises(DeviceError, match="npu fp32: it computes wrong numbers"):
        load_model(find_model("fast"), "npu", 1)


@pytest.mark.parametrize(
    ("name", "why"),
    [("cpu", "is taken"), ("auto", "is taken"), ("N:1", "is none: a-z, 0-9 and - are allowed")],
)
def test_a_name_that_cannot_be_is_reported(site: Path, name: str, why: str) -> None:
    # Before any colon, as in TOML: an entry point's name may hold one.
    install(site, GOOD, f"{name} = npu_package:Npu")
    last = make_backends()[-1]
    assert last.name == f"{name} of npu_package"
    assert last.obstacle().startswith(f'package npu_package: the name "{name}" {why}')
    assert "npu_package" not in sys.modules
    assert load_model(find_model("fast"), "cpu", 1).session.device.provider.startswith("onnx")


def test_of_two_with_one_name_the_second_is_reported(site: Path) -> None:
    install(site, GOOD, "npu = npu_package:Npu")
    install(site, GOOD, "npu = other_package:Npu", "other_package")
    assert [backend.name for backend in make_backends()][-2:] == ["npu", "npu of other_package"]
    assert 'the name "npu" is taken' in make_backends()[-1].obstacle()


def test_damaged_metadata_are_reported_and_nothing_else(site: Path) -> None:
    install(site, GOOD, "this is no entry")
    last = make_backends()[-1]
    assert last.name == "plug-ins"
    assert "damaged metadata" in last.obstacle()
    assert load_model(find_model("fast"), "cpu", 1).session.device.name == "cpu"
    with pytest.raises(SettingsError, match="damaged metadata"):
        load_settings(None, {"inference": {"device": "npu"}})


def test_doctor_shows_it(site: Path, capsys: pytest.CaptureFixture[str]) -> None:
    install(site, "raise RuntimeError('no driver')", "npu = npu_package:Npu")
    assert main(["doctor", "--device", "cpu", "--json"]) == 0
    findings = json.loads(capsys.readouterr().out)["findings"]
    (found,) = [finding for finding in findings if finding["what"] == "device npu"]
    assert found == {
        "what": "device npu",
        "verdict": "note",
        "found": "package npu_package does not work (RuntimeError: no driver)",
        "remedy": "update or uninstall it",
    }
