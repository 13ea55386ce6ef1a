"""Receivers that mean harm, or are broken: what becomes of an attempt, also beside httpx's own."""

import asyncio
import gc
import gzip
from collections.abc import AsyncIterator

import httpx
import pytest
from receivers.scripted import (
    LOOPBACK,
    SHORT,
    Exchange,
    Script,
    answering,
    answering_then_closing,
    plain,
    receiver,
    request_to,
    sender,
)

from webhook_worker.attempt import Answered, Attempt, Failed
from webhook_worker.sending.answer import AnswerReader
from webhook_worker.sending.pool import ConnectionLimits, Pool
from webhook_worker.sending.sender import Sender

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
ACCEPTED = plain("200 OK", b"ok")
REFUSED = plain("503 Busy", b"no", "Retry-After: 7\r\n")
HEAD_ENDS = REFUSED.index(b"\r\n\r\n") + 4
RESET = Failed("reset", "the connection was reset before the answer's end")
CLOSED = Failed("reset", "the connection was closed before the answer's end")


def cutting(raw: bytes, *, reset: bool) -> Script:
    """The n-th request gets the first n - 1 bytes."""
    sent = -1

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        sent += 1
        await exchange.answer(raw[:sent])
        if reset:
            exchange.reset()
        else:
            exchange.close()

    return script


async def each(script: Script, attempts: int) -> AsyncIterator[Attempt]:
    async with receiver(script) as target, sender() as ours:
        for _ in range(attempts):
            yield await ours.attempt(request_to(target))


@pytest.mark.parametrize("raw", [ACCEPTED, CHUNKED], ids=["length", "chunks"])
@pytest.mark.parametrize("reset", [False, True])
async def test_an_acceptance_that_is_broken_off_at_any_of_its_bytes_is_none(
    raw: bytes, reset: bool
) -> None:
    found = [attempt async for attempt in each(cutting(raw, reset=reset), len(raw) + 1)]
    assert found == [RESET if reset else CLOSED] * len(raw) + [Answered(200, None, b"ok")]


@pytest.mark.parametrize("reset", [False, True])
async def test_a_refusal_that_is_broken_off_counts_as_soon_as_its_head_is_there(
    reset: bool,
) -> None:
    found = [attempt async for attempt in each(cutting(REFUSED, reset=reset), len(REFUSED) + 1)]
    assert found[:HEAD_ENDS] == [RESET if reset else CLOSED] * HEAD_ENDS
    assert found[HEAD_ENDS:] == [Answered(503, 7.0, body) for body in (b"", b"n", b"no")]


async def test_an_answer_that_comes_byte_by_byte_is_whole_in_the_end() -> None:
    async def script(exchange: Exchange) -> None:
        for i in range(len(CHUNKED)):
            await exchange.answer(CHUNKED[i : i + 1])
            await asyncio.sleep(0)

    async with receiver(script) as target, sender() as ours:
        for _ in range(3):
            assert await ours.attempt(request_to(target)) == Answered(200, None, b"ok")
    assert target.connections == 1


async def test_a_receiver_that_closes_its_half_gets_the_next_request_on_a_new_connection() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(ACCEPTED)
        exchange.writer.write_eof()

    async with receiver(script) as target, sender() as ours:
        for _ in range(3):
            assert await ours.attempt(request_to(target)) == Answered(200, None, b"ok")
            await asyncio.sleep(0.02)
    assert len(target.requests) == 3


async def test_a_body_without_a_length_ends_where_the_receiver_closes_its_half() -> None:
    async def script(exchange: Exchange) -> None:
        await exchange.answer(b"HTTP/1.1 200 OK\r\n\r\nhello")
        exchange.writer.write_eof()

    async with receiver(script) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200, None, b"hello")


async def test_bytes_that_come_while_nothing_was_asked_are_nobodys_answer() -> None:
    forged = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.connection == 1:
            await exchange.answer(ACCEPTED)
            await asyncio.sleep(0.01)
            await exchange.answer(plain("200 Forged"))
            forged.set()
        else:
            await exchange.answer(plain("500 Honest"))

    async with receiver(script) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200, None, b"ok")
        await forged.wait()
        await asyncio.sleep(0.01)
        assert await ours.attempt(request_to(target)) == Answered(500)
    assert target.connections == 2


async def test_a_connection_closes_the_socket_of_a_receiver_that_never_does() -> None:
    gone = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        try:
            while True:
                await exchange.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
                await asyncio.sleep(0.01)
        except OSError:
            gone.set()

    async with receiver(script) as target, sender(SHORT) as ours:
        assert await ours.attempt(request_to(target)) == Failed("timeout", "no answer within 0.3 s")
        await asyncio.wait_for(gone.wait(), 10)


