"""Are two checkouts the same to the bit? Restores the same raw data in both, and compares results.

    python benchmarks/same_results.py --old ../before --new . --shared ../shared/data

Every stack, recording and odd file of ``--shared`` is restored by ``watch --once`` (one folder that
holds them all), and the acquisitions once more as OME-Zarr, on the processor with one thread. What
is compared: names of results, pixels, dtype, shape, OME metadata (all but the file's UUID and the
software's version), exit codes, states and reasons in the journal, and reports (all but times).
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import tifffile

TIMES = ("seconds", "written", "software", "mtime_ns", "delay", "memory_bytes")
OLD_LABEL = re.compile(r"^\S.* p(\d+) t(\d+) c(\d+): ")
"""How a warning began before stacks had one name; a stack alone in its file had one too."""


def main() -> int:
    """Restore in both checkouts, compare, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", type=Path, required=True, help="a checkout")
    parser.add_argument("--new", type=Path, required=True, help="another one")
    parser.add_argument("--shared", type=Path, required=True, help="the folder of raw data")
    parser.add_argument("--model", default="fast")
    parser.add_argument("--zarr", action="store_true", help="acquisitions as OME-Zarr")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as base:
        raw = Path(base) / "raw"
        gather(arguments.shared, raw)
        runs = [
            run(checkout.resolve(), raw, Path(base), arguments.model, zarr=arguments.zarr)
            for checkout in (arguments.old, arguments.new)
        ]
        return compare(*runs)


def gather(shared: Path, raw: Path) -> None:
    """Copy or replay everything that can be restored into one folder."""
    for name in ("stacks", "psf", "cases"):
        shutil.copytree(shared / name, raw / name)
    shutil.copytree(shared / "micromanager" / "ndtiff", raw / "ndtiff")
    shutil.copytree(shared / "micromanager" / "mmstack_zyla", raw / "mmstack_zyla")
    unpacked = raw / "mmstack_1.4"
    unpacked.mkdir()
    for packed in (shared / "micromanager" / "mmstack_1.4").glob("*.gz"):
        (unpacked / packed.stem).write_bytes(gzip.decompress(packed.read_bytes()))
    traces = shared / "micromanager" / "traces"
    specification = importlib.util.spec_from_file_location("replay", traces / "replay.py")
    assert specification is not None
    assert specification.loader is not None
    replay = importlib.util.module_from_spec(specification)
    sys.modules["replay"] = replay
    specification.loader.exec_module(replay)
    for trace in sorted(traces.glob("*.jsonl.gz")):
        folder = raw / "traces" / trace.name.partition(".")[0]
        folder.mkdir(parents=True)
        replay.Trace(trace).replay(folder)
    for path in raw.rglob("*"):  # copies of a read-only folder
        path.chmod(0o755 if path.is_dir() else 0o644)


