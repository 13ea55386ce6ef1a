"""Attempts through an egress proxy on loopback, well-behaved, refusing and hostile."""

import asyncio
import gc
import logging
import ssl
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import ip_address, ip_network

import pytest
import trustme
from hypothesis import given
from hypothesis import strategies as st
from receivers.proxies import CREDENTIALS, OPENED, Answer, egress, only_addresses
from receivers.scripted import (
    LOOPBACK,
    SHORT,
    Exchange,
    answering,
    plain,
    receiver,
    request_for,
)

from webhook_worker.attempt import Answered, Attempt, Failed
from webhook_worker.egress import Address, EgressPolicy
from webhook_worker.proxy import Proxy
from webhook_worker.request import USER_AGENT
from webhook_worker.sending import direct, tunnel
from webhook_worker.sending.answer import AnswerReader
from webhook_worker.sending.direct import Resolve
from webhook_worker.sending.errors import (
    ConnectError,
    EgressBlockedError,
    NameNotResolvedError,
    ProxyError,
    TransportError,
)
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender
from webhook_worker.tls import tls_context

CLOSED = EgressPolicy()
ACCEPTING = answering(plain("200 OK"))
URL = "http://hooks.example:8080/"
BROKEN = Failed("proxy", "the proxy broke the connection instead of answering", ours=True)
NOT_HTTP = Failed("proxy", "the proxy failed: the answer is not HTTP/1.1", ours=True)
SILENT = Failed("proxy", "the proxy has answered nothing in time", ours=True)


def sender(
    proxy: Proxy,
    policy: EgressPolicy = CLOSED,
    attempt_timeout: float = 10.0,
    tls: ssl.SSLContext | None = None,
    resolve: Resolve = only_addresses,
) -> Sender:
    limits = ConnectionLimits(most=100, most_idle=100)
    return Sender(policy, limits, attempt_timeout, tls=tls, resolve=resolve, proxy=proxy)


async def attempt_through(
    answer: Answer | bytes, url: str = URL, attempt_timeout: float = 10.0
) -> Attempt:
    async with egress(answer) as between, sender(between.address, CLOSED, attempt_timeout) as ours:
        return await ours.attempt(request_for(url))


async def test_an_http_endpoint_is_reached_through_a_tunnel_and_its_name_not_resolved() -> None:
    async with receiver(ACCEPTING) as target, egress() as between, sender(between.address) as ours:
        url = f"http://hooks.example:{target.port}/hook"
        assert await ours.attempt(request_for(url)) == Answered(200)
    host = b"hooks.example:%d" % target.port
    (asked,) = between.asked
    assert asked.split(b"\r\n") == [
        b"CONNECT %b HTTP/1.1" % host,
        b"host: " + host,
        b"user-agent: " + USER_AGENT.encode(),
        b"proxy-authorization: " + CREDENTIALS,
        b"",
        b"",
    ]
    (request,) = target.requests
    assert request == request_for(url).wire()
    assert b"proxy" not in request.lower()


