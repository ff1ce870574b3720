"""Positions of any depth, directories in any order, reduced copies: as tifffile reads it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from live_restore.formats.file_format import Complete
from tests.support.tiffs import TIFF, complete

on_a_disk = settings(deadline=None, max_examples=40)
HEAD = '<OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06">'


@st.composite
def positions(draw: st.DrawFn) -> list[tuple[int, int, int]]:
    """Draw shapes (Z, Y, X), of which at least one is a stack."""
    shape = st.tuples(st.integers(1, 5), st.integers(4, 9), st.integers(4, 9))
    drawn = draw(st.lists(shape, min_size=1, max_size=4))
    return [*drawn, (draw(st.integers(2, 5)), 7, 8)]


@on_a_disk
@given(shapes=positions(), seed=st.integers(0, 2**16))
def test_k_whole_stacks_of_any_depth_are_k_results(
    shapes: list[tuple[int, int, int]], seed: int
) -> None:
    rng = np.random.default_rng(seed)
    images = [rng.integers(1, 250, shape).astype(np.uint16) for shape in shapes]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ome.tif"
        with tifffile.TiffWriter(path, ome=True) as writer:
            for image in images:
                writer.write(image, photometric="minisblack", metadata={"axes": "ZYX"})
        stacks = complete(path).file_stacks
        deep = [image for image in images if len(image) > 1]
        assert stacks.positions == len(deep)
        assert stacks.voxel_count == sum(image.size for image in deep)
        with TIFF.open(stacks) as reader:
            for index, truth in zip(stacks.indices(), deep, strict=True):
                np.testing.assert_array_equal(reader.read(index), truth)


@on_a_disk
@given(order=st.permutations(range(5)), copies=st.lists(st.booleans(), min_size=5, max_size=5),
       kind=st.sampled_from([1, 3]))  # fmt: skip
def test_directories_in_any_order_among_reduced_copies(
    order: list[int], copies: list[bool], kind: int
) -> None:
    image = np.random.default_rng(5).integers(1, 250, (5, 8, 12)).astype(np.uint16)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.ome.tif"
        at, blocks = 0, ""
        for z, copied in zip(order, copies, strict=True):
            blocks += f'<TiffData FirstZ="{z}" IFD="{at}" PlaneCount="1"/>'
            at += 2 if copied else 1
        xml = (
            f'{HEAD}<Image ID="Image:0"><Pixels ID="Pixels:0" DimensionOrder="XYZCT" Type="uint16" '
            f'SizeX="12" SizeY="8" SizeZ="5" SizeC="1" SizeT="1">'
            f'<Channel ID="Channel:0:0" SamplesPerPixel="1"/>{blocks}</Pixels></Image></OME>'
        )
        with tifffile.TiffWriter(path) as writer:
            for number, (z, copied) in enumerate(zip(order, copies, strict=True)):
                writer.write(image[z], photometric="minisblack", contiguous=False, metadata=None,
                             description=xml if number == 0 else None)  # fmt: skip
                if copied:
                    writer.write(image[z, ::2, ::2], photometric="minisblack", contiguous=False,
                                 metadata=None, subfiletype=kind)  # fmt: skip
        found = TIFF.inspect(path)
        assert isinstance(found, Complete), found
        with TIFF.open(found.file_stacks) as reader:
            read = reader.read(found.file_stacks.indices()[0])
        np.testing.assert_array_equal(read, image)
        np.testing.assert_array_equal(tifffile.imread(path), image)
