"""Decides whether the worker may connect somewhere, so that no URL reaches what is ours (SSRF)."""

from dataclasses import dataclass, replace
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
)

from webhook_worker.errors import BlockedError
from webhook_worker.url import DEFAULT_PORTS, Url

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

# An explicit list, since ``is_private`` and ``is_global`` of the standard library leave out several
# of these and change between versions. Sources: IANA's special-purpose address registries for IPv4
# and IPv6, RFC 5771 (multicast), RFC 4291; the last of IPv4 is Azure's, in public address space.
_IPV4_DENIED = (
    ("0.0.0.0/8", "this network"),
    ("10.0.0.0/8", "private"),
    ("100.64.0.0/10", "shared behind a carrier's NAT"),
    ("127.0.0.0/8", "loopback"),
    ("169.254.0.0/16", "link-local, where metadata services are"),
    ("172.16.0.0/12", "private"),
    ("192.0.0.0/24", "for protocols only"),
    ("192.0.2.0/24", "for documentation"),
    ("192.31.196.0/24", "for AS112 only"),
    ("192.52.193.0/24", "for AMT relays only"),
    ("192.88.99.0/24", "a 6to4 relay"),
    ("192.168.0.0/16", "private"),
    ("192.175.48.0/24", "for AS112 only"),
    ("198.18.0.0/15", "for benchmarks"),
    ("198.51.100.0/24", "for documentation"),
    ("203.0.113.0/24", "for documentation"),
    ("224.0.0.0/4", "multicast"),
    ("240.0.0.0/4", "reserved or broadcast"),
    ("168.63.129.16/32", "a metadata service"),
)
_IPV6_DENIED = (
    ("::/128", "unspecified"),
    ("::1/128", "loopback"),
    ("::/96", "an IPv4-compatible form"),
    ("::ffff:0:0:0/96", "an IPv4-translated form"),
    ("64:ff9b:1::/48", "a NAT64 of a private network"),
    ("100::/64", "discarded"),
    ("100:0:0:1::/64", "a dummy"),
    ("2001::/32", "a Teredo tunnel"),
    ("2001::/23", "for protocols only"),
    ("2001:db8::/32", "for documentation"),
    ("2002::/16", "a 6to4 tunnel"),
    ("2620:4f:8000::/48", "for AS112 only"),
    ("3fff::/20", "for documentation"),
    ("5f00::/16", "for segment routing"),
    ("fc00::/7", "private"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("ff00::/8", "multicast"),
    ("::/3", "not global unicast"),
    ("4000::/2", "not global unicast"),
    ("8000::/1", "not global unicast"),
)
_DENIED: dict[int, tuple[tuple[Network, str], ...]] = {
    4: tuple((IPv4Network(network), what) for network, what in _IPV4_DENIED),
    6: tuple((IPv6Network(network), what) for network, what in _IPV6_DENIED),
}
# Where the operator's own machines are. Link-local, where metadata services are, is not among them.
_OPERATORS: tuple[Network, ...] = (
    *map(IPv4Network, ("10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8")),
    *map(IPv4Network, ("172.16.0.0/12", "192.168.0.0/16")),
    *map(IPv6Network, ("::1/128", "fc00::/7")),
)
# An address in these is a way of writing the IPv4 address in its last 32 bits.
_IPV4_INSIDE = (IPv6Network("::ffff:0:0/96"), IPv6Network("64:ff9b::/96"))


@dataclass(frozen=True, slots=True, kw_only=True)
class EgressPolicy:
    """Where the worker may connect to.

    ``allow`` wins over the list of denied networks, and over nothing else. An IPv4 address in an
    IPv6 form (IPv4-mapped, or NAT64's 64:ff9b::/96) is judged as the IPv4 address, so allowing
    127.0.0.0/8 allows ::ffff:127.0.0.1 too.
    """

    allow: tuple[Network, ...] = ()
    ports: tuple[range, ...] = (range(80, 81), range(443, 444), range(1024, 65536))
    schemes: frozenset[str] = frozenset(DEFAULT_PORTS)

    def check_url(self, url: Url) -> BlockedError | None:
        """Why scheme, port or a host that is an address are not allowed; None if they are.

        A name is judged when it is dialled, by check_address.
        """
        blocked = self.check_service(url.scheme, url.port)
        if blocked is not None or url.address is None:
            return blocked
        return self.check_address(url.address)

    def check_service(self, scheme: str, port: int) -> BlockedError | None:
        """Why the scheme or the port is not allowed; None if both are."""
        if scheme not in self.schemes:
            return BlockedError(f"scheme {scheme} is not allowed")
        if not any(port in ports for ports in self.ports):
            return BlockedError(f"port {port} is not allowed")
        return None

    def check_address(self, address: Address) -> BlockedError | None:
        """Why the address, the very one that is dialled, is not allowed; None if it is."""
        judged = _unwrap(address)
        if any(judged in network for network in self.allow):
            return None
        for network, what in _DENIED[judged.version]:
            if judged in network:
                return BlockedError(f"address {address} is {what} ({network})")
        return None

    def for_proxy(self) -> "EgressPolicy":
        """The same for the address of the operator's own proxy, which may be private or loopback.

        That allows no URL anything: what ``allow`` says of endpoints stays as it is.
        """
        return replace(self, allow=(*self.allow, *_OPERATORS))


def _unwrap(address: Address) -> Address:
    if isinstance(address, IPv6Address):
        # A scope id (fe80::1%eth0) would make it unequal to the same address without one.
        address = IPv6Address(int(address))
        if any(address in network for network in _IPV4_INSIDE):
            return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address


def plain_network(network: Network) -> Network:
    """The network as addresses are compared with it: IPv4 if that is all that it can hold."""
    if isinstance(network, IPv6Network) and any(map(network.subnet_of, _IPV4_INSIDE)):
        first = int(network.network_address) & 0xFFFF_FFFF
        return IPv4Network((first, network.prefixlen - 96))
    return network