async def test_without_credentials_none_are_sent() -> None:
    async with receiver(ACCEPTING) as target, egress() as between:
        anonymous = Proxy("127.0.0.1", between.port)
        async with sender(anonymous) as ours:
            request = request_for(f"http://hooks.example:{target.port}/")
            assert await ours.attempt(request) == Answered(200)
    assert b"authorization" not in between.asked[0].lower()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def serving(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.mark.parametrize(("name", "trusted"), [("hooks.example", True), ("proxy.example", False)])
async def test_tls_is_with_the_endpoint_and_for_its_name(
    authority: trustme.CA, name: str, trusted: bool
) -> None:
    trusting = tls_context()
    authority.configure_trust(trusting)
    async with (
        receiver(ACCEPTING, serving(authority, name)) as target,
        egress() as between,
        sender(between.address, tls=trusting) as ours,
    ):
        url = f"https://hooks.example:{target.port}/"
        found = [await ours.attempt(request_for(url)) for _ in range(3)]
    if trusted:
        assert found == [Answered(200)] * 3
        assert len(between.asked) == target.connections == 1
    else:
        assert {each.kind for each in found if isinstance(each, Failed)} == {"tls"}
        assert not target.requests


async def test_a_tunnel_is_kept_for_its_endpoint_and_for_no_other() -> None:
    async with receiver(ACCEPTING) as target, egress() as between, sender(between.address) as ours:
        for host in ("a.example", "b.example", "a.example", "b.example"):
            url = f"http://{host}:{target.port}/"
            assert await ours.attempt(request_for(url)) == Answered(200)
    assert between.hosts == ["a.example", "b.example"]
    assert target.connections == 2


async def test_a_kept_tunnel_that_is_stale_is_opened_anew() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.number == 2:
            exchange.reset()
        else:
            await exchange.answer(plain("200 OK"))

    async with receiver(script) as target, egress() as between, sender(between.address) as ours:
        request = request_for(f"http://hooks.example:{target.port}/")
        assert [await ours.attempt(request) for _ in range(2)] == [Answered(200)] * 2
    assert len(between.asked) == 2


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("http://127.0.0.1:8080/", "address 127.0.0.1 is loopback (127.0.0.0/8)"),
        ("http://2130706433:8080/", "address 127.0.0.1 is loopback (127.0.0.0/8)"),
        ("http://[::1]:8080/", "address ::1 is loopback (::1/128)"),
        ("https://10.1.2.3/", "address 10.1.2.3 is private (10.0.0.0/8)"),
        ("http://hooks.example:25/", "port 25 is not allowed"),
    ],
)
async def test_what_is_forbidden_is_not_asked_of_the_proxy_though_the_proxy_is_on_loopback(
    url: str, said: str
) -> None:
    async with egress() as between, sender(between.address) as ours:
        assert await ours.attempt(request_for(url)) == Failed("blocked", said)
    assert not between.asked


async def test_an_address_that_is_allowed_is_asked_for_in_its_brackets() -> None:
    async with egress(b"HTTP/1.1 403 No\r\n\r\n") as between:
        allowing = EgressPolicy(allow=(ip_network("::1/128"),))
        async with sender(between.address, allowing) as ours:
            await ours.attempt(request_for("http://[::1]:8080/"))
    assert between.hosts == ["[::1]"]


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("169.254.169.254", "is link-local, where metadata services are (169.254.0.0/16)"),
        ("0.0.0.0", "is this network (0.0.0.0/8)"),
        ("ff02::1", "is multicast (ff00::/8)"),
    ],
)
async def test_the_address_of_the_proxy_itself_is_checked(address: str, said: str) -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        assert host == "proxy.example"
        return [ip_address(address)]

    async with sender(Proxy("proxy.example", 3128), LOOPBACK, resolve=resolve) as ours:
        came_back = await ours.attempt(request_for(URL))
    detail = f"the proxy cannot be connected to: address {address} {said}"
    assert came_back == Failed("proxy", detail, ours=True)


async def test_a_proxy_without_an_address_is_a_fault_of_ours() -> None:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        raise NameNotResolvedError("the name has no address")

    async with sender(Proxy("proxy.example", 3128), resolve=resolve) as ours:
        came_back = await ours.attempt(request_for(URL))
    detail = "the proxy cannot be connected to: the name has no address"
    assert came_back == Failed("proxy", detail, ours=True)


async def test_a_proxy_that_is_not_there_is_a_fault_of_ours() -> None:
    async with egress() as between:
        gone = between.address
    async with sender(gone) as ours:
        came_back = await ours.attempt(request_for(URL))
    detail = "the proxy cannot be connected to: Connection refused"
    assert came_back == Failed("proxy", detail, ours=True)


async def test_a_proxy_that_takes_no_connection_is_given_up_before_the_attempts_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(direct, "_connect_to", lambda *_: asyncio.Event().wait())
    async with sender(Proxy("127.0.0.1", 3128), CLOSED, SHORT) as ours:
        came_back = await ours.attempt(request_for(URL))
    detail = "the proxy does not take a connection in time"
    assert came_back == Failed("proxy", detail, ours=True)


async def test_of_two_addresses_of_the_proxy_the_second_has_its_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = direct._connect_to

    async def silent_at_first(address: Address, port: int) -> object:
        if str(address) == "127.0.0.2":
            await asyncio.Event().wait()
        return await connect(address, port)

    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [ip_address("127.0.0.2"), ip_address("127.0.0.1")]

    monkeypatch.setattr(direct, "_connect_to", silent_at_first)
    async with receiver(ACCEPTING) as target, egress() as between:
        both = Proxy("proxy.example", between.port)
        async with sender(both, CLOSED, 3.0, resolve=resolve) as ours:
            request = request_for(f"http://hooks.example:{target.port}/")
            assert await ours.attempt(request) == Answered(200)