async def test_an_idle_connection_holds_nothing_of_the_answer() -> None:
    raw = plain("200 OK", b"x" * 10_000, "Filler: " + "y" * 30_000 + "\r\n")
    async with receiver(answering(raw)) as target, sender() as ours:
        await ours.attempt(request_to(target))
        assert isinstance(ours._exchanges, Pool)
        (kept,) = ours._exchanges._idle.clear()
        assert not kept._reader.body
        assert not kept._reader.headers
        kept.close()


@pytest.mark.parametrize(
    "raw", [b"", b"nothing", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_failure_leaves_nothing_behind_that_only_gc_would_free(raw: bytes) -> None:
    async with receiver(answering_then_closing(raw)) as target, sender() as ours:
        gc.collect()
        gc.disable()
        try:
            request = request_to(target)
            assert isinstance(await ours.attempt(request), Failed)
            await asyncio.sleep(0.01)
            assert not any(isinstance(each, AnswerReader) for each in gc.get_objects())
            assert gc.get_referrers(request) == []
        finally:
            gc.enable()


SCRIPTS: dict[str, bytes] = {
    "accepted": ACCEPTED,
    "chunks": CHUNKED,
    "refused": REFUSED,
    "redirect": plain("308 There", headers="Location: /\r\n"),
    "until the end": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "informational": b"HTTP/1.1 103 Hints\r\nLink: a\r\n\r\n" * 5 + ACCEPTED,
    "bomb": plain("200 OK", gzip.compress(b"a" * 100_000), "Content-Encoding: gzip\r\n"),
    "nothing": b"",
    "half a head": ACCEPTED[:20],
    "half a body": ACCEPTED[:-1],
    "half a chunk": CHUNKED[:-8],
    "another protocol": b"220 mail.example ESMTP\r\n",
    "status of letters": b"HTTP/1.1 OK 200\r\n\r\n",
    "header without a colon": b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
    "bad chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "cookies": plain("200 OK", b"ok", "Set-Cookie: a=b\r\n"),
    "authentication": plain("401 Who", headers="WWW-Authenticate: Basic\r\n"),
}


def verdict(attempt: Attempt) -> int | str:
    """What decides; httpx calls an end that comes too early a breach of the protocol."""
    if isinstance(attempt, Answered):
        return attempt.status
    return "broken" if attempt.kind in ("reset", "protocol") else attempt.kind


@pytest.mark.parametrize("raw", SCRIPTS.values(), ids=SCRIPTS)
async def test_the_verdict_is_that_of_a_well_kept_client(raw: bytes) -> None:
    async with receiver(answering_then_closing(raw)) as target:
        async with sender() as ours:
            found = await ours.attempt(request_to(target))
        theirs = httpx.AsyncHTTPTransport(trust_env=False)
        async with Sender(LOOPBACK, ConnectionLimits(), 10.0, transport=theirs) as plugged:
            expected = await plugged.attempt(request_to(target))
    assert verdict(found) == verdict(expected)
    if isinstance(found, Answered):
        assert found == expected


async def test_a_transport_of_httpx_sends_the_same_request_under_the_same_deadline() -> None:
    async def script(exchange: Exchange) -> None:
        if len(target.requests) < 3:
            await exchange.answer(ACCEPTED)

    theirs = httpx.AsyncHTTPTransport(trust_env=False)
    async with receiver(script) as target, sender() as ours:
        await ours.attempt(request_to(target))
        async with Sender(LOOPBACK, ConnectionLimits(), SHORT, transport=theirs) as plugged:
            await plugged.attempt(request_to(target))
            late = await plugged.attempt(request_to(target))
    assert late == Failed("timeout", "no answer within 0.3 s")
    one, other = (request.partition(b"\r\n\r\n") for request in target.requests[:2])
    assert one[2] == other[2]
    assert sorted(one[0].lower().split(b"\r\n")) == sorted(other[0].lower().split(b"\r\n"))


async def test_a_transport_of_httpx_sends_nowhere_that_the_policy_forbids() -> None:
    theirs = httpx.AsyncHTTPTransport(trust_env=False)
    async with receiver(answering(ACCEPTED)) as target:
        policy = type(LOOPBACK)()
        async with Sender(policy, ConnectionLimits(), 10.0, transport=theirs) as plugged:
            found = await plugged.attempt(request_to(target))
    assert found == Failed("blocked", "address 127.0.0.1 is loopback (127.0.0.0/8)")
    assert target.connections == 0
