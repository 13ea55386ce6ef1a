"""Ask a broker, over a bare socket, which brokers it knows: one Metadata request of version 1."""

import socket
import struct
from dataclasses import dataclass

from deploy.local.ports import LOOPBACK

METADATA = 3
VERSION = 1
NO_TOPICS = 0
NO_CONTROLLER = -1
PORT_BYTES = 4
# api key, api version, correlation id, length of the client id, client id, number of topics
REQUEST = struct.pack(">hhih5si", METADATA, VERSION, 1, 5, b"ready", NO_TOPICS)


@dataclass(frozen=True, slots=True)
class Registered:
    """The cluster as one broker sees it."""

    brokers: frozenset[int]
    controller: int | None


def ask(port: int, timeout_seconds: float = 2.0) -> Registered:
    """What the broker at this loopback port says; raises OSError when it does not answer."""
    with socket.create_connection((LOOPBACK, port), timeout=timeout_seconds) as connection:
        connection.sendall(struct.pack(">i", len(REQUEST)) + REQUEST)
        (size,) = struct.unpack(">i", _exactly(connection, 4))
        return parse(_exactly(connection, size))


def parse(answer: bytes) -> Registered:
    """Read a Metadata response of version 1 as far as the controller's id."""
    position = 4  # after the correlation id

    def number(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from(code, answer, position)
        position += struct.calcsize(code)
        return int(value)

    brokers = set()
    for _ in range(number(">i")):
        brokers.add(number(">i"))
        host = number(">h")
        position += host + PORT_BYTES
        rack = number(">h")
        position += max(0, rack)  # -1: no rack
    controller = number(">i")
    return Registered(frozenset(brokers), None if controller == NO_CONTROLLER else controller)


def _exactly(connection: socket.socket, size: int) -> bytes:
    content = b""
    while len(content) < size:
        part = connection.recv(size - len(content))
        if not part:
            raise ConnectionResetError("the broker closed the connection")
        content += part
    return content
