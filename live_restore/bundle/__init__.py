"""One zip for a computer without a network: builds it, checks it, updates and uninstalls it.

::

    packages.py   which packages, for which computer (pure)
    tools.py      uv and pip, as child processes: a lock, then the wheels of the lock
    python.py     the Python that runs there
    licences.py   the licences of all of it
    sbom.py       what is in it, for machines (CycloneDX; pure)
    description.py  lock, licences, bill of materials and record, written
    scripts.py    what a person double-clicks (pure)
    hashes.py     the list of SHA-256 hashes, and whether a bundle still is what it says
    archive.py    the zip: the same bytes from the same content
    build.py      all of these in order
    installed.py  on the other computer: which bundle this is, what runs from it, what stays
"""
