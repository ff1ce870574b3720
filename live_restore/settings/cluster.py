"""What is sent to other computers, and how they prove who they are."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, Field, PositiveInt

from live_restore.installation import install_with
from live_restore.settings.devices import is_loopback, is_remote
from live_restore.settings.paths import absolute
from live_restore.settings.section import NO_PIXELS, Section


class ClusterSettings(Section):
    """Restoring on other computers: ``inference.device = "dask://HOST:PORT"``."""

    certificates: Annotated[Path, AfterValidator(absolute)] | None = Field(
        None,
        description="this computer's folder from `live-restore cluster init`; unset: only "
        "addresses of this computer itself are spoken to",
        json_schema_extra=NO_PIXELS,
    )
    stacks_ahead: Annotated[PositiveInt, Field(le=64)] = Field(
        2,
        description="stacks that are on their way to or from the workers of one scheduler",
        json_schema_extra=NO_PIXELS,
    )
    most_ahead_mb: PositiveInt = Field(
        1024,
        description="the same, in raw data (MB); a larger stack goes alone",
        json_schema_extra=NO_PIXELS,
    )
    timeout_s: Annotated[float, Field(gt=0, le=3600, allow_inf_nan=False)] = Field(
        10.0,
        description="a computer that has not answered for so long counts as gone (s)",
        json_schema_extra=NO_PIXELS,
    )
    paths: dict[str, str] = Field(
        {},
        description="of a worker that restores archives: what folders of shared storage are called "
        'here, by what they are called on the computer that asks: {"D:/data" = "/mnt/data"}',
        json_schema_extra=NO_PIXELS,
    )


def check_address(address: str, certificates: Path | None) -> None:
    """Refuse a scheduler that cannot be spoken to, or not safely.

    Raises
    ------
    ValueError
        It is no address, it leads beyond this computer and there are no certificates, or a package
        is missing.
    """
    if not is_remote(address):
        raise ValueError(f'"{address}" is no address of a scheduler: "dask://gpu-pc:8786"')
    if certificates is None and not is_loopback(address):
        raise ValueError(
            f"{address} leads beyond this computer, where anybody could pose as it: set "
            "cluster.certificates (live-restore cluster init makes them)"
        )
    if importlib.util.find_spec("distributed") is None:
        raise ValueError(f"{address} needs the package distributed: {install_with('cluster')}")