def run(checkout: Path, raw: Path, base: Path, model: str, *, zarr: bool) -> dict[str, Any]:
    """Restore a copy of ``raw`` with a checkout; return what came of it."""
    place = base / checkout.name / ("zarr" if zarr else "tiff")
    place = place if not place.exists() else place.with_name(f"{place.name}-2")
    root = place / "watched"
    shutil.copytree(raw, root)
    module = (
        "live_restore"
        if (checkout / "live_restore" / "__main__.py").exists()
        else ("live_restore.cli")
    )
    words = "acquisitions" if module == "live_restore" else "datasets"
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join((str(checkout), str(checkout / "export"))),
        "XDG_STATE_HOME": str(place / "state"),
        "LIVE_RESTORE_JOURNAL__FOLDER": str(place / "state"),
        "LIVE_RESTORE_INFERENCE__THREADS": "1",
        f"LIVE_RESTORE_OUTPUT__{words.upper()}": "ome-zarr" if zarr else "ome-tiff",
    }
    command = [sys.executable, "-m", module]
    watched = ["watch", str(root), "--once", "--device", "cpu", "--model", model]
    # A file is settled by its quiet; its time is that of the copy.
    # Elsewhere: the folder that a module is started from comes first in its path.
    done = subprocess.run(
        [*command, *watched],
        cwd=place,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    status = subprocess.run(
        [*command, "status", str(root), "--json", "--all"],
        cwd=place, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = json.loads(status.stdout)["files"]
    return {
        "code": done.returncode,
        "results": dict(images(root, zarr=zarr)),
        "reports": dict(reports(root)),
        "entries": {file["source"]: (file["state"], file["reason"]) for file in files},
    }


def images(root: Path, *, zarr: bool) -> Any:
    """Yield every result's name and what is in it."""
    for path in sorted(root.rglob("*.ome.tif")):
        if "restored" in path.parent.name:
            with tifffile.TiffFile(path) as tif:
                pixels = [series.asarray() for series in tif.series]
                xml = re.sub(r'(UUID|Creator)="[^"]*"|urn:uuid:[^<"]*', "", tif.ome_metadata or "")
            yield (
                path.relative_to(root).as_posix(),
                (
                    [
                        (str(p.dtype), p.shape, hashlib.sha256(p.tobytes()).hexdigest())
                        for p in pixels
                    ],
                    xml,
                ),
            )
    if zarr:
        import zarr as library

        for folder in sorted(root.rglob("*.ome.zarr")):
            if folder.parent.name.endswith("_restored"):
                group = library.open_group(folder, mode="r")
                pixels = group["0"][:]  # type: ignore[index]
                attributes = {**group.attrs["live-restore"], "software": ""}  # type: ignore[dict-item]
                yield (
                    folder.relative_to(root).as_posix(),
                    (
                        [
                            (
                                str(pixels.dtype),
                                pixels.shape,
                                hashlib.sha256(pixels.tobytes()).hexdigest(),
                            )
                        ],
                        json.dumps([group.attrs["ome"], attributes], sort_keys=True),
                    ),
                )


def reports(root: Path) -> Any:
    """Yield every report's name and what it says, without times."""
    for path in sorted(root.rglob("*.json")):
        if "restored" in path.parent.name or path.parent.name.endswith(".reports"):
            yield path.relative_to(root).as_posix(), without(json.loads(path.read_text()))


def without(value: Any) -> Any:
    """Return a report without what differs from run to run."""
    if isinstance(value, dict):
        found = {k: without(v) for k, v in value.items() if k not in TIMES}
        if "warnings" in found and len(found.get("stacks", ())) > 0:
            alone = len(found["stacks"]) == 1
            found["warnings"] = [_relabelled(each, alone=alone) for each in found["warnings"]]
        return found
    return [without(each) for each in value] if isinstance(value, list) else value


def _relabelled(warning: str, *, alone: bool) -> str:
    def today(match: re.Match[str]) -> str:
        position, time, channel = map(int, match.groups())
        return "" if alone else f"p{position:03d}_t{time:04d}_c{channel:02d}: "

    return OLD_LABEL.sub(today, warning)


def differences(old: Any, new: Any, at: str = "") -> list[str]:
    """Return where two reports differ."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [
            each
            for key in sorted({*old, *new})
            for each in differences(old.get(key), new.get(key), f"{at}.{key}")
        ]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = zip(old, new, strict=True)
        return [each for n, (a, b) in enumerate(pairs) for each in differences(a, b, f"{at}[{n}]")]
    return [] if old == new else [f"{at}: {old!r} | {new!r}"]


def compare(old: dict[str, Any], new: dict[str, Any]) -> int:
    """Print how two runs differ; return 1 if any voxel does."""
    names = sorted({*old["results"], *new["results"]})
    bad = [n for n in names if n not in old["results"] or n not in new["results"]]
    for name in bad:
        print(f"only in the {'old' if name in old['results'] else 'new'}: {name}")
    stacks = same = metadata = 0
    for name in set(names) - set(bad):
        (pixels, xml), (new_pixels, new_xml) = old["results"][name], new["results"][name]
        stacks += 1
        if pixels == new_pixels:
            same += 1
        else:
            bad.append(name)
            print(f"other pixels: {name}: {pixels} | {new_pixels}")
        if xml != new_xml:
            metadata += 1
            print(f"other metadata: {name}\n  {xml}\n  {new_xml}")
    lonely = sorted(set(old["reports"]) ^ set(new["reports"]))
    for name in lonely:
        print(f"only one of both has the report {name}")
    told = {
        re.sub(r"\[\d+\]", "[]", each)[:300]
        for name in set(old["reports"]) & set(new["reports"])
        for each in differences(old["reports"][name], new["reports"][name])
    }
    for each in sorted(told):
        print(f"report{each}")
    entries = sorted({*old["entries"], *new["entries"]})
    others = [n for n in entries if old["entries"].get(n) != new["entries"].get(n)]
    for name in others:
        print(f"journal: {name}: {old['entries'].get(name)} | {new['entries'].get(name)}")
    states = [n for n in others if _state(old, n) != _state(new, n)]
    print(f"exit codes {old['code']} | {new['code']}")
    print(f"{len(entries)} entries, {len(states)} in another state, {len(others) - len(states)} "
          "with another reason")  # fmt: skip
    print(f"{stacks} results: {same} equal to the bit, {len(bad)} not; {metadata} with other "
          f"metadata; {len(told)} kinds of difference in reports")  # fmt: skip
    nothing = not stacks or old["code"] not in (0, 1)
    return 1 if bad or states or lonely or metadata or nothing or old["code"] != new["code"] else 0


def _state(run: dict[str, Any], name: str) -> str | None:
    found = run["entries"].get(name)
    return None if found is None else found[0]


if __name__ == "__main__":
    sys.exit(main())
