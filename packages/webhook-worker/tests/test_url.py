"""URLs are read strictly and given back in one spelling."""

import socket
from ipaddress import IPv4Address, IPv6Address

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webhook_worker.errors import BadUrlError
from webhook_worker.url import parse_ipv4, parse_url


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://example.com", "https://example.com/"),
        ("HTTPS://Example.COM/Hook", "https://example.com/Hook"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("http://example.com:443/a", "http://example.com:443/a"),
        ("http://example.com:08080", "http://example.com:8080/"),
        ("https://example.com.", "https://example.com/"),
        ("https://example.com?a=b", "https://example.com/?a=b"),
        (
            "https://example.com/a%20b/%C3%A9?x=%2F&y[]=1",
            "https://example.com/a%20b/%C3%A9?x=%2F&y[]=1",
        ),
        ("https://example.com/é?ü", "https://example.com/%C3%A9?%C3%BC"),
        ('https://example.com/{a}|"<>', "https://example.com/%7Ba%7D%7C%22%3C%3E"),
        ("https://example.com/@user:x", "https://example.com/@user:x"),
        ("https://bücher.example/", "https://xn--bcher-kva.example/"),
        ("https://BÜCHER.example/", "https://xn--bcher-kva.example/"),
        ("https://\uff45\uff58\uff41\uff4d\uff50\uff4c\uff45.com/", "https://example.com/"),
        ("https://my_service.internal/", "https://my_service.internal/"),
        ("http://localhost:9000/hook", "http://localhost:9000/hook"),
        ("http://192.0.2.1/", "http://192.0.2.1/"),
        ("http://[2001:DB8::1]:8080/x", "http://[2001:db8::1]:8080/x"),
        ("http://2130706433/", "http://127.0.0.1/"),
    ],
)
def test_a_url_has_one_spelling(text: str, normal: str) -> None:
    url = parse_url(text)
    assert str(url) == normal
    assert parse_url(str(url)) == url


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "absolute"),
        ("/hook", "absolute"),
        ("//example.com/hook", "absolute"),
        ("example.com/hook", "absolute"),
        ("https:/example.com", "absolute"),
        ("ftp://example.com/", "https:// or http://"),
        ("file:///etc/passwd", "https:// or http://"),
        ("gopher://example.com/", "https:// or http://"),
        ("https://", "host"),
        ("https:///hook", "host"),
        ("https://:443/", "host"),
        ("https://?x", "host"),
        ("https://user@example.com/", "user name"),
        ("https://user:pass@example.com/", "user name"),
        ("https://@example.com/", "user name"),
        ("https://example.com/#top", "fragment"),
        ("https://evil.example#@example.com/", "fragment"),
        ("https://example.com/a b", "white space"),
        (" https://example.com/", "white space"),
        ("https://example.com/\n", "white space"),
        ("https://exa\tmple.com/", "white space"),
        ("https://example.com/\x00", "white space"),
        ("https://example.com/\x7f", "white space"),
        ("https://example.com/\ud800", "white space"),
        ("https://example.com\\@evil.example/", "backslash"),
        ("https://example.com:/", "port"),
        ("https://example.com:0/", "port"),
        ("https://example.com:65536/", "port"),
        ("https://example.com:port/", "port"),
        ("https://example.com:80:80/", "port"),
        ("https://example.com:-1/", "port"),
        ("https://127.0.0.1%2f.example/", "host"),
        ("https://%31%32%37.0.0.1/", "host"),
        ("https://[fe80::1%25eth0]/", "host"),
        ("https://[::1/", "host"),
        ("https://::1/", "host"),
        ("https://[example.com]/", "IPv6"),
        ("https://[::1]x/", "host"),
        ("https://[127.0.0.1]/", "IPv6"),
        ("https://[]/", "IPv6"),
        ("https://./", "DNS"),
        ("https://a..b/", "DNS"),
        ("https://.example.com/", "DNS"),
        ("https://-a.example/", "DNS"),
        ("https://exa$mple.com/", "DNS"),
        ("https://a,b/", "DNS"),
        ("https://" + "a" * 64 + ".example/", "DNS"),
        ("https://" + "a." * 126 + "example/", "longer than 253"),
        ("https://" + "é" * 80 + "/", "DNS"),
        ("https://example\uff0fevil/", "DNS"),
        ("https://user\uff20example.com/", "DNS"),
        ("https://straße.example/", "xn--"),
        ("https://256.0.0.1/", "looks like an IPv4"),
        ("https://1.2.3.4.5/", "looks like an IPv4"),
        ("https://08.0.0.1/", "looks like an IPv4"),
        ("https://example.123/", "looks like an IPv4"),
        ("https://0x/", "looks like an IPv4"),
        ("https://0x1_0.0.0.1/", "looks like an IPv4"),
        ("https://4294967296/", "looks like an IPv4"),
        ("https://" + "1" * 63 + "/", "looks like an IPv4"),
        ("https://example.com/" + "x" * 2048, "longer than 2048"),
    ],
)
def test_what_is_no_url_to_send_to_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(BadUrlError, match=sentence):
        parse_url(text)


@given(
    st.text() | st.text().map("https://".__add__) | st.text(".:/@[]0x7%-").map("http://".__add__)
)
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = parse_url(text)
    except BadUrlError:
        return
    assert str(url).isascii()
    assert parse_url(str(url)) == url


_parts = st.sampled_from(
    [
        *["0", "1", "7", "127", "0177", "0x7f", "0X7F", "255", "256", "65535", "65536", "08"],
        *["0x", "0x0000000000007f", "16777215", "16777216", "4294967295", "4294967296"],
        *["00000000000000000017", "a", "1_0", ""],
    ]
)


@given(st.lists(_parts, min_size=1, max_size=5).map(".".join))
@example("127.1")
def test_an_ipv4_literal_is_what_the_system_reads(text: str) -> None:
    try:
        theirs = IPv4Address(socket.inet_aton(text))
    except OSError:
        theirs = None
    assert parse_ipv4(text) == theirs


def test_a_host_that_is_an_address_is_known_as_one() -> None:
    assert parse_url("http://0x7f.1/").address == IPv4Address("127.0.0.1")
    assert parse_url("http://[::1]/").address == IPv6Address("::1")
    assert parse_url("http://example.com/").address is None


def test_repr_leaves_out_path_and_query() -> None:
    assert repr(parse_url("https://example.com/tok3n?key=tok3n")) == "Url(https://example.com/...)"
