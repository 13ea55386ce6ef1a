"""Those that are measured: each sends one POST of the same body to the n-th host, and waits."""

import asyncio
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from ipaddress import ip_network
from itertools import chain
from typing import cast

import aiohttp
import httpx
from aiohttp import TCPConnector

from benchmarks.delivery.sink import Sink
from webhook_worker.egress import EgressPolicy
from webhook_worker.endpoint import Endpoint
from webhook_worker.request import build
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender
from webhook_worker.signing import Secret
from webhook_worker.tls import tls_context
from webhook_worker.url import parse_url

BODY = b"x" * 1024
TIMEOUT_SECONDS = 15.0
PATIENCE_SECONDS = 600.0
HEADERS = {
    "content-type": "application/json",
    "user-agent": "benchmark",
    "accept-encoding": "identity",
    "webhook-id": "evt_1",
    "webhook-timestamp": "1614265330",
    "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
}
Post = Callable[[int], Awaitable[int]]
"""From the number of a host to the status."""


def _trusting(sink: Sink) -> ssl.SSLContext:
    context = tls_context()
    if sink.authority is not None:
        context.load_verify_locations(sink.authority)
    return context


@asynccontextmanager
async def ours(sink: Sink, hosts: int) -> AsyncIterator[Post]:
    """The whole attempt: the request built and signed, URL and address checked, sent, read."""
    policy = EgressPolicy(allow=(ip_network("127.0.0.0/8"),))
    secrets = (Secret(b"0123456789abcdefghijklmn"),)
    endpoints = [
        Endpoint(id=f"e{n}", customer_id="c", url=parse_url(sink.url(n)), secrets=secrets)
        for n in range(hosts)
    ]
    limits = ConnectionLimits(most=4000, most_idle=4000)
    async with Sender(policy, limits, TIMEOUT_SECONDS, tls=_trusting(sink)) as sender:

        async def post(host: int) -> int:
            attempt = await sender.attempt(build(BODY, "evt_1", endpoints[host], time.time()))
            return getattr(attempt, "status", 0)

        yield post


@asynccontextmanager
async def of_aiohttp(sink: Sink, hosts: int) -> AsyncIterator[Post]:
    """aiohttp as a careful user writes it: one session, one total timeout, nothing signed."""
    connector = TCPConnector(limit=0, ssl=_trusting(sink), keepalive_timeout=30)
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    urls = [sink.url(n) for n in range(hosts)]
    async with aiohttp.ClientSession(connector=connector, timeout=timeout) as session:

        async def post(host: int) -> int:
            async with session.post(
                urls[host], data=BODY, headers=HEADERS, allow_redirects=False
            ) as answer:
                await answer.read()
                return answer.status

        yield post


@asynccontextmanager
async def of_httpx(sink: Sink, hosts: int) -> AsyncIterator[Post]:
    """httpx as anyone writes it: one client with room for all connections, nothing signed.

    It has more time than the others, and tries again when it has handed out a connection that it
    was closing: it would fail before it is through.
    """
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    urls = [sink.url(n) for n in range(hosts)]
    async with httpx.AsyncClient(
        limits=limits, timeout=PATIENCE_SECONDS, verify=_trusting(sink), trust_env=False
    ) as client:

        async def post(host: int) -> int:
            while True:
                with suppress(httpx.ReadError):
                    answer = await client.post(urls[host], content=BODY, headers=HEADERS)
                    return answer.status_code

        yield post


@asynccontextmanager
async def floor(sink: Sink, hosts: int) -> AsyncIterator[Post]:
    """What asyncio itself takes: bytes made before, written; whatever comes is the answer."""
    loop = asyncio.get_running_loop()
    head = "".join(f"{name}: {value}\r\n" for name, value in HEADERS.items())
    idle: list[list[_Bare]] = [[] for _ in range(hosts)]
    tls = _trusting(sink) if sink.authority else None

    async def post(host: int) -> int:
        where = sink.url(host).split("/")[2].split(":")[0]
        if idle[host]:
            bare = idle[host].pop()
        else:
            _, bare = await loop.create_connection(_Bare, where, sink.port, ssl=tls)
        bare.answered = loop.create_future()
        bare.transport.write(requests[host])
        await bare.answered
        idle[host].append(bare)
        return 200

    requests = [
        f"POST /hook HTTP/1.1\r\nhost: {sink.url(n).split('/')[2]}\r\n{head}"
        f"content-length: {len(BODY)}\r\n\r\n".encode()
        + BODY
        for n in range(hosts)
    ]
    try:
        yield post
    finally:
        for bare in chain.from_iterable(idle):
            bare.transport.abort()


class _Bare(asyncio.Protocol):
    answered: asyncio.Future[None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:  # noqa: ARG002
        self.answered.set_result(None)


CLIENTS = {"floor": floor, "ours": ours, "aiohttp": of_aiohttp, "httpx": of_httpx}
