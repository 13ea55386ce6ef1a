"""No address that is not public can be reached, however it is written."""

from ipaddress import IPv4Address, IPv4Network, IPv6Address, ip_address, ip_network

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.egress import EgressPolicy
from webhook_worker.errors import BadUrlError
from webhook_worker.url import parse_url

POLICY = EgressPolicy()

NOT_PUBLIC = [
    *["0.0.0.0", "0.255.255.255"],
    *["10.0.0.0", "10.255.255.255"],
    *["100.64.0.0", "100.127.255.255", "100.100.100.200"],
    *["127.0.0.1", "127.255.255.255"],
    *["169.254.0.0", "169.254.169.254", "169.254.170.2", "169.254.255.255"],
    *["172.16.0.0", "172.31.255.255"],
    *["192.0.0.0", "192.0.0.8", "192.0.0.192", "192.0.0.255"],
    *["192.0.2.1", "198.51.100.1", "203.0.113.1"],
    *["192.31.196.1", "192.52.193.1", "192.175.48.1"],
    *["192.88.99.1", "192.168.0.0", "192.168.255.255"],
    *["198.18.0.0", "198.19.255.255"],
    *["224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255"],
    "168.63.129.16",
    *["::", "::1", "::2", "::7f00:1", "::127.0.0.1", "::8.8.8.8"],
    *["::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0.0.0.0"],
    *["::ffff:0:127.0.0.1", "::ffff:0:8.8.8.8"],
    *["64:ff9b::127.0.0.1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.0.0.1"],
    *["64:ff9b:1::", "64:ff9b:1::a9fe:a9fe", "64:ff9b:1:ffff:ffff:ffff:ffff:ffff"],
    *["64:ff9b:2::1", "100::1", "100:0:0:1::1"],
    *["2001::1", "2001:0:53aa:64c:0:7fff:3f57:fefe", "2001:2::1", "2001:3::1", "2001:4:112::1"],
    *["2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::", "2001:db8::1"],
    *["2002:a9fe:a9fe::1", "2002:7f00:1::", "2002:808:808::1"],
    *["2620:4f:8000::1", "3fff::1", "3fff:fff:ffff::1", "5f00::1"],
    *["fc00::1", "fd00:ec2::254", "fd20:ce::254", "fdff::1"],
    *["fe80::1", "fe80::1%eth0", "febf::1", "fec0::1", "feff::1", "ff02::1", "ff0e::1"],
    *["1::1", "4000::1", "9000::1", "e000::1"],
]  # fmt: skip
PUBLIC = [
    *["1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0"],
    *["126.255.255.255", "128.0.0.0", "169.253.255.255", "169.255.0.0"],
    *["172.15.255.255", "172.32.0.0", "192.0.1.0", "192.167.255.255", "192.169.0.0"],
    *["198.17.255.255", "198.20.0.0", "223.255.255.255"],
    *["2606:4700:4700::1111", "2a00:1450::1", "2001:200::1", "2001:4860:4860::8888", "2003::1"],
    *["3ffe::1", "::ffff:8.8.8.8", "64:ff9b::8.8.8.8"],
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_an_address_that_is_not_public_is_blocked(address: str) -> None:
    blocked = POLICY.check_address(ip_address(address))
    assert blocked is not None
    assert str(blocked).startswith(f"address {ip_address(address)} is ")


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_is_allowed(address: str) -> None:
    assert POLICY.check_address(ip_address(address)) is None


SPELLINGS_OF_LOOPBACK = [
    *["127.0.0.1", "127.1", "127.0.1", "2130706433", "0x7f000001", "0X7F000001", "0x7f.0.0.1"],
    *["0177.0.0.1", "0177.0.1", "017700000001", "127.0.0.1.", "0x7f.1", "127.000.000.001"],
    *["\uff11\uff12\uff17.0.0.1", "127\u30020\u30020\u30021", "\u2460\u2461\u2466.0.0.1"],
    "\uff11\uff12\uff17\uff0e\uff10\uff0e\uff10\uff0e\uff11",
    *["[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "[::FFFF:7F00:1]", "[::127.0.0.1]"],
    *["[0:0:0:0:0:ffff:7f00:1]", "[64:ff9b::7f00:1]", "[2002:7f00:1::]", "0", "0.0.0.0", "[::]"],
    *["%31%32%37.0.0.1", "127.0.0.1%00", "[fe80::1%25lo]", "[::1%lo]", "127.0.0.1:80:80"],
    *["example.com@127.0.0.1", "127.0.0.1#.example.com", "127.0.0.1\\.example.com"],
]  # fmt: skip


@pytest.mark.parametrize("host", SPELLINGS_OF_LOOPBACK)
def test_no_spelling_of_our_own_host_gets_through(host: str) -> None:
    try:
        url = parse_url(f"http://{host}/latest/meta-data")
    except BadUrlError:
        return
    assert POLICY.check_url(url) is not None


@given(st.integers(0, 2**32 - 1).map(IPv4Address))
def test_an_ipv4_address_is_judged_alike_in_its_ipv6_forms(address: IPv4Address) -> None:
    blocked = POLICY.check_address(address) is not None
    for prefix in ("::ffff:0:0", "64:ff9b::"):
        inside = IPv6Address(int(IPv6Address(prefix)) | int(address))
        assert (POLICY.check_address(inside) is not None) == blocked


@given(st.ip_addresses(v=6))
def test_only_global_unicast_is_ever_reached(address: IPv6Address) -> None:
    if POLICY.check_address(address) is None:
        global_unicast = address in ip_network("2000::/3")
        assert global_unicast or address.ipv4_mapped or address in ip_network("64:ff9b::/96")


@given(st.ip_addresses())
def test_what_the_standard_library_calls_private_is_blocked(
    address: IPv4Address | IPv6Address,
) -> None:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    if (mapped or address).is_private:
        assert POLICY.check_address(address) is not None


def test_a_listed_network_is_allowed_and_nothing_beside_it() -> None:
    policy = EgressPolicy(allow=(ip_network("10.1.0.0/16"), ip_network("fd00::/64")))
    assert policy.check_address(ip_address("10.1.255.255")) is None
    assert policy.check_address(ip_address("::ffff:10.1.2.3")) is None
    assert policy.check_address(ip_address("64:ff9b::10.1.2.3")) is None
    assert policy.check_address(ip_address("fd00::7")) is None
    assert policy.check_address(ip_address("10.2.0.0")) is not None
    assert policy.check_address(ip_address("fd00:0:0:1::")) is not None
    assert policy.check_address(ip_address("127.0.0.1")) is not None


def test_a_scope_does_not_hide_a_listed_address() -> None:
    policy = EgressPolicy(allow=(ip_network("fe80::/10"),))
    assert policy.check_address(ip_address("fe80::1%eth0")) is None


@pytest.mark.parametrize(("port", "allowed"), [(80, True), (443, True), (1024, True),
                                              (65535, True), (22, False), (81, False),
                                              (1023, False), (1, False)])  # fmt: skip
def test_ports_are_limited(port: int, allowed: bool) -> None:
    assert (POLICY.check_url(parse_url(f"http://example.com:{port}/")) is None) == allowed


def test_ports_are_limited_for_listed_networks_too() -> None:
    policy = EgressPolicy(allow=(IPv4Network("127.0.0.0/8"),), ports=(range(9000, 9001),))
    assert policy.check_url(parse_url("http://127.0.0.1:9000/")) is None
    blocked = policy.check_url(parse_url("http://127.0.0.1:22/"))
    assert str(blocked) == "port 22 is not allowed"


def test_schemes_are_limited() -> None:
    policy = EgressPolicy(schemes=frozenset({"https"}))
    assert policy.check_url(parse_url("https://example.com/")) is None
    blocked = policy.check_url(parse_url("http://example.com/"))
    assert str(blocked) == "scheme http is not allowed"


def test_a_name_is_left_to_be_judged_when_it_is_dialled() -> None:
    assert POLICY.check_url(parse_url("http://localhost/")) is None
