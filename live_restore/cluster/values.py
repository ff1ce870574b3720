"""Values as JSON and arrays: what crosses the wire, instead of pickles. Pure.

What arrives is from another computer, and may be anything: it is only ever made into the types
that are asked for.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Sequence
from dataclasses import fields, is_dataclass
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

import numpy as np
from numpy.typing import NDArray

_ARRAY = "array"
_SCALARS: dict[Any, tuple[type, ...]] = {
    bool: (bool,),
    int: (int,),
    float: (float, int),
    str: (str,),
}

Value = TypeVar("Value")


class DamagedMessageError(Exception):
    """What arrived is not what was asked for."""


def plain(value: object, arrays: list[NDArray[Any]]) -> Any:
    """Return what JSON can hold of ``value``; its arrays go into ``arrays``, uncopied.

    Parameters
    ----------
    value
        Dataclasses, tuples, dictionaries, arrays, numbers and texts, nested.
    arrays
        Is added to.

    Raises
    ------
    TypeError
        There is something else in it.

    Examples
    --------
    >>> arrays = []
    >>> plain({"a": (1, np.zeros(2))}, arrays), len(arrays)
    ({'a': [1, {'array': 0}]}, 1)
    """
    if isinstance(value, np.ndarray):
        arrays.append(value)
        return {_ARRAY: len(arrays) - 1}
    if isinstance(value, np.generic):
        return value.item()
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: plain(getattr(value, each.name), arrays) for each in fields(value)}
    if isinstance(value, dict):
        return {str(key): plain(each, arrays) for key, each in value.items()}
    if isinstance(value, (tuple, list)):
        return [plain(each, arrays) for each in value]
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} does not travel")


def made(kind: type[Value], value: object, arrays: Sequence[NDArray[Any]]) -> Value:
    """Return the ``kind`` that :func:`plain` took apart.

    Parameters
    ----------
    kind
        A dataclass, or any other type that :func:`plain` takes.
    value, arrays
        From :func:`plain`, or from anybody.

    Raises
    ------
    DamagedMessageError
        It is something else.

    Examples
    --------
    >>> made(tuple[int, ...], [1, 2], [])
    (1, 2)
    """
    result: Value = _made(kind, value, arrays)
    return result


def _made(kind: Any, value: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        return _one_of(inner, value, arrays)
    if kind is np.ndarray or origin is np.ndarray:
        number = value.get(_ARRAY) if isinstance(value, dict) else None
        if type(number) is not int or not 0 <= number < len(arrays):
            raise DamagedMessageError("an array is missing")
        return arrays[number]
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind, value, arrays)
    if origin is tuple:
        return _tuple(inner, value, arrays)
    if origin is dict:
        if not isinstance(value, dict):
            raise DamagedMessageError("no table where there should be one")
        return {str(key): _made(inner[1], each, arrays) for key, each in value.items()}
    allowed = _SCALARS.get(kind)
    if allowed is None or type(value) not in allowed:
        raise DamagedMessageError(f"{type(value).__name__} where {kind} should be")
    return kind(value)


def _one_of(kinds: tuple[Any, ...], value: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    if value is None and type(None) in kinds:
        return None
    for kind in kinds:
        try:
            return _made(kind, value, arrays)
        except DamagedMessageError:
            continue
    raise DamagedMessageError(f"{type(value).__name__} is none of what it may be")


def _tuple(inner: tuple[Any, ...], value: Any, arrays: Sequence[NDArray[Any]]) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise DamagedMessageError("no list where there should be one")
    if len(inner) == 2 and inner[1] is ...:
        inner = (inner[0],) * len(value)
    if len(inner) != len(value):
        raise DamagedMessageError(f"{len(value)} values where there should be {len(inner)}")
    return tuple(_made(kind, each, arrays) for kind, each in zip(inner, value, strict=True))


def _dataclass(kind: type[Any], value: Any, arrays: Sequence[NDArray[Any]]) -> Any:
    hints = _hints(cast("Any", kind))
    if not isinstance(value, dict) or value.keys() != hints.keys():
        raise DamagedMessageError(f"no {kind.__name__} where there should be one")
    make: Callable[..., Any] = kind
    return make(**{name: _made(hint, value[name], arrays) for name, hint in hints.items()})


@cache
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {each.name: hints[each.name] for each in fields(kind) if each.init}
