"""Resolving, checking, dialling and TLS, against servers on loopback and scripted resolvers."""

import asyncio
import errno
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest
import trustme
from receivers.scripted import listening, request_for

from webhook_worker.attempt import Answered, Attempt, Failed
from webhook_worker.egress import Address, EgressPolicy
from webhook_worker.sending import dialer as dialer_module
from webhook_worker.sending import direct as direct_module
from webhook_worker.sending.direct import Resolve
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender
from webhook_worker.tls import tls_context

OPEN = EgressPolicy(allow=(ip_network("127.0.0.0/8"),))
ONLY_ONE = EgressPolicy(allow=(ip_network("127.0.0.1/32"),))
CLOSED = EgressPolicy()


@asynccontextmanager
async def server(tls: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[str]]]:
    """Answers 200 to everything; yields its port and the Host header of each request."""
    hosts: list[str] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        hosts.append(head.decode().lower().split("host: ")[1].split("\r\n")[0])
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        await reader.read()

    async with listening(serve, tls) as port:
        yield port, hosts


def resolving_to(*texts: str) -> Resolve:
    async def resolve(host: str, port: int) -> Sequence[Address]:
        return [ip_address(text) for text in texts]

    return resolve


async def attempt(
    url: str,
    policy: EgressPolicy = OPEN,
    resolve: Resolve | None = None,
    tls: ssl.SSLContext | None = None,
    attempt_timeout: float = 10.0,
) -> Attempt:
    sender = Sender(policy, ConnectionLimits(), attempt_timeout, tls=tls, resolve=resolve)
    async with sender:
        return await sender.attempt(request_for(url))


async def test_a_name_is_dialled_at_its_address_and_stays_the_host() -> None:
    async with server() as (port, hosts):
        url = f"http://hooks.example:{port}/"
        assert await attempt(url, resolve=resolving_to("127.0.0.1")) == Answered(200)
    assert hosts == [f"hooks.example:{port}"]


async def test_loopback_is_blocked_unless_it_is_allowed() -> None:
    async with server() as (port, hosts):
        came_back = await attempt(f"http://127.0.0.1:{port}/", CLOSED)
        assert came_back == Failed("blocked", "address 127.0.0.1 is loopback (127.0.0.0/8)")
        assert await attempt(f"http://127.0.0.1:{port}/", OPEN) == Answered(200)
    assert len(hosts) == 1


async def test_a_name_that_resolves_to_a_blocked_address_is_blocked() -> None:
    async with server() as (port, hosts):
        url = f"http://rebinding.example:{port}/"
        came_back = await attempt(url, CLOSED, resolving_to("127.0.0.1", "169.254.169.254"))
    assert came_back == Failed(
        "blocked",
        "address 127.0.0.1 is loopback (127.0.0.0/8); address 169.254.169.254 is link-local, "
        "where metadata services are (169.254.0.0/16)",
    )
    assert not hosts


async def test_a_name_is_judged_anew_for_every_connection() -> None:
    answers = iter([["127.0.0.1"], ["169.254.169.254"]])

    async def rebinding(host: str, port: int) -> Sequence[Address]:
        return [ip_address(text) for text in next(answers)]

    async with server() as (port, _):
        url = f"http://rebinding.example:{port}/"
        assert await attempt(url, resolve=rebinding) == Answered(200)
        came_back = await attempt(url, resolve=rebinding)
    assert isinstance(came_back, Failed)
    assert came_back.kind == "blocked"


async def test_of_mixed_addresses_only_the_allowed_ones_are_dialled() -> None:
    async with server() as (port, _):
        mixed = resolving_to("10.0.0.1", "127.0.0.1", "::1")
        assert await attempt(f"http://a.example:{port}/", ONLY_ONE, mixed) == Answered(200)


async def test_an_address_that_refuses_is_left_for_the_next_one() -> None:
    async with server() as (port, _):
        both = resolving_to("127.0.0.2", "127.0.0.1")
        assert await attempt(f"http://a.example:{port}/", OPEN, both) == Answered(200)


async def test_an_address_that_does_not_answer_is_left_for_the_next_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    connect = direct_module._connect_to

    async def silent_at_first(address: Address, port: int) -> socket.socket:
        if str(address) == "127.0.0.2":
            await asyncio.Event().wait()
        return await connect(address, port)

    monkeypatch.setattr(direct_module, "_connect_to", silent_at_first)
    async with server() as (port, _):
        both = resolving_to("127.0.0.2", "127.0.0.1")
        url = f"http://a.example:{port}/"
        assert await attempt(url, OPEN, both, attempt_timeout=0.9) == Answered(200)


