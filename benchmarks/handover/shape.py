"""The shape of the work: events for twenty customers, of whom each answers after its time."""

import json
import re
import uuid
from typing import NamedTuple

from benchmarks.delivery.sink import address
from benchmarks.rebalance.work import tail_work_us

CUSTOMERS = 20
IN_FLIGHT = 100
ATTEMPT_SECONDS = 15.0

_LEDGER = re.compile(rb'"ledger": ?\[(\d+), ?(\d+), ?(\d+), ?(\d+)\]')


class Line(NamedTuple):
    """What an event carries for the receiver's ledger."""

    partition: int
    number: int
    """Within its partition."""
    produced_ns: int
    """Of the machine's monotonic clock."""
    work_us: int
    """After how long the receiver answers."""


def event(partition: int, number: int, produced_ns: int) -> bytes:
    """An event as a record's value."""
    line = Line(partition, number, produced_ns, tail_work_us(partition, number))
    said = {
        "id": f"evt_{uuid.uuid4().hex}",
        "type": "order.paid",
        "customer_id": str((partition * 7 + number) % CUSTOMERS),
        "timestamp": "2026-01-01T00:00:00Z",
        "data": {"ledger": line, "pad": "x" * 700},
    }
    return json.dumps(said).encode()


def line_of(body: bytes) -> Line | None:
    """What a request's body carries; None if there is nothing of the kind."""
    found = _LEDGER.search(body)
    return Line(*map(int, found.groups())) if found else None


def url(customer: int, port: int) -> str:
    """Where a customer receives: each has a host of its own."""
    return f"http://{address(customer)}:{port}/hook"
