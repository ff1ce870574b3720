"""The kinds of files of microscopes' own programs, one line each, and who reads them.

Nothing of a reader is imported here: the daemon only asks whether its package is installed.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from dataclasses import dataclass

from live_restore.installation import install_with

EXTRA = "vendor"
"""The extra that installs all readers."""


@dataclass(frozen=True)
class VendorKind:
    """One kind of files.

    Parameters
    ----------
    name
        What people call it, with its program.
    suffixes
        Endings of its names, lower case.
    module
        Module of this package that reads it.
    package
        What that module needs, as it is imported.
    python
        The oldest Python that the package runs on.
    """

    name: str
    suffixes: tuple[str, ...]
    module: str
    package: str
    python: tuple[int, int] = (3, 11)

    def obstacle(self) -> str:
        """Return what to do before it can be read, "" if nothing is."""
        if sys.version_info < self.python:
            needed = ".".join(map(str, self.python))
            return f"use Python {needed} or newer, and install live-restore[{EXTRA}] there"
        return "" if _installed(self.package) else install_with(EXTRA)


KINDS: tuple[VendorKind, ...] = (
    VendorKind("Nikon ND2", (".nd2",), "nd2_files", "nd2"),
    VendorKind("Zeiss CZI", (".czi",), "czi_files", "czifile", (3, 12)),
    VendorKind("Leica LIF", (".lif",), "lif_files", "liffile"),
    VendorKind("Olympus OIR", (".oir",), "oir_files", "oirfile", (3, 12)),
    VendorKind("Olympus OIB", (".oib",), "oib_files", "oiffile"),
    VendorKind("Zeiss LSM", (".lsm",), "tiff_kin", "tifffile"),
    VendorKind("MetaMorph STK", (".stk",), "tiff_kin", "tifffile"),
    VendorKind("Imaris", (".ims",), "hdf5_files", "h5py"),
    VendorKind("BigDataViewer", (".h5",), "hdf5_files", "h5py"),
)

UNREAD: dict[str, tuple[str, ...]] = {
    "DeltaVision": (".dv", ".r3d"),
    "MRC": (".mrc", ".mrcs", ".rec"),
    "Olympus VSI": (".vsi",),
    "Olympus OIF": (".oif",),
    "Olympus POIR": (".poir", ".omp2info"),
    "Leica LOF and XLEF": (".lof", ".xlef", ".xlif"),
    "Zeiss ZVI": (".zvi",),
    "Volocity": (".mvd2", ".aisf", ".aiix"),
    "SlideBook": (".sld", ".sldy"),
    "Hamamatsu HIS": (".his",),
    "Andor": (".sif",),
    "ICS": (".ics", ".ids"),
    "NRRD": (".nrrd", ".nhdr"),
    "NumPy": (".npy", ".npz"),
    "picture and movie": (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".avi", ".mp4", ".mov"),
}
"""Images that nobody here reads, by what people call them."""

UNREAD_REMEDY = "export them as OME-TIFF from the program that wrote them"


@functools.cache
def _installed(package: str) -> bool:
    return importlib.util.find_spec(package) is not None


def kind_of(name: str) -> VendorKind | None:
    """Return the kind that a file of this name is of, ``None`` if of none.

    Examples
    --------
    >>> kind_of("Cell 1.ND2").name
    'Nikon ND2'
    >>> kind_of("cell.tif") is None
    True
    """
    lower = name.lower()
    return next((kind for kind in KINDS if lower.endswith(kind.suffixes)), None)
