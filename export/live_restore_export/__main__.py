"""``python -m live_restore_export``: the same as ``live-restore-export``."""

import sys

from live_restore_export.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
