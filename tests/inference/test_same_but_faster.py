"""What is computed another way because that is faster, and must be the same to the bit."""

import zlib

import numpy as np
import pytest

from live_restore.inference.image.contrast import candidates
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
    found, as_floats = (candidates(plane.astype(t)) for t in (dtype, np.float32))
    for some, other in zip(found, as_floats, strict=True):
        np.testing.assert_array_equal(some, other)
