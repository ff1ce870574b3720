"""A broken build; for each mechanism of ``docs/explanation/promises.md`` there is one."""

from __future__ import annotations

from dataclasses import dataclass

HOUSE = 0
"""Stands for a promise where the mechanism keeps none of the ten, but a rule of the house."""


@dataclass(frozen=True)
class Mutant:
    """One mechanism, and how to break it.

    Parameters
    ----------
    promise
        Its number in ``docs/explanation/promises.md``, or ``HOUSE``.
    name
        For the command line.
    mechanism
        What is lost.
    old, new
        The text to replace, which is unique in the package, and by what.
    tests
        Files or node ids, of which at least one must fail; a few seconds together.
    """

    promise: int
    name: str
    mechanism: str
    old: str
    new: str
    tests: tuple[str, ...]
