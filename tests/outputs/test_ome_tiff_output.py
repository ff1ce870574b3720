"""Results as OME-TIFF: whose name it is, what is never overwritten, when nothing is to do."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from live_restore.errors import OutputError, StackRefusedError
from live_restore.files import disk
from live_restore.outputs.ome_tiff import OmeTiffOutput
from live_restore.outputs.output import FinishedStack, Published, ResultPath, ResultRequest
from live_restore.outputs.provenance import is_current
from live_restore.stack import FileStacks
from live_restore.testing.results import finished_stack, publish_all
from tests.support.fakes import a_dataset, fingerprint_of
from tests.support.systems import needs_links, posix

TEMPLATE = "{folder}/restored/{name}.ome.tif"


def raw_file(path: Path) -> FileStacks:
    path.write_bytes(b"raw" + os.fsencode(path.name))
    return a_dataset(path, fingerprint=fingerprint_of(path))


def outcomes(dataset: FileStacks, value: int = 1) -> Iterator[FinishedStack]:
    for key in dataset.indices():
        volume = np.full(dataset.shape_zyx, value, dataset.dtype)
        yield finished_stack(volume, index=key, reason="unchanged")


def publish(dataset: FileStacks, recipe: str = "one", **changes: Any) -> Published:
    options = dict(changes)
    request = requested(dataset, recipe, options.pop("template", TEMPLATE))
    stacks = options.pop("stacks", None) or outcomes(dataset, options.pop("value", 1))
    output = OmeTiffOutput()
    return publish_all(output, request, output.choose(request), stacks, **options)


def requested(dataset: FileStacks, recipe: str, template: str) -> ResultRequest:
    return ResultRequest(dataset, template, "fast", recipe, "s")


def chosen(dataset: FileStacks, recipe: str = "one", template: str = TEMPLATE) -> ResultPath:
    return OmeTiffOutput().choose(requested(dataset, recipe, template))


def current(dataset: FileStacks, recipe: str = "one") -> bool:
    return is_current(chosen(dataset, recipe), dataset)


def test_image_and_report_by_contract(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a b.tif")
    published = publish(dataset)
    assert published.image == tmp_path / "restored" / "a b.ome.tif"
    assert published.report == tmp_path / "restored" / "a b.json"
    assert np.array_equal(tifffile.imread(published.image), np.ones(dataset.shape_zyx))
    report = json.loads(published.report.read_text(encoding="utf-8"))
    assert report["result"] == "a b.ome.tif"
    assert published.delay_s >= 0
    assert {"write", "publish"} <= set(report["seconds"])
    assert sorted(p.name for p in published.image.parent.iterdir()) == ["a b.json", "a b.ome.tif"]


def test_the_same_again_takes_the_same_name(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    assert not current(dataset)
    publish(dataset)
    assert current(dataset)
    published = publish(dataset, value=2)
    assert tifffile.imread(published.image).max() == 2
    assert len(list(published.image.parent.iterdir())) == 2


def test_another_recipe_takes_another_name(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    one, two = publish(dataset, "one"), publish(dataset, "two", value=2)
    assert one.image != two.image
    assert two.image.name.startswith("a.fast-")
    assert tifffile.imread(one.image).max() == 1
    assert current(dataset, "one")
    assert current(dataset, "two")
    assert chosen(dataset, "two").image == two.image


def test_two_raw_files_of_the_same_stem(tmp_path: Path) -> None:
    first, second = raw_file(tmp_path / "a.tif"), raw_file(tmp_path / "a.ome.tif")
    one, two = publish(first), publish(second, value=2)
    assert one.image != two.image
    assert tifffile.imread(one.image).max() == 1
    assert tifffile.imread(two.image).max() == 2
    assert current(first)
    assert current(second)


def test_a_foreign_image_is_never_overwritten(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    foreign = tmp_path / "restored" / "a.ome.tif"
    foreign.parent.mkdir()
    foreign.write_bytes(b"mine")
    published = publish(dataset)
    assert published.image.name.startswith("a.fast-")
    assert foreign.read_bytes() == b"mine"
    published.image.write_bytes(b"mine too")
    with pytest.raises(OutputError, match="is taken by a file"):
        chosen(dataset)


@pytest.mark.parametrize("content", [b'{"frames": 10}', b"", b"\xff\xfe"])
def test_a_foreign_json_is_never_taken_for_a_report(tmp_path: Path, content: bytes) -> None:
    """With results beside the raw files, ``a.json`` may be the microscope's own metadata."""
    dataset = raw_file(tmp_path / "a.tif")
    metadata = tmp_path / "a.json"
    metadata.write_bytes(content)
    published = publish(dataset, template="{folder}/{name}.ome.tif")
    assert metadata.read_bytes() == content
    assert published.report != metadata
    assert published.report.exists()


