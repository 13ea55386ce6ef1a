"""Where the data of throw-away brokers is best kept."""

import os
import shutil
from pathlib import Path

MEMORY = Path("/dev/shm")
ROOM_BYTES = 2 * 1024**3


def roomy_memory() -> Path | None:
    """A directory in memory with room for the brokers' data; None where there is none.

    On a disk, the first fsync after the creation of some hundred logs can stop three brokers for
    seconds, which would look like a fault of the workers.
    """
    if not MEMORY.is_dir() or not os.access(MEMORY, os.W_OK):
        return None
    return MEMORY if shutil.disk_usage(MEMORY).free > ROOM_BYTES else None
