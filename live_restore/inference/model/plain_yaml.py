"""YAML of the kind that descriptions of models are: JSON's values, and aliases. Pure.

YAML 1.1 can do more, and each of it harm: ``<<`` copies a mapping as often as it is named, before
anybody can count it, and ``1:1:1:...`` is a number in base 60 that takes minutes to compute. Here
both are text.
"""

from __future__ import annotations

import re
from typing import Any

import yaml

_TAG = "tag:yaml.org,2002:"
_MAX_DEPTH = 100
# Of these the scanner reads a thousand ahead, whatever the depth.
_OPENINGS = re.compile(rb"(?:[\[{]\s*){50}")
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z")
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}(?:[eE][-+]?[0-9]{1,3})?|[0-9]{1,18}[eE][-+]?[0-9]{1,3})\Z"
)


class _PlainLoader(yaml.SafeLoader):
    """Without what makes YAML dangerous; see above."""

    _depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """Return the next node; its scanner takes the square of the depth in time."""
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise yaml.YAMLError(f"nests deeper than {_MAX_DEPTH}")
        try:
            return super().compose_node(parent, index)
        finally:
            self._depth -= 1

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Leave ``<<`` where it is."""


_PlainLoader.yaml_implicit_resolvers = {
    first: kept
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    if (kept := [pair for pair in pairs if pair[0] in (f"{_TAG}null", f"{_TAG}bool")])
}
_PlainLoader.add_implicit_resolver(f"{_TAG}int", _INTEGER, list("-+0123456789"))
_PlainLoader.add_implicit_resolver(f"{_TAG}float", _FLOAT, list("-+0123456789"))
_PlainLoader.add_constructor(f"{_TAG}int", lambda _, node: int(node.value))
_PlainLoader.add_constructor(f"{_TAG}float", lambda _, node: float(node.value))


def plain_yaml(text: bytes) -> Any:
    """Return what a YAML document says; the caller has bounded its size.

    Raises
    ------
    ValueError
        It is none.

    Examples
    --------
    >>> plain_yaml(b"{a: 1.5, b: [x, 2], c: 1:30, <<: d}")
    {'a': 1.5, 'b': ['x', 2], 'c': '1:30', '<<': 'd'}
    """
    if _OPENINGS.search(text):
        raise ValueError("nests deeper than any description")
    try:
        return yaml.load(text, _PlainLoader)  # noqa: S506 - a SafeLoader with less in it
    except (yaml.YAMLError, RecursionError, AttributeError, TypeError, OverflowError) as error:
        raise ValueError(str(error)) from error
