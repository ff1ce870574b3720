"""How this program was installed, and so the line that installs more of it."""

from __future__ import annotations

import json
import sys
from functools import cache
from pathlib import Path

from live_restore.errors import one_line

BUNDLE_RECORD = "bundle.json"
"""What a bundle says about itself, in its program folder."""
_PACKAGE = "live-restore"


def bundle_folder() -> Path | None:
    """Return the program folder of the bundle that runs this program; ``None``: none does."""
    folder = Path(sys.prefix).resolve().parent
    return folder if (folder / BUNDLE_RECORD).is_file() else None


def pip_install(what: str) -> str:
    """Return the line that installs ``what`` for the Python that runs this program.

    A bare ``pip`` may be that of another one.
    """
    return f'{_quoted(sys.executable)} -m pip install "{what}"'


@cache
def install_with(extra: str = "") -> str:
    """Return the line that installs this program anew, from where it came, with an extra of it.

    From a clone that is used in place, from the folder or wheel that pip was given, or by its name.
    In a bundle there is no pip: it is another bundle that helps.
    """
    if bundle_folder() is not None:
        return f"unpack a bundle that holds {extra or 'it'}; see live-restore bundle --help"
    wanted = f"[{extra}]" if extra else ""
    clone = Path(__file__).resolve().parents[1]
    if (clone / "pyproject.toml").is_file():
        return f'{_quoted(sys.executable)} -m pip install -e "{one_line(clone)}{wanted}"'
    return pip_install(f"{_PACKAGE}{wanted}{_origin()}")


def _origin() -> str:
    """Return from which local folder or file pip took it, "" where it took it by its name."""
    from importlib.metadata import PackageNotFoundError, distribution  # 20 ms

    try:
        url = json.loads(distribution(_PACKAGE).read_text("direct_url.json") or "{}")["url"]
    except (PackageNotFoundError, ValueError, LookupError, TypeError, OSError):
        return ""
    # Of any other address a part may be a password.
    return f" @ {url}" if isinstance(url, str) and url.startswith("file:") else ""


def _quoted(program: str) -> str:
    program = one_line(program or "python")
    return f'"{program}"' if " " in program else program
