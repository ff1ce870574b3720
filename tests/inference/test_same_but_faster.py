"""What is computed another way because that is faster, and must be the same to the bit."""

import zlib

import numpy as np
import pytest

from live_restore.inference.image import defects
from live_restore.inference.image.contrast import candidates_of
from live_restore.inference.image.sums import mean_plane, region_sums
from live_restore.inference.image.traces import Traces
from live_restore.stack import crc32


@pytest.mark.parametrize("data", [b"", b"voxels", bytes(range(256)) * 9])
def test_the_fast_checksum_is_that_of_zlib(data: bytes) -> None:
    assert crc32(data) == zlib.crc32(data)
    assert crc32(memoryview(data), 7) == zlib.crc32(data, 7)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("light", [0.01, 0.3, 3.0, 50.0])
def test_small_integers_have_the_candidates_that_they_have_as_floats(
    dtype: type[np.unsignedinteger], light: float
) -> None:
    rng = np.random.default_rng(0)
    plane = rng.poisson(light, (130, 257))
    plane = np.where(rng.random(plane.shape) < 0.002, 40 * plane + 200, plane)
    plane = np.minimum(plane, np.iinfo(dtype).max)
    highest = float(plane.max())
    found, as_floats = (
        candidates_of(plane[None].astype(t), highest)[0] for t in (dtype, np.float32)
    )
    for some, other in zip(found, as_floats, strict=True):
        np.testing.assert_array_equal(some, other)


def test_planes_that_lie_the_other_way_have_the_same_candidates() -> None:
    stack = np.random.default_rng(1).poisson(40, (3, 64, 48)).astype(np.uint16)
    stack[:, 10, 10], stack[:, 30, 20] = 4000, 3000
    turned = np.asfortranarray(stack.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert turned[0].flags.f_contiguous
    assert not turned[0].flags.c_contiguous
    for one, other in zip(candidates_of(stack, 4000), candidates_of(turned, 4000), strict=True):
        for some, others in zip(one, other, strict=True):
            np.testing.assert_array_equal(some, others)


@pytest.mark.parametrize("highest", [200, 3_000, 30_000, 65_535])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16, np.float32])
def test_sums_in_few_bits_are_those_in_many(highest: int, dtype: type[np.generic]) -> None:
    """Low light fits into 16 bits, 12-bit cameras row by row, and the brightest not at all."""
    rng = np.random.default_rng(1)
    stack = rng.integers(0, min(highest, 32_767 if dtype is np.int16 else highest) + 1, (9, 34, 40))
    stack[0, 0, 0] = stack.max()
    stack = stack.astype(dtype)
    np.testing.assert_array_equal(mean_plane(stack), stack.mean(axis=0, dtype=np.float32))
    cut = stack[:8, :32]
    expected = cut.astype(np.float64).reshape(2, 4, 2, 16, 5, 8).sum(axis=(1, 3, 5))
    np.testing.assert_array_equal(region_sums(cut, (4, 16, 8)), expected)


def test_a_bright_stack_of_many_planes_has_the_mean_of_numpy() -> None:
    """Its sums are no whole numbers in float32: what numpy makes of them is what counts."""
    stack = np.random.default_rng(1).integers(60_000, 65_536, (300, 6, 7)).astype(np.uint16)
    np.testing.assert_array_equal(mean_plane(stack), stack.mean(axis=0, dtype=np.float32))


def test_memory_that_is_used_again_leaves_nothing_from_the_plane_before() -> None:
    stack = np.random.default_rng(3).poisson(20, (3, 40, 41)).astype(np.uint16)
    stack[1, 20, 20] = 65_535
    for found, plane in zip(candidates_of(stack, 65_535), stack, strict=True):
        for some, other in zip(found, candidates_of(plane[None], 65_535)[0], strict=True):
            np.testing.assert_array_equal(some, other)


@pytest.mark.parametrize("dtype", [np.uint16, np.float32])
def test_what_cannot_be_too_sharp_needs_no_look_around(dtype: type[np.generic]) -> None:
    """Of some that stand out far and some that hardly do, alone and in twos, threes and columns."""
    rng = np.random.default_rng(5)
    stack = rng.normal(100, 4, (6, 120, 130))
    for size in (1, 1, 1, 2, 3, 9):
        for _ in range(40):
            z, y, x = (rng.integers(0, n - 9 * (n > 9)) for n in stack.shape)
            stack[z, y, x : x + size] += rng.uniform(10, 150)
    stack = stack.clip(0).astype(dtype)
    found = candidates_of(stack, float(stack.max()))

    def too_sharp(traces: Traces | None) -> set[tuple[int, ...]]:
        assert traces is not None
        which, _ = defects._judged(traces, stack)
        return {tuple(each) for each in traces.voxels[which[traces.trace]].tolist()}

    every = Traces.of(stack, found)
    some = Traces.of(stack, found, defects._asked_of_voxels)
    assert every is not None
    assert some is not None
    assert len(some.size) < 0.8 * len(every.size)
    assert len(too_sharp(every)) > 20
    assert too_sharp(some) == too_sharp(every)
