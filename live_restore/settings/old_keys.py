"""Settings that have been renamed: the old name is still read, and the new one is reported."""

from __future__ import annotations

from typing import Any

from pydantic_core import PydanticCustomError
from pydantic_settings import EnvSettingsSource

OLD_KEYS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("output", "datasets"): ("output", "acquisitions")
}
"""Old place in the tree -> new place."""

BOTH_GIVEN = "both_given"
"""Type of the error about a setting that is given under both of its names."""


def old_keys_in(values: dict[str, Any]) -> list[tuple[str, ...]]:
    """Return the old places at which nested values have something.

    Examples
    --------
    >>> old_keys_in({"output": {"datasets": "ome-zarr"}})
    [('output', 'datasets')]
    """
    return [old for old in OLD_KEYS if _holds(values, old)]


def renamed(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values under their new names.

    Raises
    ------
    PydanticCustomError
        Of type :data:`BOTH_GIVEN`.

    Examples
    --------
    >>> renamed({"output": {"datasets": "ome-zarr"}})
    {'output': {'acquisitions': 'ome-zarr'}}
    """
    for old in old_keys_in(values):
        new = OLD_KEYS[old]
        if _holds(values, new):
            raise PydanticCustomError(
                BOTH_GIVEN,
                "{old} is the old name of {new}, and both are given",
                {"old": ".".join(old), "new": ".".join(new)},
            )
        values, value = _without(values, old)
        values = _with(values, new, value)
    return values


def renamed_where_one(values: dict[str, Any]) -> dict[str, Any]:
    """Return nested values of one source under their new names; of both names, both stay.

    Names are made the same before sources are laid over each other: a variable under the old name
    overrides a file with the new one, and the other way round.

    Examples
    --------
    >>> renamed_where_one({"output": {"datasets": "ome-zarr", "acquisitions": "ome-tiff"}})
    {'output': {'datasets': 'ome-zarr', 'acquisitions': 'ome-tiff'}}
    """
    for old in old_keys_in(values):
        new = OLD_KEYS[old]
        if not _holds(values, new):
            values, value = _without(values, old)
            values = _with(values, new, value)
    return values


def _holds(values: Any, place: tuple[str, ...]) -> bool:
    for key in place:
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


def _without(values: dict[str, Any], place: tuple[str, ...]) -> tuple[dict[str, Any], Any]:
    key, *rest = place
    if not rest:
        return {k: v for k, v in values.items() if k != key}, values[key]
    below, value = _without(values[key], tuple(rest))
    return {**values, key: below}, value


def _with(values: dict[str, Any], place: tuple[str, ...], value: Any) -> dict[str, Any]:
    key, *rest = place
    if not rest:
        return {**values, key: value}
    below = values.get(key, {})
    if not isinstance(below, dict):
        return values  # no section: its own error is the one to report
    return {**values, key: _with(below, tuple(rest), value)}


class RenamedEnvironment(EnvSettingsSource):
    """The environment, with settings under their new names."""

    def __call__(self) -> dict[str, Any]:
        return renamed_where_one(super().__call__())
