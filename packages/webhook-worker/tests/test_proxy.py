"""The URL of the egress proxy: what it may be, and that its credentials show nowhere."""

from base64 import b64decode
from ipaddress import ip_address
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.egress import EgressPolicy
from webhook_worker.errors import BadUrlError
from webhook_worker.proxy import Proxy, parse_proxy


@pytest.mark.parametrize(
    ("text", "proxy", "shown"),
    [
        ("http://squid:3128", Proxy("squid", 3128), "http://squid:3128"),
        ("HTTP://Squid.Example:80/", Proxy("squid.example", 80), "http://squid.example:80"),
        ("http://10.1.2.3:1", Proxy("10.1.2.3", 1, ip_address("10.1.2.3")), "http://10.1.2.3:1"),
        ("http://[FD00::1]:9", Proxy("fd00::1", 9, ip_address("fd00::1")), "http://[fd00::1]:9"),
        (
            "http://user:hunter2@squid:3128",
            Proxy("squid", 3128, None, b"Basic dXNlcjpodW50ZXIy"),
            "http://******@squid:3128",
        ),
        (
            "http://token@squid:3128",
            Proxy("squid", 3128, None, b"Basic dG9rZW46"),
            "http://******@squid:3128",
        ),
    ],
)
def test_a_proxy_is_read_and_shown_without_its_credentials(
    text: str, proxy: Proxy, shown: str
) -> None:
    assert parse_proxy(text) == proxy
    assert str(parse_proxy(text)) == shown


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("https://squid:3128", "neither TLS to the proxy nor SOCKS is spoken"),
        ("socks5://squid:1080", "neither TLS to the proxy nor SOCKS is spoken"),
        ("squid:3128", "neither TLS to the proxy nor SOCKS is spoken"),
        ("http://", "has no port"),
        ("http://squid", "has no port"),
        ("http://:3128", "has no port"),
        ("http://user:hunter2@squid", "has no port"),
        ("http://[::1]", "has no port"),
        ("http://squid:0", "a port of 1 to 65535"),
        ("http://squid:70000", "a port of 1 to 65535"),
        ("http://squid:3128/path", "has a path"),
        ("http://squid:3128?x", "has a path"),
        ("http://user:hun@ter2@squid:3128", "write that as %40"),
        ("http://user:hun/ter2@squid:3128", "write that as %40"),
        ("http://user:hun%ter2@squid:3128", "write it as %25"),
        ("http://:hunter2@squid:3128", "has no user before the @"),
        ("http://a%3Ab:hunter2@squid:3128", "or one with a colon"),
        ("http://user:a%0d%0ab@squid:3128", "has a control character"),
        ("http://us\x07er:x@squid:3128", "has a control character"),
        ("http://user:\udcff@squid:3128", "that is no text"),
        ("http://squ id:3128", "holds white space"),
        ("http://squid_%41:3128", "must have a plain host"),
        ("http://1.2.3.4.5:3128", "looks like an IPv4 address and is none"),
        ("http://user:" + "x" * 3000 + "@squid:3128", "is longer than 2048 characters"),
    ],
)
def test_what_is_none_is_refused_with_a_reason_that_shows_nothing_of_it(
    text: str, said: str
) -> None:
    with pytest.raises(BadUrlError) as caught:
        parse_proxy(text)
    assert said in str(caught.value)
    assert "squid" not in str(caught.value)
    assert "ter2" not in str(caught.value)


@given(
    # Each may take twelve characters of a URL, of which 2048 are allowed.
    st.text(
        st.characters(exclude_categories=["C"], exclude_characters=":"), min_size=1, max_size=80
    ),
    st.text(st.characters(exclude_categories=["C"]), max_size=80),
)
def test_credentials_are_sent_as_they_are_meant(user: str, password: str) -> None:
    text = f"http://{quote(user, safe='')}:{quote(password, safe='')}@squid:3128"
    proxy = parse_proxy(text)
    assert proxy.authorization is not None
    scheme, _, encoded = proxy.authorization.partition(b" ")
    assert (scheme, b64decode(encoded).decode()) == (b"Basic", f"{user}:{password}")
    assert repr(proxy) == "Proxy(host='squid', port=3128, address=None)"
    assert str(proxy) == "http://******@squid:3128"


@given(st.text(max_size=60))
def test_whatever_the_text_is_it_is_a_proxy_or_refused(text: str) -> None:
    for each in (text, f"http://{text}", f"http://u:{text}@squid:3128"):
        try:
            proxy = parse_proxy(each)
        except BadUrlError:
            continue
        assert 1 <= proxy.port <= 65535
        assert b"\r" not in (proxy.authorization or b"")
        assert b"\n" not in (proxy.authorization or b"")


@pytest.mark.parametrize(
    ("address", "allowed"),
    [
        ("10.0.0.1", True),
        ("172.31.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("127.0.0.1", True),
        ("::1", True),
        ("fd00::1", True),
        ("::ffff:10.0.0.1", True),
        ("93.184.216.34", True),
        ("169.254.169.254", False),
        ("168.63.129.16", False),
        ("fe80::1", False),
        ("0.0.0.0", False),
        ("224.0.0.1", False),
    ],
)
def test_the_operators_proxy_may_be_private_and_endpoints_gain_nothing_by_it(
    address: str, allowed: bool
) -> None:
    policy = EgressPolicy()
    assert (policy.for_proxy().check_address(ip_address(address)) is None) == allowed
    assert (policy.check_address(ip_address(address)) is None) == (address == "93.184.216.34")
