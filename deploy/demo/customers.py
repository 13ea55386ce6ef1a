"""The demo's customers: their endpoints (good, slow, failing) and their events; pure."""

import base64
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, slots=True)
class DemoEndpoint:
    """One endpoint of a customer, served by the sample receiver."""

    id: str
    customer_id: str
    manner: str
    """How the receiver answers there: ok, slow or fail."""
    secret: str


PLAN: Mapping[str, Sequence[tuple[str, str]]] = {
    "acme": [("acme-orders", "ok")],
    "bolt": [("bolt-orders", "ok"), ("bolt-slow", "slow")],
    "cargo": [("cargo-orders", "ok"), ("cargo-failing", "fail")],
}
# Of ten events: one concerns bolt, one cargo, the rest acme.
SHARES = ("bolt", "cargo", *["acme"] * 8)


def demo_endpoints(random_bytes: Callable[[int], bytes]) -> tuple[DemoEndpoint, ...]:
    """Every endpoint, with a fresh secret."""
    return tuple(
        DemoEndpoint(name, customer, manner, new_secret(random_bytes(32)))
        for customer, endpoints in PLAN.items()
        for name, manner in endpoints
    )


def new_secret(key: bytes) -> str:
    """A Standard Webhooks secret from its raw bytes."""
    return "whsec_" + base64.b64encode(key).decode()


def endpoint_file(endpoints: Sequence[DemoEndpoint], receiver_url: str) -> str:
    """What WEBHOOK_ENDPOINTS points at; JSON is YAML too."""
    return json.dumps(
        {
            "endpoints": [
                {
                    "id": endpoint.id,
                    "customer_id": endpoint.customer_id,
                    "url": f"{receiver_url}/{endpoint.manner}/{endpoint.id}",
                    "secrets": [endpoint.secret],
                }
                for endpoint in endpoints
            ]
        },
        indent=2,
    )


def secrets_file(endpoints: Sequence[DemoEndpoint]) -> str:
    """What the receiver verifies with."""
    return json.dumps({endpoint.id: [endpoint.secret] for endpoint in endpoints})


def customer_of(number: int, partitions: int) -> str:
    """Whom the event of this number concerns: in turn within each partition, too."""
    return SHARES[(number + number // partitions) % len(SHARES)]


def event_value(event_id: str, customer_id: str, now: datetime, chance: random.Random) -> bytes:
    """An event as an application would produce it, of about 500 bytes."""
    order = {"order": chance.randrange(10**9), "lines": [chance.random() for _ in range(20)]}
    return json.dumps(
        {
            "id": event_id,
            "type": "order.paid",
            "customer_id": customer_id,
            "timestamp": now.astimezone(UTC).isoformat(),
            "data": order,
        }
    ).encode()