async def test_no_sockets_left_is_our_own_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> socket.socket:
        raise OSError(errno.EMFILE, "too many")

    monkeypatch.setattr(direct_module, "_new_socket", refuse)
    came_back = await attempt("http://127.0.0.1:8080/")
    assert came_back == Failed("internal", "Too many open files", ours=True)


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (socket.EAI_NONAME, Failed("dns", "the name has no address")),
        (socket.EAI_AGAIN, Failed("dns", "our resolver gave no answer for the name", ours=True)),
    ],
)
async def test_what_the_resolver_says_is_told(
    monkeypatch: pytest.MonkeyPatch, code: int, expected: Failed
) -> None:
    def getaddrinfo(*_: object, **__: object) -> object:
        raise socket.gaierror(code, "said by the resolver")

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    assert await attempt("http://missing.example:8080/") == expected


async def test_a_resolver_without_a_free_thread_is_our_own_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: ended.wait(30) and [])
    monkeypatch.setattr(dialer_module, "MOST_LOOKUPS", 1)
    sender = Sender(OPEN, ConnectionLimits(), 0.6)
    async with sender:
        requests = [request_for(f"http://{name}.example/") for name in ("hanging", "next")]
        hanging, waiting = await asyncio.gather(*map(sender.attempt, requests))
    ended.set()
    assert hanging == Failed("timeout", "no answer within 0.6 s")
    assert waiting == Failed("dns", "all 1 threads of our resolver are busy", ours=True)


async def test_a_resolver_that_hangs_is_under_the_deadline() -> None:
    async def hanging(host: str, port: int) -> Sequence[Address]:
        await asyncio.Event().wait()
        return []

    came_back = await attempt("http://a.example/", resolve=hanging, attempt_timeout=0.1)
    assert came_back == Failed("timeout", "no answer within 0.1 s")


@pytest.mark.parametrize("port", [22, 25, 6])
async def test_a_port_outside_the_policy_is_blocked(port: int) -> None:
    came_back = await attempt(f"http://a.example:{port}/", resolve=resolving_to("127.0.0.1"))
    assert came_back == Failed("blocked", f"port {port} is not allowed")


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = tls_context()
    authority.configure_trust(context)
    return context


def serving(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    return context


async def test_a_trusted_certificate_of_that_name_is_accepted(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with server(serving(authority, "hooks.example")) as (port, hosts):
        url = f"https://hooks.example:{port}/"
        assert await attempt(url, OPEN, resolving_to("127.0.0.1"), trusting) == Answered(200)
    assert hosts == [f"hooks.example:{port}"]


async def test_the_host_as_named_is_sent_as_sni(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    asked: list[str | None] = []
    context = serving(authority, "hooks.example")
    context.sni_callback = lambda _socket, name, _context: asked.append(name)
    async with server(context) as (port, _):
        url = f"https://hooks.example:{port}/"
        await attempt(url, OPEN, resolving_to("127.0.0.1"), trusting)
    assert asked == ["hooks.example"]


async def test_a_certificate_of_another_name_is_refused(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    async with server(serving(authority, "other.example")) as (port, hosts):
        url = f"https://hooks.example:{port}/"
        came_back = await attempt(url, OPEN, resolving_to("127.0.0.1"), trusting)
    assert isinstance(came_back, Failed)
    assert came_back.kind == "tls"
    assert came_back.detail.startswith("the certificate is refused: Hostname mismatch")
    assert not hosts


async def test_a_certificate_of_an_unknown_authority_is_refused(authority: trustme.CA) -> None:
    async with server(serving(authority, "127.0.0.1")) as (port, hosts):
        came_back = await attempt(f"https://127.0.0.1:{port}/")
    assert came_back == Failed(
        "tls", "the certificate is refused: unable to get local issuer certificate"
    )
    assert not hosts


async def test_authorities_from_a_file_are_trusted_on_top_of_the_systems(
    authority: trustme.CA, tmp_path: Path
) -> None:
    file = tmp_path / "authorities.pem"
    authority.cert_pem.write_to_path(str(file))
    context = tls_context(file)
    async with server(serving(authority, "127.0.0.1")) as (port, _):
        assert await attempt(f"https://127.0.0.1:{port}/", tls=context) == Answered(200)
    assert len(context.get_ca_certs()) == len(tls_context().get_ca_certs()) + 1


async def test_a_certificate_that_has_expired_is_refused(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert("127.0.0.1", not_after=yesterday).configure_cert(context)
    async with server(context) as (port, hosts):
        came_back = await attempt(f"https://127.0.0.1:{port}/", tls=trusting)
    assert came_back == Failed("tls", "the certificate is refused: certificate has expired")
    assert not hosts


async def test_a_server_without_tls_is_a_tls_failure() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with listening(serve) as port:
        came_back = await attempt(f"https://127.0.0.1:{port}/")
    assert came_back == Failed("tls", "the handshake failed: wrong version number")


async def test_a_handshake_that_hangs_is_under_the_deadline() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with listening(serve) as port:
        came_back = await attempt(f"https://127.0.0.1:{port}/", attempt_timeout=0.2)
    assert came_back == Failed("timeout", "no answer within 0.2 s")


async def test_a_handshake_that_is_broken_off_is_a_tls_failure() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.transport.abort()

    async with listening(serve) as port:
        came_back = await attempt(f"https://127.0.0.1:{port}/")
    assert came_back == Failed("tls", "the connection was closed during the handshake")
