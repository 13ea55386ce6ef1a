"""``python -m webhook_worker``."""

import sys

from webhook_worker.cli import main

sys.exit(main())
