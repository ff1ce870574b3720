"""The numbers of a stack travel with its image, and hostile text in them is only text."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from ome_types import OME, from_xml

from live_restore.engine.one_shot import OneShot
from live_restore.inference.model_set import ModelSet
from live_restore.outputs.annotations import MOST_STACKS, NAMESPACE, about_stacks, annotated
from live_restore.outputs.ome_tiff import OmeTiffOutput
from live_restore.outputs.ome_zarr import OmeZarrOutput
from live_restore.settings.load import load_settings
from live_restore.simulation.camera import Camera
from live_restore.simulation.scene import LivingCell
from live_restore.testing.results import finished_stack, publish_all, some_volume
from tests.outputs.test_growing_ome_tiff import add, at, shown
from tests.support.fakes import a_dataset, fake_restorer

CAMERA = {"gain_adu_per_e": 2, "offset_adu": 100, "read_noise_e": 1.6}
HOSTILE = 'x"/><M K="a">&amp;</Image></OME>\x00\x1b[31m\ud800 \u0130'


def said(ome: OME, image: int = 0) -> dict[str, str]:
    """Return keys and values of the map annotation that an image leads to."""
    (reference,) = ome.images[image].annotation_refs
    assert ome.structured_annotations is not None
    (found,) = [each for each in ome.structured_annotations if each.id == reference.id]
    assert found.namespace == NAMESPACE
    return {each.k: each.value for each in found.value.ms}


def test_a_restored_file_tells_its_numbers(tmp_path: Path) -> None:
    camera = Camera(offset_adu=100, gain_adu_per_e=2.0, read_noise_e=1.6)
    image = np.stack(
        [LivingCell(shape_zyx=(8, 80, 80), peak_e=60, camera=camera).exposed(t) for t in range(2)]
    )
    tifffile.imwrite(
        tmp_path / "cell.ome.tif", image, photometric="minisblack", ome=True,
        metadata={"axes": "TZYX"},
    )  # fmt: skip
    settings = load_settings(None, {"camera": CAMERA, "inference": {"device": "cpu"}})
    done = OneShot(ModelSet.load(settings), settings).restore(tmp_path / "cell.ome.tif")
    report = json.loads(done.report.read_text(encoding="utf-8"))
    with tifffile.TiffFile(done.image) as tif:
        assert tif.is_ome
        assert tif.series[0].axes == "TZYX"
        assert tif.series[0].shape == image.shape
        found = said(from_xml(tif.ome_metadata))
    first, second = report["stacks"]
    assert found["software"] == report["software"]
    assert found["recipe"] == report["recipe"]
    assert report["models"]["fast"]["sha256"] in found["model fast"]
    assert found["t0 c0 gain over raw"] == first["gain_over_raw"]["in_words"]
    for time, line in enumerate((first, second)):
        ratio = f"{line['signal_to_noise']['ratio']:.1f}"
        assert found[f"t{time} c0 signal-to-noise ratio"] == ratio
        assert found[f"t{time} c0 camera"].startswith("[camera]: 2.0 ADU/e-, offset 100.0 ADU")
        assert found[f"t{time} c0 doubts"] == ("; ".join(line["doubts"]) or "none")


def test_hostile_text_stays_text(tmp_path: Path) -> None:
    raw = some_volume(1, (3, 5, 6))
    restorer = fake_restorer(licence="x")
    stack = finished_stack(raw, reason=HOSTILE)
    stacks = a_dataset(tmp_path / "a.tif", channel_names=(HOSTILE,), position_names=(HOSTILE,))
    output = OmeTiffOutput()
    request = _request(stacks)
    published = publish_all(output, request, output.choose(request), [stack])
    xml = tifffile.tiffcomment(published.image)
    ome = from_xml(xml)
    assert len(ome.images) == 1
    assert set(said(ome)) == {"software", "recipe", "units", "restored"}
    assert said(ome)["restored"].startswith('no: x"/><M K="a">&amp;</Image></OME>')
    assert restorer.model.card.licence == "x"


def _request(stacks: Any) -> Any:
    from live_restore.outputs.output import ResultRequest

    return ResultRequest(stacks, "{folder}/restored/{name}.ome.tif", "fast", "f" * 64, "s")


def test_each_position_has_its_own(tmp_path: Path) -> None:
    raw = some_volume(1, (3, 5, 6))
    stacks = a_dataset(tmp_path / "a.tif", positions=2)
    output, request = OmeTiffOutput(), _request(stacks)
    finished = [finished_stack(raw, index=i, reason=f"at {i.position}") for i in stacks.indices()]
    published = publish_all(output, request, output.choose(request), finished)
    ome = from_xml(tifffile.tiffcomment(published.image))
    assert [said(ome, n)["restored"] for n in range(2)] == ["no: at 0", "no: at 1"]
    np.testing.assert_array_equal(tifffile.imread(published.image, series=1), raw)


def test_a_result_that_grows_tells_of_what_it_holds(tmp_path: Path) -> None:
    add(tmp_path, [at(0), at(1)], goes_on=False)
    published = add(tmp_path, [at(2)], goes_on=True)
    with tifffile.TiffFile(published.image) as tif:
        found = said(from_xml(tif.ome_metadata))
    assert {key.split()[0] for key in found if key.endswith("doubts")} == {"t0", "t1", "t2"}
    assert len(shown(published.image)) == 3


def test_a_growing_zarr_tells_what_holds_for_all_of_it(tmp_path: Path, zarr: Any) -> None:
    from live_restore.testing.outputs import OutputCompliance

    request = OutputCompliance().stack_request(tmp_path)
    raw = some_volume(1, (3, 5, 6))
    restorer = fake_restorer(lambda tile: tile)
    stack = finished_stack(raw, restorer.restore(raw), restorer.model)
    output = OmeZarrOutput()
    published = publish_all(output, request, output.choose(request), [stack])
    mark = zarr.open_group(str(published.image), mode="r").attrs["live-restore"]
    assert mark["about"]["recipe"] == request.recipe
    assert restorer.model.digest in mark["about"][f"model {restorer.model.card.name}"]
    assert (published.image.parent / mark["reports"]).is_dir()


def test_of_very_many_stacks_the_first_are_annotated() -> None:
    line = {"time": 0, "channel": 0, "restored": False, "reason": "r"}
    found = about_stacks([line] * (MOST_STACKS + 5))
    assert len(found) == MOST_STACKS + 1
    assert found[-1] == ("not annotated", "5 further stacks; see reports")


@pytest.mark.parametrize("pairs", [[], [[]]])
def test_without_numbers_the_xml_is_what_it_was(pairs: list[list[tuple[str, str]]]) -> None:
    xml = '<OME><Image ID="Image:0"></Image></OME>'
    assert annotated(xml, pairs) == xml
