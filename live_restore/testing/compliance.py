"""What the compliance suites of both kinds of formats share."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from live_restore.errors import StackError
from live_restore.stack import Volume

CUTS = 60
MUTANTS = 40
"""Of each file; of an acquisition's files a third."""


class Compliance(ABC):
    """What both suites share: every test that takes a ``sample`` runs for each of them."""

    @abstractmethod
    def samples(self) -> Sequence[Any]: ...

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Give each sample to each test."""
        if "sample" in metafunc.fixturenames:
            samples = self.samples()
            assert samples, "there is no sample"
            metafunc.parametrize("sample", samples, ids=[each.name for each in samples])


@contextmanager
def only_our_errors() -> Iterator[None]:
    """Pass over errors about a stack, of one line that says what happened; fail with others."""
    try:
        yield
    except StackError as error:
        if not error.what or "\n" in str(error):
            raise AssertionError(f"no line that says what happened: {error!r}") from error


def check_volume(
    volume: Volume, shape: tuple[int, ...], dtype: np.dtype[np.generic] | None
) -> None:
    """Check the shape and the type of what was read."""
    assert volume.shape == shape
    assert volume.dtype == dtype
    assert volume.dtype.isnative, "not in this computer's byte order"