CHALLENGE = "Proxy-Authenticate: Basic realm=x\r\n"


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (403, "", Failed("blocked", "the proxy refuses to connect there: status 403")),
        (407, "", Failed("blocked", "the proxy refuses to connect there: status 407")),
        (
            407,
            CHALLENGE,
            Failed("proxy", "the proxy does not accept our credentials: status 407", ours=True),
        ),
        (502, "", Failed("connect", "the proxy could not connect: status 502")),
        (503, "", Failed("connect", "the proxy could not connect: status 503")),
        (504, "", Failed("connect", "the proxy could not connect: status 504")),
        (400, "", Failed("proxy", "the proxy opens no tunnel: status 400", ours=True)),
        (301, "", Failed("proxy", "the proxy opens no tunnel: status 301", ours=True)),
        (405, "", Failed("proxy", "the proxy opens no tunnel: status 405", ours=True)),
        (500, "", Failed("proxy", "the proxy opens no tunnel: status 500", ours=True)),
    ],
)
async def test_a_refusal_is_the_endpoints_matter_or_a_fault_of_ours(
    status: int, headers: str, expected: Failed
) -> None:
    raw = plain(f"{status} Said", b"<html>no</html>", headers)
    async with egress(raw) as between, sender(between.address) as ours:
        assert await ours.attempt(request_for(URL)) == expected
        await between.closed.acquire()


@given(
    status=st.integers(200, 999),
    names=st.lists(st.sampled_from([b"Proxy-Authenticate", b"Server", b"X-Squid-Error"])),
)
def test_every_answer_opens_a_tunnel_or_says_whose_the_fault_is(
    status: int, names: list[bytes]
) -> None:
    try:
        tunnel.expect_tunnel(status, [(name, b"x") for name in names])
    except EgressBlockedError:
        assert status in (403, 407)
    except ConnectError:
        assert status in (502, 503, 504)
    except ProxyError:
        assert not 200 <= status <= 299
        assert status not in (403, 502, 503, 504)
    else:
        assert 200 <= status <= 299


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\r\n",
        b"HTTP/2 200\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno header\r\n\r\n",
        b"\r\n" * 10 + b"\0",
    ],
)
async def test_garbage_from_the_proxy_is_a_fault_of_ours(raw: bytes) -> None:
    assert await attempt_through(raw) == NOT_HTTP


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
        b"HTTP/1.1 200 OK\r\n" + b"a:\r\n" * 50_000,
        b"HTTP/1.1 100 Continue\r\n\r\n" * 10_000,
    ],
)
async def test_a_head_without_an_end_is_read_to_a_bound_only(raw: bytes) -> None:
    detail = "the proxy failed: the answer's head has no end within 65536 bytes"
    assert await attempt_through(raw) == Failed("proxy", detail, ours=True)


@pytest.mark.parametrize("end", range(0, len(OPENED), 7))
async def test_a_proxy_that_closes_before_its_heads_end_is_a_fault_of_ours(end: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OPENED[:end])
        writer.write_eof()

    assert await attempt_through(answer) == BROKEN


async def test_a_proxy_that_resets_is_a_fault_of_ours() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.get_extra_info("socket").setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: RST
        writer.transport.abort()

    assert await attempt_through(answer) == BROKEN


async def test_a_tunnel_that_ends_at_once_is_a_reset() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OPENED)
        writer.write_eof()

    came_back = await attempt_through(answer)
    assert came_back == Failed("reset", "the connection was closed before the answer's end")


@pytest.mark.parametrize("began", [b"", b"HTTP/1.1 200 OK\r\nX: "])
async def test_a_proxy_that_answers_nobody_within_the_deadline_is_a_fault_of_ours(
    began: bytes,
) -> None:
    async with egress(began) as between, sender(between.address, CLOSED, SHORT) as ours:
        assert await ours.attempt(request_for(URL)) == SILENT
        await between.closed.acquire()


@pytest.mark.parametrize("kept", [False, True])
async def test_a_proxy_that_answers_others_is_waiting_for_the_endpoint(kept: bool) -> None:
    async with (
        receiver(ACCEPTING) as target,
        egress(silent_about="silent.example") as between,
        sender(between.address, CLOSED, 1.0) as ours,
    ):
        other = request_for(f"http://other.example:{target.port}/")
        if kept:
            assert await ours.attempt(other) == Answered(200)
            await between.arrivals.acquire()
        silent = asyncio.create_task(ours.attempt(request_for("http://silent.example:8080/")))
        await between.arrivals.acquire()
        assert await ours.attempt(other) == Answered(200)
        assert await silent == Failed("timeout", "no answer within 1 s")
    assert between.hosts.count("other.example") == 1


