"""Names of results and of temporary files. Pure: paths in, paths out."""

from __future__ import annotations

import glob
import hashlib
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from live_restore.stack import StackIndex, StackKey

TEMPORARY_SUFFIX = ".live-restore-part"
_RESULTS = "_restored"
_REPORTS = ".reports"

# What is an ending of the format rather than part of the name.
_ENDINGS = re.compile(r"(\.ome)?\.(tiff?|btf|tf[28])$", re.IGNORECASE)


def bare_name(source: Path) -> str:
    """Return a raw file's name without the endings of its format.

    Examples
    --------
    >>> bare_name(Path("cell 1.ome.tif")), bare_name(Path("run.2.TIFF"))
    ('cell 1', 'run.2')
    """
    return _ENDINGS.sub("", source.name) or source.name


def result_token(source: Path, result_folder: Path, recipe: str) -> str:
    """Return the identity (hex) of one result: which file, restored by which recipe.

    The file is named relative to its results, so that a folder moved with its results keeps them.
    """
    try:
        where = os.path.relpath(source, result_folder)
    except ValueError:  # on another drive, on Windows
        where = str(source)
    return hashlib.sha256(os.fsencode(where) + b"\0" + recipe.encode()).hexdigest()[:16]


def candidates(
    source: Path, template: str, model_name: str, recipe: str
) -> Iterator[tuple[Path, str]]:
    """Yield (path, token) that a result may take, best first; the first free or own one is it.

    The plain name is for the first recipe of the first file that asks for it. Another model,
    other settings, or ``a.tif`` beside ``a.ome.tif``, get a name of their own.
    """
    name = bare_name(source)
    plain = Path(template.format(folder=source.parent, name=name))
    token = result_token(source, plain.parent, recipe)
    yield plain, token
    own = f"{name}.{model_name}-{token[:8]}"
    yield Path(template.format(folder=source.parent, name=own)), token


def variants(plain: Path, ending: str) -> list[Path]:
    """Return what lies beside a result under names that results of other recipes get.

    Of ``p000.ome.zarr`` (ending ``.ome.zarr``) that is ``p000.fast-01234567.ome.zarr``.
    """
    name = glob.escape(plain.name.removesuffix(ending))
    return sorted(plain.parent.glob(f"{name}.*-????????{ending}"))


def position_candidates(
    results: Path, stack: StackIndex, model_name: str, token: str
) -> Iterator[Path]:
    """Yield images that a stack of an acquisition may be written into, one per position.

    Examples
    --------
    >>> found = position_candidates(Path("run_1_restored"), StackIndex(2, 5, 1), "fast", "ab" * 8)
    >>> [image.name for image in found]
    ['p002.ome.zarr', 'p002.fast-abababab.ome.zarr']
    """
    plain = f"p{stack.position:03d}"
    yield results / f"{plain}.ome.zarr"
    yield results / f"{plain}.{model_name}-{token[:8]}.ome.zarr"


def results_of_acquisition(folder: Path) -> Path:
    """Return where the results of an acquisition folder go: beside it, never inside.

    Examples
    --------
    >>> results_of_acquisition(Path("data/run_1")).as_posix()
    'data/run_1_restored'
    """
    return folder.with_name(f"{folder.name}{_RESULTS}")


def results_folder(root: Path, key: StackKey, template: str) -> Path:
    """Return the folder for the result of a file, or of a stack of an acquisition, below ``root``.

    Examples
    --------
    >>> template = "{folder}/restored/{name}.ome.tif"
    >>> results_folder(Path("data"), StackKey(Path("day/a.tif")), template).as_posix()
    'data/day/restored'
    >>> stack = StackKey(Path("day/run_1"), StackIndex(0, 0, 0))
    >>> results_folder(Path("data"), stack, template).as_posix()
    'data/day/run_1_restored'
    """
    source = root / key.acquisition
    return (
        results_of_acquisition(source)
        if key.index is not None
        else folder_of_result(source, template)
    )


