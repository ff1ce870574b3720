"""Whether the packages of the extra ``cluster`` are there."""

from __future__ import annotations

import importlib.util

from live_restore.errors import UsageError
from live_restore.installation import install_with


def require_packages() -> None:
    """Raise ``UsageError`` where Dask is missing."""
    if importlib.util.find_spec("distributed") is None:
        raise UsageError(
            "other computers are reached through the package distributed",
            None,
            install_with("cluster"),
        )