def test_the_raw_file_is_never_the_result(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.ome.tif")
    before = dataset.path.read_bytes()
    published = publish(dataset, template="{folder}/{name}.ome.tif")
    assert published.image != dataset.path
    assert dataset.path.read_bytes() == before


def test_a_changed_raw_file_is_not_current(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    publish(dataset)
    dataset.path.write_bytes(b"other")
    changed = a_dataset(dataset.path, fingerprint=fingerprint_of(dataset.path))
    assert not current(changed)
    assert chosen(changed).image == tmp_path / "restored" / "a.ome.tif"


@pytest.mark.parametrize(
    "damage",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"source": 3}',
        b'{"source": {"size": 1}}',
        b"\xff",
        b"[" * 10**5,
    ],
)
def test_a_damaged_report_is_none(tmp_path: Path, damage: bytes) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    published = publish(dataset)
    published.report.write_bytes(damage)
    assert not is_current(chosen(dataset), dataset)


def test_without_its_image_or_report_it_is_not_current(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    published = publish(dataset)
    published.report.unlink()
    assert not current(dataset)
    publish(dataset)
    published.image.unlink()
    assert not current(dataset)


def failing(dataset: FileStacks) -> Iterator[FinishedStack]:
    yield next(outcomes(dataset))
    raise RuntimeError("network")


def test_when_a_stack_fails_nothing_is_published_and_the_old_stays(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    with pytest.raises(RuntimeError, match="network"):
        publish(dataset, stacks=failing(dataset))
    assert list((tmp_path / "restored").iterdir()) == []
    publish(dataset)
    with pytest.raises(RuntimeError, match="network"):
        publish(dataset, stacks=failing(dataset))
    assert current(dataset)


def test_stacks_that_are_missing_are_never_published_as_zeros(tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    path.write_bytes(b"raw")
    dataset = a_dataset(path, fingerprint=fingerprint_of(path), times=3, axes="TZYX")
    with pytest.raises(OutputError, match="lacks 2 of its stacks"):
        publish(dataset, stacks=iter([next(outcomes(dataset))]))
    assert list((tmp_path / "restored").iterdir()) == []


def test_a_report_that_cannot_be_written_leaves_a_result_to_be_redone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = raw_file(tmp_path / "a.tif")

    def full(*_: object, **__: object) -> None:
        raise OutputError("no space", tmp_path)

    with monkeypatch.context() as patched:
        patched.setattr("live_restore.outputs.report.publish_text", full)
        with pytest.raises(OutputError):
            publish(dataset)
    assert not current(dataset)
    assert publish(dataset).image == tmp_path / "restored" / "a.ome.tif"
    assert current(dataset)


def test_an_old_report_never_stands_beside_a_new_image(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    report = publish(dataset).report
    seen: list[bool] = []
    replace = Path.replace

    def rename(self: Path, target: Path) -> Path:
        if target.name.endswith(".ome.tif"):
            seen.append(report.exists())
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", rename)
    publish(dataset, value=2)
    assert seen == [False]


@pytest.mark.parametrize("links", [True, False], ids=["hard links", "none"])
@pytest.mark.parametrize("ending", [".ome.tif", ".json"])
def test_a_name_that_is_taken_meanwhile_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, links: bool
) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    result_path = chosen(dataset)
    theirs = tmp_path / "restored" / f"a{ending}"
    give = disk.Disk.give

    def no_links(*_: object) -> None:
        raise OSError(errno.EPERM, os.strerror(errno.EPERM))

    def taken(self: disk.Disk, temporary: Path, final: Path) -> None:
        if final == theirs:
            final.write_text("somebody else's")
        give(self, temporary, final)

    with monkeypatch.context() as patched:
        patched.setattr(disk.Disk, "give", taken)
        if not links:
            patched.setattr(os, "link", no_links)
        with pytest.raises(OutputError, match="another file meanwhile"):
            publish(dataset)
    assert theirs.read_text() == "somebody else's"
    assert [path.name for path in theirs.parent.glob(".*")] == []
    published = publish(dataset)
    assert theirs.read_text() == "somebody else's"
    assert published.image != result_path.image


@pytest.mark.skipif(os.name != "posix", reason="names are always text there")
def test_names_need_not_be_text(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / os.fsdecode(b"caf\xe9 \n.tif"))
    published = publish(dataset)
    report = json.loads(published.report.read_text(encoding="utf-8"))
    assert report["source"]["name"] == dataset.path.name
    assert current(dataset)


@posix
def test_a_name_too_long_for_its_result_is_refused_for_good(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / ("x" * 251 + ".tif"))
    with pytest.raises(StackRefusedError, match="shorten the name"):
        chosen(dataset)


@needs_links
def test_a_link_that_leads_nowhere_is_not_replaced(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")
    plain = tmp_path / "restored" / "a.ome.tif"
    plain.parent.mkdir()
    plain.symlink_to(tmp_path / "nowhere")
    assert chosen(dataset).image.name.startswith("a.fast-")


def test_what_is_found_out_last_keeps_it_back_or_goes_into_the_report(tmp_path: Path) -> None:
    dataset = raw_file(tmp_path / "a.tif")

    def changed() -> tuple[str, ...]:
        raise StackRefusedError("is another now", dataset.path)

    with pytest.raises(StackRefusedError, match="another"):
        publish(dataset, verify=changed)
    assert list((tmp_path / "restored").iterdir()) == []
    published = publish(dataset, verify=lambda: ("was moved",))
    assert "was moved" in published.warnings
    assert "was moved" in json.loads(published.report.read_text(encoding="utf-8"))["warnings"]
