"""The backend "cuda-kernels" on a driver's library in C, whose card is the processor."""

from __future__ import annotations

import ctypes
import gc
import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from live_restore.errors import (
    DeviceError,
    DeviceMemoryError,
    LiveRestoreError,
    RuntimeFailureError,
)
from live_restore.inference.backends.backend import Limits, ModelSource
from live_restore.inference.backends.cuda_kernels import CudaKernels, KernelSession, beside_others
from live_restore.inference.backends.kernels.kernel_file import kernels_beside
from live_restore.inference.backends.recording import GPUS
from live_restore.inference.device import check, measure
from live_restore.inference.load import find_model, load_model
from live_restore.inference.restorer import Restorer
from live_restore.settings.model import InferenceSettings
from tests.export import stated_kernels
from tests.export.test_kernel_plan import ROUNDING, kernels_for, noisy

COMPILER = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
pytestmark = pytest.mark.skipif(
    COMPILER is None or sys.platform == "win32", reason="needs a C compiler"
)
_RUN = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.c_char_p, ctypes.c_char_p, ctypes.POINTER(ctypes.c_uint), ctypes.c_uint,
    ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p),
)  # fmt: skip
SHAPE = (1, 1, 2, 10, 38)


@dataclass
class Fake:
    """The library, and what was launched: symbol, grid, threads, shared memory."""

    path: str
    library: Any
    launched: list[tuple[str, tuple[int, ...], int, int]] = field(default_factory=list)
    wrong: list[BaseException] = field(default_factory=list)
    callback: Any = None

    def reset(self, card: tuple[int, int] = (8, 6), nbytes: int = 2**30) -> None:
        self.launched.clear()
        self.callback = _RUN(self._run)
        self.library.fake_reset(self.callback, *card, ctypes.c_size_t(nbytes))

    def _run(
        self, image: bytes, name: bytes, grid: Any, threads: int, shared: int, arguments: Any
    ) -> int:
        try:
            blocks = (grid[0], grid[1], grid[2])
            self.launched.append((name.decode(), blocks, threads, shared))
            source = stated_kernels.said_in(image)
            kinds = stated_kernels.parameters_of(source)
            numbers = [
                ctypes.cast(
                    arguments[i],
                    ctypes.POINTER(ctypes.c_uint64 if kind == "pointer" else ctypes.c_int32),
                )[0]
                for i, kind in enumerate(kinds)
            ]
            stated_kernels.run(image, blocks, numbers, self._view)
        except BaseException as error:  # noqa: BLE001 - ctypes would swallow it
            self.wrong.append(error)
            return 1
        return 0

    def _view(self, address: int, kind: Any, shape: tuple[int, ...]) -> Any:
        size = int(np.prod(shape)) * np.dtype(kind).itemsize
        assert self.library.fake_holds(ctypes.c_uint64(address), ctypes.c_size_t(size))
        held = (ctypes.c_char * size).from_address(address)
        return np.frombuffer(held, kind).reshape(shape)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Fake:
    made = tmp_path_factory.mktemp("fake") / "libfakecuda.so"
    source = Path(__file__).with_name("fake_cuda.c")
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", made, source], check=True)
    return Fake(str(made), ctypes.CDLL(str(made)))


@pytest.fixture
def fake(built: Fake) -> Iterator[Fake]:
    built.reset()
    yield built
    give_back()
    assert built.library.fake_held() == 0, "memory, modules, streams or contexts leak"
    wrong = list(built.wrong)
    built.wrong.clear()
    assert not wrong


def give_back() -> None:
    """Give back what nobody has any more, as the next session does."""
    gc.collect()
    with beside_others():
        pass


