"""Exchanges over TLS, with receivers that keep to it and others."""

import asyncio
import gc
import ssl
from typing import Any

import pytest
import trustme
from receivers.scripted import (
    LOOPBACK,
    Exchange,
    Receiver,
    Script,
    answering,
    answering_then_closing,
    listening,
    plain,
    receiver,
    request_for,
)

from webhook_worker.attempt import Answered, Failed
from webhook_worker.request import Request
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.protected import ProtectedConnection
from webhook_worker.sending.sender import Sender
from webhook_worker.tls import tls_context

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]
ACCEPTED = plain("200 OK", b"accepted")


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def serving(request: pytest.FixtureRequest, authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    context.minimum_version = context.maximum_version = request.param
    return context


@pytest.fixture
def ours(authority: trustme.CA) -> Sender:
    context = tls_context()
    authority.configure_trust(context)
    return Sender(LOOPBACK, ConnectionLimits(), 10.0, tls=context)


def request_to(target: Receiver, body: bytes = b"{}") -> Request:
    return request_for(f"https://127.0.0.1:{target.port}/", body)


async def test_requests_and_answers_of_any_size_go_over_one_connection(
    serving: ssl.SSLContext, ours: Sender
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(plain("200 OK", exchange.body[:12_000]))

    sizes = [1, 16_000, 16_384, 16_385, 700_000, 2]
    async with receiver(script, serving) as target, ours:
        for size in sizes:
            body = bytes(range(256)) * (size // 256 + 1)
            came_back = await ours.attempt(request_to(target, body[:size]))
            assert came_back == Answered(200, None, body[: min(size, 1024)])
    assert target.connections == 1
    assert [len(each.partition(b"\r\n\r\n")[2]) for each in target.requests] == sizes


async def test_an_answer_that_drips_is_whole_in_the_end(
    serving: ssl.SSLContext, ours: Sender
) -> None:
    async def script(exchange: Exchange) -> None:
        for at in range(len(ACCEPTED)):
            await exchange.answer(ACCEPTED[at : at + 1])
            await asyncio.sleep(0)

    async with receiver(script, serving) as target, ours:
        for _ in range(2):
            assert await ours.attempt(request_to(target)) == Answered(200, None, b"accepted")
    assert target.connections == 1


async def test_an_answer_counts_that_came_with_the_end_of_the_handshake(
    serving: ssl.SSLContext, ours: Sender
) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain("503 Too Many", headers="Connection: close\r\n"))
        writer.close()

    async with listening(serve, serving) as port, ours:
        came_back = await ours.attempt(request_for(f"https://127.0.0.1:{port}/"))
    assert came_back == Answered(503)


def then_aborting(raw: bytes) -> Script:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(raw)
        exchange.writer.transport.abort()

    return script


@pytest.mark.parametrize("end", [answering_then_closing, then_aborting])
@pytest.mark.parametrize("length", [0, 10, len(ACCEPTED) - 1])
async def test_an_acceptance_that_is_broken_off_is_none(
    serving: ssl.SSLContext, ours: Sender, end: Any, length: int
) -> None:
    async with receiver(end(ACCEPTED[:length]), serving) as target, ours:
        came_back = await ours.attempt(request_to(target))
    assert isinstance(came_back, Failed)
    assert (came_back.kind, came_back.ours) == ("reset", False)


async def test_after_the_farewell_there_is_a_new_connection(
    serving: ssl.SSLContext, ours: Sender
) -> None:
    async with receiver(answering_then_closing(ACCEPTED), serving) as target, ours:
        for _ in range(2):
            assert await ours.attempt(request_to(target)) == Answered(200, None, b"accepted")
            await asyncio.sleep(0.01)
    assert target.connections == 2


async def test_what_is_no_tls_after_the_handshake_ends_the_connection(
    serving: ssl.SSLContext, ours: Sender
) -> None:
    async def script(exchange: Exchange) -> None:
        transport: Any = exchange.writer.transport
        transport._ssl_protocol._transport.write(ACCEPTED)

    async with receiver(script, serving) as target, ours:
        came_back = await ours.attempt(request_to(target))
    assert came_back == Failed("reset", "the TLS connection broke before the answer's end")


async def test_bytes_that_come_while_nothing_was_asked_are_nobodys_answer(
    serving: ssl.SSLContext, ours: Sender
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(ACCEPTED)
        await asyncio.sleep(0.01)
        if exchange.connection == 1:
            await exchange.answer(plain("200 OK", b"forged"))

    async with receiver(script, serving) as target, ours:
        for _ in range(2):
            assert await ours.attempt(request_to(target)) == Answered(200, None, b"accepted")
            await asyncio.sleep(0.05)
    assert target.connections == 2


async def test_a_deadline_ends_what_does_not_answer(
    serving: ssl.SSLContext, authority: trustme.CA
) -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(ACCEPTED[:20])
        await asyncio.sleep(10)

    context = tls_context()
    authority.configure_trust(context)
    async with (
        receiver(script, serving) as target,
        Sender(LOOPBACK, ConnectionLimits(), 0.5, tls=context) as ours,
    ):
        came_back = await ours.attempt(request_to(target))
    assert came_back == Failed("timeout", "no answer within 0.5 s")


async def test_a_failure_leaves_nothing_behind_that_only_gc_would_free(
    serving: ssl.SSLContext, authority: trustme.CA
) -> None:
    trusting, distrusting = tls_context(), tls_context()
    authority.configure_trust(trusting)
    for context, script in ((trusting, then_aborting(b"HTTP")), (distrusting, answering(b""))):
        async with (
            receiver(script, serving) as target,
            Sender(LOOPBACK, ConnectionLimits(), 10.0, tls=context) as ours,
        ):
            gc.collect()
            gc.disable()
            try:
                request = request_to(target)
                assert isinstance(await ours.attempt(request), Failed)
                await asyncio.sleep(0.01)
                assert not any(isinstance(each, ProtectedConnection) for each in gc.get_objects())
                assert gc.get_referrers(request) == []
            finally:
                gc.enable()
