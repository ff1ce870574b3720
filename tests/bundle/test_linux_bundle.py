"""The Linux bundle, built for real, in a root without Python and without a network."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.bundle import isolated
from tests.bundle.builds import build, paths_in_texts, planted_instead_of, program_in, unpack
from tests.page.runs import spots, write_file
from tests.support.systems import posix

pytestmark = [posix, pytest.mark.slow, pytest.mark.timeout(2400)]
HOME = "/home/user"
PLACE = "opt/live restore ä"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if problem := isolated.why_not():
        pytest.skip(problem)
    folder = tmp_path_factory.mktemp("root")
    isolated.make_root(folder)
    return folder


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A bundle, and a newer one of the same packages."""
    folder = tmp_path_factory.mktemp("archives")
    one, two = folder / "one.zip", folder / "two.zip"
    built = build(one, "linux", "--without", "openvino")
    print(built)
    again = unpack(one, folder / "one")
    lock = str(program_in(again) / "requirements.lock")
    assert paths_in_texts(again) == []
    same = build(folder / "same.zip", "linux", "--without", "openvino", "--lock", lock)
    assert same["sha256"] == built["sha256"]
    build(two, "linux", "--lock", lock)
    return one, two


def run_in(
    root: Path, script: str, *arguments: str, given: str = ""
) -> subprocess.CompletedProcess[str]:
    """Start a script of the bundle in the root, as a person would; return what it said."""
    command = [*isolated.COMMAND, str(root), f"/{PLACE}/live-restore/{script}", *arguments]
    done = subprocess.run(
        command, input=given, env={"HOME": HOME, "PATH": "/bin", "LANG": "C.UTF-8"},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    print(script, arguments, done.stdout, done.stderr, sep="\n")
    return done


def test_from_the_zip_to_the_uninstallation(root: Path, archives: tuple[Path, Path]) -> None:
    place = root / PLACE
    bundle = unpack(archives[0], place)
    first = program_in(bundle)
    assert not list(root.glob("**/bin/python")), "a clean root has no Python"

    doctor = run_in(root, "doctor")
    assert doctor.returncode == 0
    assert doctor.stdout.splitlines()[-1] == "ready"
    assert run_in(root, "live-restore", "bundle", "--verify").returncode == 0

    demo = run_in(root, "live-restore", "demo", "--times", "2", "--out", HOME)
    assert demo.returncode == 0
    results = root / HOME[1:] / "live-restore-demo"
    assert list((results / "acquisition" / "restored").glob("*.ome.tif"))

    data = root / HOME[1:] / "data"
    data.mkdir()
    write_file(data / "cell.tif", spots(0))
    config = root / HOME[1:] / ".config" / "live-restore" / "config.toml"
    config.parent.mkdir(parents=True)
    config.write_text("[watch]\nstall_s = 77.0\n")
    inside = f"{HOME}/data"
    assert run_in(root, "live-restore", "watch", inside, "--once").returncode == 0

    # A newer one over the old one: what was done stays done, and so do settings.
    unpack(archives[1], place)
    (second,) = set(bundle.glob("app-*")) - {first}
    assert "stall_s = 77.0" in run_in(root, "live-restore", "config", "show").stdout
    status = run_in(root, "live-restore", "status", inside)
    assert "done" in status.stdout
    update = run_in(root, "update")
    assert update.returncode == 0
    assert f"not used any more: /{PLACE}/live-restore/{first.name}" in update.stdout
    verify = run_in(root, "live-restore", "bundle", "--verify")
    assert verify.returncode == 0
    assert second.name in verify.stdout

    uninstall = run_in(root, "uninstall", given="y\n")
    assert uninstall.returncode == 0
    assert not bundle.exists()
    for kept in (
        f"{HOME}/.local/state/live-restore", f"{HOME}/.config/live-restore/config.toml",
        f"{HOME}/.cache/live-restore/compiled",
    ):  # fmt: skip
        assert f"  {kept}: " in uninstall.stdout
        assert (root / kept[1:]).exists()
    assert (data / "restored" / "cell.ome.tif").exists()


def test_one_changed_byte_and_one_planted_file_are_found(
    root: Path, archives: tuple[Path, Path]
) -> None:
    bundle = unpack(archives[0], root / PLACE)
    script = next((program_in(bundle) / "python").rglob("tifffile/tifffile.py"))
    content = bytearray(script.read_bytes())
    content[-2] ^= 1
    script.write_bytes(content)
    planted_instead_of(script.parents[1] / "live_restore" / "__init__.py")
    verify = run_in(root, "live-restore", "bundle", "--verify")
    assert verify.returncode == 1
    changed, added, whole = verify.stdout.splitlines()
    assert changed.startswith("changed: ")
    assert changed.endswith("/tifffile/tifffile.py")
    assert added.startswith("not in the list: ")
    assert added.endswith(f"/live_restore/__pycache__/__init__.{sys.implementation.cache_tag}.pyc")
    assert "not as it was built" in whole
