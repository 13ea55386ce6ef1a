"""Free loopback ports that stay usable while nobody listens on them."""

import random
import socket

LOOPBACK = "127.0.0.1"
# Below the ranges that systems take outgoing ports from (Linux: 32768, others: 49152). A port in
# them could be lost to an outgoing connection while its broker is down, and a client that keeps
# reconnecting to a dead loopback port in them ends up connected to itself sooner or later.
CANDIDATES = range(20_000, 32_000)


def free_ports(count: int) -> list[int]:
    """`count` different ports that nobody listens on at this moment; raises OSError if too few."""
    found: list[int] = []
    for port in random.sample(CANDIDATES, len(CANDIDATES)):
        if len(found) == count:
            return found
        if is_free(port):
            found.append(port)
    raise OSError(f"only {len(found)} of {count} loopback ports are free")


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
