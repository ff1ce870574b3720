"""``python -m live_restore``: the command line."""

import sys

from live_restore.cli.main import main

sys.exit(main())