async def test_a_proxy_that_refuses_others_is_waiting_for_the_endpoint() -> None:
    refusing = egress(plain("503 No"), silent_about="silent.example")
    async with refusing as between, sender(between.address, CLOSED, 1.0) as ours:
        silent = asyncio.create_task(ours.attempt(request_for("http://silent.example:8080/")))
        await between.arrivals.acquire()
        refused = Failed("connect", "the proxy could not connect: status 503")
        assert await ours.attempt(request_for(URL)) == refused
        assert await silent == Failed("timeout", "no answer within 1 s")


async def test_an_endpoint_that_is_silent_behind_its_tunnel_is_not_taken_for_the_proxy() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(OPENED)

    came_back = await attempt_through(answer, "https://hooks.example/", SHORT)
    assert came_back == Failed("timeout", f"no answer within {SHORT} s")


@pytest.mark.parametrize("version", [b"HTTP/1.0 200 OK\n\n", b"HTTP/1.1 299 \r\n\r\n"])
async def test_other_spellings_of_yes_are_understood(version: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(version)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(plain("200 OK"))

    assert await attempt_through(answer) == Answered(200)


@pytest.mark.parametrize("headers", [b"Content-Length: 500\r\n", b"Transfer-Encoding: chunked\r\n"])
async def test_a_yes_has_no_body_and_what_follows_it_is_the_endpoints(headers: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n" + headers + b"\r\n" + plain("429 Busy", b"early"))

    assert await attempt_through(answer) == Answered(429, None, b"early")


@given(
    informational=st.lists(st.sampled_from([100, 102, 103]), max_size=2),
    end=st.sampled_from([b"\r\n", b"\n"]),
    headers=st.lists(st.sampled_from([b"a: b", b"Proxy-Agent: x", b"Content-Length: 3"])),
    follows=st.binary(max_size=40),
    cuts=st.lists(st.integers(0, 200)),
)
def test_no_byte_behind_the_head_is_taken(
    informational: list[int], end: bytes, headers: list[bytes], follows: bytes, cuts: list[int]
) -> None:
    lines = [b"HTTP/1.1 %d Wait" % status + end + end for status in informational]
    # Two lengths would be an error of the proxy.
    lines += [line + end for line in (b"HTTP/1.1 200 OK", *dict.fromkeys(headers), b"")]
    head = b"".join(lines)
    raw = head + follows
    reader, taken = AnswerReader(), 0
    for cut in sorted({min(cut, len(raw)) for cut in cuts} | {len(raw)}):
        if not reader.status:
            taken += tunnel._feed_head(reader, raw[taken:cut])
    assert (reader.status, taken) == (200, len(head))
    reader.release()


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_refused_in_our_words(raw: bytes) -> None:
    reader = AnswerReader()
    with suppress(ProxyError):
        assert tunnel._feed_head(reader, raw) <= len(raw)
    reader.release()


@pytest.mark.parametrize("raw", [b"garbage", plain("407 No", b"", CHALLENGE), plain("503 No"), b""])
async def test_a_refusal_leaves_nothing_that_waits_for_the_garbage_collector(raw: bytes) -> None:
    async with egress(raw) as between, sender(between.address, CLOSED, SHORT) as ours:
        request = request_for(URL)
        await ours.attempt(request)
        await between.closed.acquire()
        gc.collect()
        gc.disable()
        try:
            await ours.attempt(request)
            await between.closed.acquire()
            assert not [each for each in gc.get_objects() if isinstance(each, AnswerReader)]
            assert not [each for each in gc.get_objects() if isinstance(each, TransportError)]
        finally:
            gc.enable()


async def test_the_credentials_show_up_nowhere(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        async with egress(plain("407 No", b"", CHALLENGE)) as between:
            async with sender(between.address) as ours:
                came_back = await ours.attempt(request_for(URL))
            shown = f"{between.address} {between.address!r} {came_back} {caplog.text}"
    for hidden in ("hunter2", "dXNlcjpodW50ZXIy", "user"):
        assert hidden not in shown
