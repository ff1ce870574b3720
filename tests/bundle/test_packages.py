"""Which packages go into a bundle: by the markers of its computer, and by exact hashes."""

from __future__ import annotations

import pytest

from live_restore.bundle.packages import (
    Pin,
    Target,
    carried,
    check_choices,
    read_lock,
    requirements,
    write_lock,
)
from live_restore.errors import UsageError

WINDOWS, LINUX = Target("windows", (3, 11)), Target("linux", (3, 12))
DECLARED = [
    "numpy>=1.26",
    'onnxruntime-gpu>=1.23; sys_platform == "linux" or sys_platform == "win32"',
    'onnxruntime>=1.23; sys_platform == "darwin"',
    'tzdata>=2024; sys_platform == "win32"',
    'starlette>=1; extra == "page"',
    'czifile>=2026.6; python_version >= "3.12" and extra == "vendor"',
    'onnxruntime-gpu[cuda,cudnn]>=1.23; extra == "cuda"',
    'torch>=2.8; extra == "export"',
]
A, B = "a" * 64, "b" * 64


def test_markers_are_those_of_the_computer_that_the_bundle_is_for() -> None:
    assert "tzdata>=2024" in requirements(DECLARED, (), WINDOWS)
    assert "tzdata>=2024" not in requirements(DECLARED, (), LINUX)
    assert "czifile>=2026.6" not in requirements(DECLARED, ("vendor",), WINDOWS)
    assert "czifile>=2026.6" in requirements(DECLARED, ("vendor",), LINUX)


def test_only_the_chosen_parts_go_in() -> None:
    assert "starlette>=1" in requirements(DECLARED, ("page",), LINUX)
    assert requirements(DECLARED, (), LINUX) == ["numpy>=1.26", "onnxruntime>=1.23"]


@pytest.mark.parametrize(
    ("choices", "runtime"),
    [
        ((), "onnxruntime>=1.23"),
        (("cuda",), "onnxruntime-gpu[cuda,cudnn]>=1.23"),
        (("directml", "page"), "onnxruntime-directml>=1.23"),
    ],
)
def test_there_is_one_build_of_the_runtime(choices: tuple[str, ...], runtime: str) -> None:
    found = [line for line in requirements(DECLARED, choices, WINDOWS) if "onnxruntime" in line]
    assert found == [runtime]


def test_windows_gets_the_library_that_a_fresh_one_lacks() -> None:
    assert "msvc-runtime" in requirements(DECLARED, (), WINDOWS)


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(UsageError, match="one build of ONNX Runtime"):
        check_choices(("cuda", "directml"), "windows")
    with pytest.raises(UsageError, match="part of Windows"):
        check_choices(("directml",), "linux")


def test_wheels_for_an_older_glibc_than_the_newest_are_taken_and_no_newer() -> None:
    tags = LINUX.wheel_platforms
    assert tags[0] == "manylinux_2_28_x86_64"
    assert {"manylinux_2_17_x86_64", "manylinux2014_x86_64", "manylinux1_x86_64"} <= set(tags)
    assert "manylinux_2_31_x86_64" not in tags


def test_a_lock_reads_as_it_was_written() -> None:
    pins = [Pin("zarr", "3.1.0", (B, A)), Pin("numpy", "2.1.0", (A,))]
    text = write_lock(pins)
    assert read_lock(text) == [Pin("numpy", "2.1.0", (A,)), Pin("zarr", "3.1.0", (A, B))]
    assert read_lock("# by hand\r\n" + text.replace("\n", "\r\n")) == read_lock(text)


@pytest.mark.parametrize(
    "line",
    [
        "numpy",
        "numpy>=2",
        "numpy==2.1.0",
        f"numpy==2.* --hash=sha256:{A}",
        f"numpy @ file:///somewhere/numpy.whl --hash=sha256:{A}",
        f"--index-url https://somewhere/ --hash=sha256:{A}",
        f"-e . --hash=sha256:{A}",
        f"numpy==2.1.0 --hash=md5:{A[:32]}",
        f"numpy==2.1.0 --hash=sha256:{A} --index-url=https://somewhere/",
        "",
    ],
)
def test_a_lock_that_names_no_exact_file_is_refused(line: str) -> None:
    with pytest.raises(ValueError, match=r"NAME==VERSION|names no package"):
        read_lock(line)


def test_what_reports_to_others_is_left_out() -> None:
    pins = [Pin("openvino", "2026.4.1", (A,)), Pin("openvino-telemetry", "2025.2.0", (A,))]
    assert carried(pins) == pins[:1]
