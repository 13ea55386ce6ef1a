"""What the settings about egress may hold: ports, schemes, networks, the proxy."""

from ipaddress import ip_network
from typing import Annotated

from app_worker.conversion import AfterValidator, BeforeValidator
from app_worker.variables import Allowed, CommaList, HoldsSecret
from webhook_worker.egress import plain_network
from webhook_worker.proxy import FORM, Proxy, parse_proxy
from webhook_worker.url import DEFAULT_PORTS

LARGEST_PORT = 65_535


def port_range(text: str) -> range:
    """A port, or the first and the last of several. Raises ValueError."""
    first, dash, last = text.partition("-")
    if not dash:
        last = first
    if not (text.isascii() and first.isdigit() and last.isdigit()):
        raise ValueError(f"{text!r} is none")
    ports = range(int(first), int(last) + 1)
    if not ports or not 1 <= ports[0] <= ports[-1] <= LARGEST_PORT:
        raise ValueError(f"{text!r} is none")
    return ports


def _ports(texts: tuple[str, ...]) -> tuple[str, ...]:
    return at_least_one(tuple(text for text in texts if port_range(text)))


def _schemes(texts: tuple[str, ...]) -> tuple[str, ...]:
    schemes = tuple(text.lower() for text in texts)
    for scheme in schemes:
        if scheme not in DEFAULT_PORTS:
            raise ValueError(f"{scheme!r} is neither")
    return at_least_one(schemes)


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        network = ip_network(text)
        plain = plain_network(network)
        if plain != network:
            raise ValueError(f"write {text} as {plain}: it is judged as that")
    return texts


def at_least_one(texts: tuple[str, ...]) -> tuple[str, ...]:
    """The same. Raises ValueError if there is none."""
    if not texts:
        raise ValueError("it holds none")
    return texts


def _proxy(value: object) -> object:
    return parse_proxy(value) if isinstance(value, str) else value


Ports = Annotated[
    CommaList,
    AfterValidator(_ports),
    Allowed(f"ports or ranges of them from 1 to {LARGEST_PORT}, separated by commas"),
]
Schemes = Annotated[
    CommaList, AfterValidator(_schemes), Allowed("https, http or both, separated by a comma")
]
Networks = Annotated[
    CommaList,
    AfterValidator(_networks),
    Allowed("networks such as 10.1.0.0/16 or fd00::/64, separated by commas"),
]
EgressProxy = Annotated[Proxy | None, BeforeValidator(_proxy), Allowed(FORM), HoldsSecret()]