@pytest.fixture(autouse=True)
def in_a_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_MEASURING_S", 0.01)
    monkeypatch.setattr(check, "_SMALL_ZYX", (8, 32, 32))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of `fast` with its kernels beside it."""
    folder = tmp_path_factory.mktemp("model")
    path = Path(shutil.copy(find_model("fast"), folder))
    kernels_for(path, folder)
    return path


def source_of(model: Path) -> ModelSource:
    return ModelSource.of(model, model.read_bytes())


def opened(
    fake: Fake, model: Path, shape: Any = SHAPE, limits: Limits | None = None
) -> KernelSession:
    return CudaKernels(fake.path).open(source_of(model), shape, "fp16", 0, limits or Limits())


def changed_kernels(model: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """Return a copy of a model whose file of kernels says something else."""
    path = Path(shutil.copy(model, folder))
    with zipfile.ZipFile(kernels_beside(model)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    said = json.loads(members["manifest.json"])
    change(said)
    members["manifest.json"] = json.dumps(said).encode()
    with zipfile.ZipFile(kernels_beside(path), "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_tile_is_restored_by_calls_of_the_driver_alone(fake: Fake, model: Path) -> None:
    session = opened(fake, model)
    tile = noisy(SHAPE[2:])[None, None]
    wanted = load_model(model, "cpu").session.run(tile)
    for _ in range(2):  # the second one in buffers that are full
        found = session.run(tile)
        error = float(np.sqrt(np.mean((found - wanted) ** 2)) / wanted.std())
        assert error < ROUNDING
    assert session.device.hardware == "a card of C"
    assert session.device.precision == "fp16"
    folded = (-(-19 // 16), -(-5 // 8), 2)
    assert fake.launched[1] == ("convolve", folded, 128, 60_000)
    assert len(fake.launched) == 2 * 27


def test_every_call_that_fails_is_named_and_nothing_leaks(fake: Fake, model: Path) -> None:
    source, tile = source_of(model), noisy(SHAPE[2:])[None, None]
    backend = CudaKernels(fake.path)
    assert backend.obstacle() == ""  # loads the library

    used = 0

    def attempt(fails_at: int) -> str:
        """Fail at one call; return what is said, and give all back."""
        said = until_failure(fails_at)
        give_back()
        return said

    def until_failure(fails_at: int) -> str:
        nonlocal used
        fake.library.fake_fail(fails_at, 719)
        try:
            session = backend.open(source, SHAPE, "fp16", 0, Limits())
            session.run(tile)
            used = fake.library.fake_calls()
        except (DeviceError, RuntimeFailureError) as error:
            return "memory" if isinstance(error, DeviceMemoryError) else str(error)
        return ""

    assert attempt(0) == ""
    opening = used - 3 * 27 - 8  # then come a copy, 27 launches and a copy, each made current
    named = set()
    for call in (*range(1, opening, 3), *range(opening, used + 1, 11)):
        said = attempt(call)
        assert "CUDA_ERROR_LAUNCH_FAILED" in said
        assert "\n" not in said
        named.add(said.partition("(cu")[2].partition(":")[0])
        assert fake.library.fake_held() == 0, f"call {call} leaks"
        assert fake.library.fake_lost() == 0, f"call {call} leaves it to the context"
    assert {"CtxPushCurrent_v2", "MemAlloc_v2", "ModuleLoadData", "LaunchKernel"} <= named
    # What fails while all is given back is told to nobody: it is gone with the context.
    for call in range(used + 1, used + 60, 7):
        assert attempt(call) == ""
        assert fake.library.fake_held() == 0, f"call {call} leaks"


def test_too_little_memory_asks_for_smaller_tiles(fake: Fake, model: Path) -> None:
    fake.reset(nbytes=20_000)
    with pytest.raises(DeviceMemoryError, match="MiB"):
        opened(fake, model)
    fake.reset()
    with pytest.raises(DeviceMemoryError, match="MiB"):
        opened(fake, model, limits=Limits(gpu_memory_gb=1e-5))
    with pytest.raises(DeviceMemoryError, match="MiB"):  # buffers of 57 kB, but weights of 677 kB
        opened(fake, model, limits=Limits(gpu_memory_gb=7e-4))
    session = opened(fake, model, limits=Limits(gpu_memory_gb=7.5e-4))
    fake.library.fake_fail(1, 2)
    with pytest.raises(DeviceMemoryError, match="CUDA_ERROR_OUT_OF_MEMORY"):
        session.run(noisy(SHAPE[2:])[None, None])


def test_a_stack_is_restored_in_halved_tiles_where_memory_runs_out(fake: Fake, model: Path) -> None:
    stack = (300 * noisy((4, 130, 140)) + 400).clip(0).astype(np.uint16)
    backend = CudaKernels(fake.path)
    fake.reset(nbytes=5_500_000)
    loaded = load_model(model, "cuda-kernels", backends=[backend])
    restored = Restorer(loaded, InferenceSettings(max_tile_mvoxel=1.0)).restore(stack)
    assert "did not fit" in restored.tiles_reduced


def test_a_card_without_kernels_and_a_library_that_is_none_are_named(
    fake: Fake, model: Path, tmp_path: Path
) -> None:
    fake.reset(card=(7, 5))
    with pytest.raises(DeviceError, match=r"8\.0, 8\.6, 8\.9, 9\.0, 12\.0, and this card has 7\.5"):
        opened(fake, model)
    assert "could not be loaded" in CudaKernels(str(tmp_path / "no.so")).obstacle()
    fake.reset()
    fake.library.fake_fail(1, 100)
    assert "cuInit: 100 (" in CudaKernels(fake.path).obstacle()
    fake.library.fake_fail(0, 0)
    with pytest.raises(DeviceError, match="finds 1 cards"):
        CudaKernels(fake.path).open(source_of(model), SHAPE, "fp16", 1, Limits())


@pytest.mark.parametrize(
    ("card", "chosen"), [((8, 0), "80"), ((8, 7), "86"), ((8, 9), "89"), ((9, 0), "90")]
)
def test_a_card_gets_the_newest_programs_that_it_runs(
    card: tuple[int, int], chosen: str, model: Path, tmp_path: Path
) -> None:
    assert kernels_for(model, tmp_path).capability_for(card) == chosen


def test_it_is_taken_by_name_and_checked_but_never_by_auto(fake: Fake, model: Path) -> None:
    loaded = load_model(model, "cuda-kernels", backends=[CudaKernels(fake.path)])
    device = loaded.session.device
    assert device.name == "cuda-kernels:0"
    assert 1e-5 < device.known_answer_error < ROUNDING
    del loaded
    with pytest.raises(DeviceError, match="no such device"):
        load_model(model, "auto", backends=[CudaKernels(fake.path)])
    with pytest.raises(DeviceError, match="fp16 is less than the settings allow"):
        load_model(model, "cuda-kernels", reduced=False, backends=[CudaKernels(fake.path)])


def test_wrong_numbers_are_refused(
    fake: Fake, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = stated_kernels.run

    def wrong(program: bytes, grid: Any, arguments: Any, memory: Any) -> None:
        run(program, grid, arguments, memory)
        if b'"attend"' in program:
            memory(arguments[5], np.float32, (24,))[:] *= 1.5

    monkeypatch.setattr(stated_kernels, "run", wrong)
    with pytest.raises(LiveRestoreError, match="computes wrong numbers"):
        load_model(model, "cuda-kernels", backends=[CudaKernels(fake.path)])


def test_tiles_that_the_kernels_do_not_take_are_refused(fake: Fake, model: Path) -> None:
    with pytest.raises(DeviceError, match="multiples of"):
        opened(fake, model, (1, 1, 2, 11, 38))
    with pytest.raises(DeviceError, match="one channel"):
        opened(fake, model, (2, 1, 2, 10, 38))
    with pytest.raises(DeviceMemoryError, match="too large for the kernels"):
        opened(fake, model, (1, 1, 1, 2**16, 2**16))


def test_a_kernel_that_fails_breaks_all_sessions_until_all_are_closed(
    fake: Fake, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tile = noisy(SHAPE[2:])[None, None]
    one, other = opened(fake, model), opened(fake, model)
    with monkeypatch.context() as broken:
        broken.setattr(stated_kernels, "run", lambda *_: 1 / 0)
        with pytest.raises(RuntimeFailureError, match="cuLaunchKernel: CUDA_ERROR_LAUNCH_FAILED"):
            one.run(tile)
    fake.wrong.clear()
    with pytest.raises(RuntimeFailureError, match="CUDA_ERROR_LAUNCH_FAILED"):
        other.run(tile)
    del one
    with pytest.raises(DeviceError, match=r"the driver refuses .*CUDA_ERROR_LAUNCH_FAILED"):
        opened(fake, model)
    del other
    assert opened(fake, model).run(tile).shape == SHAPE


def test_nothing_is_given_back_while_another_session_is_recorded(fake: Fake, model: Path) -> None:
    dropped, kept = opened(fake, model), opened(fake, model)
    held = fake.library.fake_held()
    dropped.__dict__["itself"] = dropped  # so that it ends wherever Python clears up
    with GPUS.alone():
        calls = fake.library.fake_calls()
        del dropped
        gc.collect()
        assert fake.library.fake_calls() == calls
        assert fake.library.fake_held() == held
    kept.run(noisy(SHAPE[2:])[None, None])
    assert fake.library.fake_held() == held // 2


@pytest.mark.parametrize("end", ["given", "made"])
def test_a_tile_is_not_copied_over_the_end_of_a_buffer(
    end: str, fake: Fake, model: Path, tmp_path: Path
) -> None:
    def shorten(said: Any) -> None:
        for buffer in said["plan"]["buffers"]:
            if buffer["name"] == end:
                buffer["size"] = {"times": [1]}

    damaged = changed_kernels(model, tmp_path, shorten)
    with pytest.raises(DeviceError, match=f"damaged .{end} has 1 values, a tile 760"):
        opened(fake, damaged)
    assert not fake.launched


def test_kernels_that_were_compiled_again_are_measured_again(
    fake: Fake, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    ordinary = measure.Measurement._measure

    def noted(self: Any, variants: Any, shape: Any) -> Any:
        measured.append(str(variants[0]))
        return ordinary(self, variants, shape)

    monkeypatch.setattr(measure.Measurement, "_measure", noted)

    def load(path: Path) -> int:
        load_model(path, "cuda-kernels", backends=[CudaKernels(fake.path)])
        return len(measured)

    assert load(model) == load(model) == 1
    again = changed_kernels(model, tmp_path, lambda said: said.update(compiler="a later one"))
    assert load(again) == load(again) == 2
