"""bench, doctor, prepare: what they say of this computer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from structlog.testing import capture_logs

from live_restore.bench import measure
from live_restore.bench.measure import Rates
from live_restore.bench.work import CHAIN, flop_per_voxel, matrix_product_model
from live_restore.cli.bench import _print_rates
from live_restore.cli.main import main
from live_restore.errors import ModelError
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.onnx_cpu import TrustedSession
from live_restore.inference.load import find_model, load_model
from live_restore.inference.model.card import ModelCard
from tests.support.processes import run_command


@pytest.mark.parametrize("real", [pytest.param(True, marks=pytest.mark.slow), False])
def test_bench_tells_rates_that_belong_together(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], real: bool
) -> None:
    """In this process, and with small products of matrices, unless ``real``."""

    def here(bench: measure.Bench, device: str, precision: str) -> Rates:
        with capture_logs():
            return measure.measure_here(bench, device, precision)

    words = ["bench", "--device", "cpu", "--shape", "8,64,64", "--json"]
    if real:
        done = run_command(tmp_path, *words)
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
    else:
        monkeypatch.setattr(measure, "measure", here)
        monkeypatch.setattr(measure, "_MATRIX_CPU", 256)
        assert main(words) == 0
        told = json.loads(capsys.readouterr().out)
    (rates,) = told["rates"]
    assert (rates["device"], rates["precision"], rates["error"]) == ("cpu", "fp32", "")
    assert rates["tile_zyx"] == told["shape_zyx"] == [8, 64, 64]
    assert 0 < rates["pipeline"] < rates["network"] * 1.5
    assert 0 < rates["busy"] <= 1
    assert rates["gflops"] == pytest.approx(
        rates["network"] * flop_per_voxel(load_model(find_model("fast"), "cpu").card) / 1e3
    )
    assert rates["share_of_ceiling"] == pytest.approx(rates["gflops"] / rates["ceiling_gflops"])
    assert rates["peak_memory_mb"] > 50
    assert rates["planes_of_2048_per_s"] == pytest.approx(rates["pipeline"] * 1e6 / 2048**2)


def test_the_table_fits_into_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    row = Rates("openvino-gpu", "fp32", "", (8, 64, 64), 1234.56, 1234.56, 1234.56, 0.99, 12345.0,
                12345.0, 23456.0, 0.53)  # fmt: skip
    _print_rates([row], "fast")
    printed = capsys.readouterr().out
    assert "…" not in printed
    assert max(map(len, printed.splitlines())) <= 80
    assert "294" in printed.split()


def test_bench_refuses_what_is_no_shape(tmp_path: Path) -> None:
    for shape in ("16,256", "0,1,1", "a,b,c"):
        done = run_command(tmp_path, "bench", "--shape", shape)
        assert done.returncode == 2
        assert "three numbers" in done.stderr


def test_arithmetic_is_that_of_the_graph() -> None:
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(find_model("fast")).graph
    weights = {t.name: tuple(t.dims) for t in graph.initializer}
    counted = 0
    for node in graph.node:
        if node.op_type == "Conv" and np.prod(weights[node.input[1]][2:]) > 1:
            counted += 2 * int(np.prod(weights[node.input[1]]))
    card = load_model(find_model("fast"), "cpu").card
    fold = card.architecture["lateral_shuffle"]
    assert flop_per_voxel(card) == counted / fold**2
    assert flop_per_voxel(ModelCard(name="x")) is None


def test_the_matrix_model_multiplies() -> None:
    onnx = pytest.importorskip("onnx")
    content = matrix_product_model(5)
    model = onnx.load_model_from_string(content)
    onnx.checker.check_model(model, full_check=True)
    assert [node.op_type for node in model.graph.node] == ["MatMul"] * CHAIN
    source = ModelSource(Path("m"), content, "0")
    session = TrustedSession(source, Limits(1))
    some = np.random.default_rng(0).random((1, 1, 1, 5, 5), np.float32)
    mean = some[0, 0, 0].mean(axis=1, keepdims=True).repeat(5, axis=1)
    # A product with the constant takes each row's mean, and then changes nothing
    np.testing.assert_allclose(session.run(some)[0, 0, 0], mean, rtol=1e-4)
    with pytest.raises(ModelError):
        TrustedSession(ModelSource(Path("m"), content[:-9], "0"), Limits(1))


def test_doctor_finds_this_computer_ready(tmp_path: Path) -> None:
    done = run_command(tmp_path, "doctor", tmp_path, "--device", "cpu", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["ready"] is True
    findings = {f["what"]: f for f in told["findings"]}
    assert findings["model"]["verdict"] == "good"
    assert 'because device = "cpu"' in findings["model"]["found"]
    assert findings["device cpu"]["verdict"] == "good"
    assert findings["results beside"]["found"].startswith(str(tmp_path))
    assert {"write speed", "events", "sleep", "clock", "telemetry"} <= set(findings)
    assert findings["telemetry"]["verdict"] == "good"
    assert findings["log"]["found"].endswith(".log: not begun")
    assert all(f["remedy"] for f in told["findings"] if f["verdict"] == "bad")
    assert not list(tmp_path.glob(".doctor*")), "it leaves nothing behind"


def test_doctor_looks_at_every_folder_of_the_settings(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    entries = "".join(f"[[watch]]\nfolder = '{tmp_path / name}'\n" for name in ("a", "b", "c"))
    config.write_text(f"[inference]\ndevice = 'cpu'\n{entries}[watch.log]\nlevel = 'debug'\n")
    for name in ("a", "c"):
        (tmp_path / name).mkdir()
    done = run_command(tmp_path / "state", "doctor", "--config", config, "--json")
    assert done.returncode == 1, "the second is not there"
    findings = json.loads(done.stdout)["findings"]
    disks = {f["found"].partition(": ")[0]: f for f in findings if f["what"] == "results beside"}
    assert [disks[str(tmp_path / name)]["verdict"] == "bad" for name in "abc"] == [0, 1, 0]
    assert sum(f["what"] == "write speed" for f in findings) == 2
    assert len([f for f in findings if f["what"] == "log"]) == 3
    assert len([f for f in findings if f["what"] == "model"]) == 1, "all have the same"


def test_doctor_says_what_is_missing_and_how_to_mend_it(tmp_path: Path) -> None:
    done = run_command(tmp_path, "doctor", tmp_path / "absent", "--model", "fsat", "--json")
    assert done.returncode == 1
    bad = {f["what"]: f for f in json.loads(done.stdout)["findings"] if f["verdict"] == "bad"}
    assert "bundled are: fast" in bad["models"]["remedy"]
    assert bad["results beside"]["remedy"]
    blocked = tmp_path / "file"
    blocked.write_text("")
    plain = run_command(blocked / "state", "doctor", "--device", "cpu")
    assert plain.returncode == 1
    assert "bad  journal" in plain.stdout
    assert "not ready" in plain.stdout


def test_prepare_makes_ready_what_will_be_used(tmp_path: Path) -> None:
    done = run_command(tmp_path, "prepare", "--device", "cpu", "--shape", "4,32,40")
    assert done.returncode == 0, done.stderr
    assert [line.rpartition("tiles of ")[2] for line in done.stdout.splitlines()] == [
        "16 x 64 x 64",
        "4 x 32 x 40",
    ]


def test_prepare_says_why_it_cannot(tmp_path: Path) -> None:
    done = run_command(tmp_path, "prepare", "--device", "directml", "--shape", "16,64,64")
    assert done.returncode == 2
    assert 'device "directml" cannot be prepared: ' in done.stderr
    assert done.stderr.count("\n") == 1
