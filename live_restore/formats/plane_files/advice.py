"""What to tell a person about a folder of single planes that no naming groups into stacks. Pure."""

from __future__ import annotations

from pathlib import Path

from live_restore.errors import one_line

FEWEST_PLANES = 3
"""Single planes in one folder that may well belong to one stack."""


def single_planes(folder: Path, pattern: str | None) -> str:
    """Return what to do about a folder of single planes."""
    where = one_line(folder.as_posix()) if folder.parts else "the watched folder"
    if pattern is not None:
        return (
            f"single planes in {where}, whose names neither files.plane_pattern nor any naming "
            "that is known groups into stacks, or that lie among more images of other kinds; "
            "mend the pattern, put the planes into a folder of their own, or acquire z-stacks"
        )
    return (
        f"single planes in {where}, whose names no naming that is known groups into stacks, or "
        "that lie among more images of other kinds; if they are planes of stacks, say in "
        "files.plane_pattern which number is z "
        r"(such as '(?P<run>.+)-(?P<z>\d+)\.tif') and put them into a folder of their own, "
        "else acquire z-stacks"
    )
