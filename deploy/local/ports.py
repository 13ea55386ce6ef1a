"""Free loopback ports that stay usable while nobody listens on them."""

import fcntl
import os
import random
import socket
import tempfile
from functools import cache
from pathlib import Path

LOOPBACK = "127.0.0.1"
# Below the ranges that systems take outgoing ports from (Linux: 32768, others: 49152). A port in
# them could be lost to an outgoing connection while its broker is down, and a client that keeps
# reconnecting to a dead loopback port in them ends up connected to itself sooner or later.
CANDIDATES = range(20_000, 32_000)

_claimed: set[int] = set()


def free_ports(count: int) -> list[int]:
    """`count` different ports that are this process's from now on; raises OSError if too few."""
    found: list[int] = []
    for port in random.sample(CANDIDATES, len(CANDIDATES)):
        if len(found) == count:
            return found
        if claim(port):
            found.append(port)
    raise OSError(f"only {len(found)} of {count} loopback ports are free")


def claim(port: int) -> bool:
    """Whether nobody listens there, and nobody who asks so is given it while this process lives.

    Between the choice of a port and the moment in which a broker listens there lie seconds, and
    again whenever it is down.
    """
    if port in _claimed or not is_free(port):
        return False
    try:
        # A lock on a byte of a file goes with the process, however that ends.
        fcntl.lockf(_claims(), fcntl.LOCK_EX | fcntl.LOCK_NB, 1, port)
    except (BlockingIOError, PermissionError):
        return False
    _claimed.add(port)
    return True


def is_free(port: int) -> bool:
    """Whether a server could listen on this loopback port now."""
    with socket.socket() as probe:
        # As servers do: a closed connection that still lingers is no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return False
        return True


@cache
def _claims() -> int:
    """The file, which stays open: to close it would give back every lock of this process."""
    file = Path(tempfile.gettempdir()) / f"loopback-ports-{os.getuid()}"
    return os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