def folder_of_result(source: Path, template: str) -> Path:
    """Return the folder that a template puts the result of ``source`` into.

    Examples
    --------
    >>> folder_of_result(Path("day/a.tif"), "{folder}/restored/{name}.ome.tif").as_posix()
    'day/restored'
    """
    return Path(template.format(folder=source.parent, name=bare_name(source))).parent


def acquisition_of_results(folder: Path) -> Path | None:
    """Return the acquisition whose results a folder of this name would hold, ``None`` for none."""
    name = folder.name.removesuffix(_RESULTS)
    return folder.with_name(name) if name and name != folder.name else None


def template_in(folder: Path) -> str:
    """Return the template for results that go straight into ``folder``.

    Examples
    --------
    >>> template_in(Path("out {1}"))
    'out {{1}}/{name}.ome.tif'
    """
    braces_kept = str(folder).replace("{", "{{").replace("}", "}}")
    return f"{braces_kept}/{{name}}.ome.tif"


def report_path(result: Path) -> Path:
    """Return where the report of a result goes: ``name.ome.tif`` -> ``name.json``."""
    return result.with_name(result.name.removesuffix(".ome.tif") + ".json")


def is_report_beside(path: Path, images: Collection[str], template: str) -> bool:
    """Return whether a file is, by its name, the report of a result.

    Parameters
    ----------
    path
        The file.
    images
        Names of images in its folder.
    template
        ``output.template``. Results of files that it puts into a folder of their own lie beside
        nothing else; those of an acquisition that was renamed since are found here.

    Examples
    --------
    >>> beside = "{folder}/{name}_restored.ome.tif"
    >>> images = ["a.ome.tif", "a_restored.ome.tif"]
    >>> [is_report_beside(Path(name), images, beside) for name in ("a_restored.json", "a.json")]
    [True, False]
    >>> is_report_beside(Path("run_1_restored/p000.reports/p000_t0002_c01.json"), [], beside)
    True
    """
    if path.suffix != ".json":
        return False
    if path.parent.name.endswith(_REPORTS):
        return acquisition_of_results(path.parent.parent) is not None
    image = path.name.removesuffix(".json") + ".ome.tif"
    if image not in images:
        return False
    if acquisition_of_results(path.parent) is not None:
        return True
    before, _, after = Path(template).name.format(name="\0").partition("\0")
    return output_folder_name(template) is None and (
        image.startswith(before) and image.endswith(after)
    )


def error_bars_path(result: Path) -> Path:
    """Return where the error bars of a result go, beside it.

    Examples
    --------
    >>> error_bars_path(Path("a.ome.tif")).name, error_bars_path(Path("p000.ome.zarr")).name
    ('a.standard-error.ome.tif', 'p000.standard-error.ome.zarr')
    """
    ending = ".ome.zarr" if result.name.endswith(".ome.zarr") else ".ome.tif"
    return result.with_name(f"{result.name.removesuffix(ending)}.standard-error{ending}")


def stack_report_path(result: Path, label: str) -> Path:
    """Return where the report of one stack of an acquisition goes.

    Examples
    --------
    >>> stack_report_path(Path("p000_t0002_c01.ome.tif"), "p000_t0002_c01").as_posix()
    'p000_t0002_c01.json'
    >>> stack_report_path(Path("p000.ome.zarr"), "p000_t0002_c01").as_posix()
    'p000.reports/p000_t0002_c01.json'
    """
    image = result.name.removesuffix(".ome.zarr")
    if image == result.name:
        return report_path(result)
    return result.with_name(f"{image}{_REPORTS}") / f"{label}.json"


def output_folder_name(template: str) -> str | None:
    """Return the name of the sub-folder that results go to, or ``None`` if there is none.

    Examples
    --------
    >>> output_folder_name("{folder}/restored/{name}.ome.tif")
    'restored'
    >>> output_folder_name("{folder}/{name}_restored.ome.tif") is None
    True
    """
    parts = Path(template).parts
    return parts[1] if len(parts) > 2 and parts[0] == "{folder}" and "{" not in parts[1] else None
