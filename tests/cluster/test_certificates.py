"""Who has no certificate of the cluster gets one clear line, and nothing else."""

from __future__ import annotations

import functools
import ssl
import stat
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from live_restore.cli.main import main
from live_restore.cluster.certificates import AUTHORITY, CERTIFICATE, KEY, make_members
from live_restore.cluster.models import load_models
from live_restore.cluster.remote import RemoteRestorer
from live_restore.errors import SettingsError, UsageError
from live_restore.inference.network_runs import CancelledError
from live_restore.inference.restored import Restored
from live_restore.installation import install_with
from live_restore.settings.load import load_settings
from live_restore.simulation.scene import LivingCell
from tests.support.cluster import Started, a_scheduler, a_worker, ended, free_address
from tests.support.processes import PATIENCE_S
from tests.support.systems import posix


@functools.cache
def raw() -> NDArray[np.uint16]:
    return LivingCell(shape_zyx=(8, 48, 48)).exposed(0)


def restored_by(
    address: str, certificates: Path | None, said: list[str], timeout_s: float = 5.0
) -> Restored:
    """Restore a stack there; stop waiting once something was reported."""
    cluster = {
        "timeout_s": timeout_s,
        **({"certificates": str(certificates)} if certificates else {}),
    }
    settings = load_settings(
        None, {"inference": {"device": address, "threads": 1}, "cluster": cluster}
    )
    restorer = load_models(settings, said.append).rules[0][1]
    assert isinstance(restorer, RemoteRestorer)
    try:
        return restorer.restore(raw(), lambda: bool(said))
    finally:
        restorer.close()


def test_members_know_each_other_and_nobody_else(tmp_path: Path) -> None:
    gpu, microscope = make_members(tmp_path / "ours", ["gpu-pc", "microscope"])
    (stranger,) = make_members(tmp_path / "others", ["stranger"])
    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address, "--certificates", str(gpu))
    worker = a_worker(tmp_path / "w", address, "--certificates", str(gpu))
    with ended(scheduler, worker):
        said: list[str] = []
        assert restored_by(address, microscope, said).volume.shape == raw().shape
        assert said == []
        for wrong in (stranger, None):
            lines: list[str] = []
            with pytest.raises(CancelledError):
                restored_by(address, wrong, lines, timeout_s=0.5)
            (line,) = lines
            assert line.startswith(address)
            assert "\n" not in line
            assert "accept each other's certificates" in line
        (tmp_path / "x").mkdir()
        (tmp_path / "x" / "config.toml").write_text(
            "[cluster]\ntimeout_s = 0.5\n", encoding="utf-8"
        )
        refused = Started(tmp_path / "x", "worker", "--scheduler", address, "--certificates",
                          str(stranger), "--device", "cpu")  # fmt: skip
        with ended(refused):
            refused.wait_for("waiting for it")
            assert refused.said.count("\n") == 1
    assert "Traceback" not in worker.said + scheduler.said + refused.said


def test_one_init_after_another_adds_computers(tmp_path: Path, capsys: Any) -> None:
    assert main(["cluster", "init", str(tmp_path), "one"]) == 0
    authority = (tmp_path / "authority" / CERTIFICATE).read_bytes()
    first = (tmp_path / "one" / CERTIFICATE).read_bytes()
    assert main(["cluster", "init", str(tmp_path), "one", "two"]) == 0
    assert (tmp_path / "authority" / CERTIFICATE).read_bytes() == authority
    assert (tmp_path / "one" / CERTIFICATE).read_bytes() == first
    assert (tmp_path / "two" / AUTHORITY).read_bytes() == authority
    assert "copy it to two" in capsys.readouterr().out
    context = ssl.create_default_context(cafile=str(tmp_path / "two" / AUTHORITY))
    context.load_cert_chain(tmp_path / "two" / CERTIFICATE, tmp_path / "two" / KEY)


@posix
def test_keys_are_for_their_owner_only(tmp_path: Path) -> None:
    (member,) = make_members(tmp_path, ["pc"])
    for folder in (member, tmp_path / "authority"):
        assert stat.S_IMODE((folder / KEY).stat().st_mode) == 0o600


@pytest.mark.parametrize("name", ["authority", "../up", "a/b", "", "."])
def test_names_that_are_no_folders_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no name for a computer"):
        make_members(tmp_path / "c", [name])


@pytest.mark.parametrize(
    ("device", "words"),
    [
        ("dask://gpu-pc:8786", "leads beyond this computer"),
        ("cpu, dask://192.168.1.4:8786", "leads beyond this computer"),
        ("dask://127.0.0.1.evil.example:8786", "leads beyond this computer"),
        ("dask://gpu-pc", "is no device"),
        ("dask://gpu-pc:0", "is no device"),
        ("dask://u@127.0.0.1:8786", "is no device"),
    ],
)
def test_nobody_is_spoken_to_beyond_this_computer_without_certificates(
    device: str, words: str
) -> None:
    with pytest.raises((SettingsError, ValidationError), match=words):
        load_settings(None, {"inference": {"device": device}})


@pytest.mark.parametrize("command", [["scheduler", "--listen"], ["worker", "--scheduler"]])
def test_nor_does_anybody_listen_there(command: list[str], capsys: Any) -> None:
    assert main([*command, "dask://0.0.0.0:18786"]) == 2
    error = capsys.readouterr().err
    assert "leads beyond this computer" in error
    assert error.count("\n") == 1


def test_a_folder_that_is_no_members_is_named(tmp_path: Path) -> None:
    settings = load_settings(
        None,
        {
            "inference": {"device": "dask://gpu-pc:8786"},
            "cluster": {"certificates": str(tmp_path)},
        },
    )
    with pytest.raises(SettingsError, match=r"has no key\.pem"):
        load_models(settings)


@posix
def test_scheduler_and_worker_listen_on_loopback_only(tmp_path: Path) -> None:
    import psutil

    address = free_address()
    scheduler = a_scheduler(tmp_path / "s", address)
    worker = a_worker(tmp_path / "w", address)
    with ended(scheduler, worker):
        for started in (scheduler, worker):
            sockets = psutil.Process(started.process.pid).net_connections("inet")
            listening = {each.laddr.ip for each in sockets if each.status == psutil.CONN_LISTEN}
            assert listening == {"127.0.0.1"}


def test_without_the_package_the_remedy_is_named(tmp_path: Path) -> None:
    """As on an instrument PC without the extra."""
    for words in (("scheduler",), ("watch", str(tmp_path), "--device", "dask://127.0.0.1:1")):
        started = Started(tmp_path / "state", *words, odd="without distributed")
        assert started.process.wait(PATIENCE_S) == 2
        assert install_with("cluster") in started.said
        assert started.said.count("\n") == 1
