"""The sender against receivers on loopback whose every byte is scripted."""

import asyncio
import gzip
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import cast

import httpx
import pytest
from receivers.scripted import (
    LOOPBACK,
    SHORT,
    Exchange,
    answering,
    answering_then_closing,
    attempt_at,
    listening,
    plain,
    receiver,
    request_for,
    request_to,
    sender,
)

from app_worker.send_gate import GivenUpError
from webhook_worker.attempt import Answered, Failed
from webhook_worker.request import USER_AGENT
from webhook_worker.sending import pool
from webhook_worker.sending.answer import MOST_ANSWER_BYTES, MOST_BODY_BYTES
from webhook_worker.sending.connection import MOST_READ_BYTES, Connection
from webhook_worker.sending.pool import ConnectionLimits
from webhook_worker.sending.sender import Sender


async def test_the_request_arrives_as_it_was_built() -> None:
    async with receiver(answering(plain("200 OK", b"fine"))) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200, None, b"fine")
    head, _, body = target.requests[0].partition(b"\r\n\r\n")
    lines = head.split(b"\r\n")
    assert lines[0] == b"POST /hook?token=1 HTTP/1.1"
    assert lines[1:] == [
        b"host: 127.0.0.1:%d" % target.port,
        b"content-type: application/json",
        b"user-agent: " + USER_AGENT.encode(),
        b"accept-encoding: identity",
        b"webhook-id: evt_1",
        b"webhook-timestamp: 1614265330",
        b"webhook-signature: " + request_to(target).signature.encode(),
        b"content-length: 10",
    ]
    assert body == b'{"data":1}'


@pytest.mark.parametrize(
    "raw",
    [
        b"HTTP/1.1 103 \r\n\r\n" * 10_000,
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000,
    ],
)
async def test_a_head_without_an_end_is_a_protocol_failure(raw: bytes) -> None:
    came_back = await attempt_at(answering(raw))
    assert came_back == Failed("protocol", "the answer's head has no end within 65536 bytes")


@pytest.mark.parametrize(
    "chunk", [b"1\r\na\r\n", b"1;" + b"x" * 8000 + b"\r\na\r\n"], ids=["tiny", "extension"]
)
async def test_a_body_of_little_in_many_bytes_is_cut_off_and_its_connection_closed(
    chunk: bytes,
) -> None:
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    raw = head + chunk * (200_000 // len(chunk)) + b"0\r\n\r\n"
    async with receiver(answering(raw)) as target, sender() as ours:
        for _ in range(2):
            came_back = await ours.attempt(request_to(target))
            assert isinstance(came_back, Answered)
            assert came_back.status == 200
            assert len(came_back.body_start) < 20_000
    assert target.connections == 2


async def test_every_answer_on_a_connection_has_the_bound_anew() -> None:
    raw = plain("200 OK", b"x" * 10_000)
    async with receiver(answering(raw)) as target, sender() as ours:
        for _ in range(10):
            assert await ours.attempt(request_to(target)) == Answered(200, None, b"x" * 1024)
    assert target.connections == 1


async def test_a_turn_of_the_loop_reads_a_part_of_the_longest_answer_only() -> None:
    assert len(Connection().get_buffer(-1)) == MOST_READ_BYTES <= MOST_ANSWER_BYTES // 4


@pytest.mark.parametrize("status", [200, 204, 301, 307, 404, 410, 500])
async def test_every_status_is_an_answer(status: int) -> None:
    came_back = await attempt_at(answering(plain(f"{status} Said")))
    assert came_back == Answered(status)


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 305, 307, 308])
@pytest.mark.parametrize(
    "header", ["Location: http://127.0.0.1:{port}/", "Refresh: 0; url=http://127.0.0.1:{port}/"]
)
async def test_a_redirect_is_not_followed(status: int, header: str) -> None:
    async with receiver(answering(plain("200 OK"))) as elsewhere:
        headers = header.format(port=elsewhere.port) + "\r\n"
        came_back = await attempt_at(answering(plain(f"{status} Over There", headers=headers)))
    assert came_back == Answered(status)
    assert elsewhere.connections == 0


async def test_retry_after_is_read() -> None:
    raw = plain("503 Busy", headers="Retry-After: 120\r\n")
    assert await attempt_at(answering(raw)) == Answered(503, 120.0)


async def test_informational_answers_are_passed_over() -> None:
    raw = b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50 + plain("200 OK")
    assert await attempt_at(answering(raw)) == Answered(200)


async def test_a_body_is_never_decompressed() -> None:
    packed = gzip.compress(b"a" * 1_000_000)[:1000]
    raw = plain("200 OK", packed, "Content-Encoding: gzip\r\n")
    assert await attempt_at(answering(raw)) == Answered(200, None, packed)


async def test_an_endless_body_is_cut_off_and_its_connection_closed() -> None:
    sent = 0

    async def script(exchange: Exchange) -> None:
        nonlocal sent
        await exchange.answer(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n")
        while True:
            await exchange.answer(b"x" * 10_000)
            sent += 10_000

    async with receiver(script) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200, None, b"x" * 1024)
        assert await ours.attempt(request_to(target)) == Answered(200, None, b"x" * 1024)
    assert target.connections == 2
    assert sent < 20_000_000
    assert MOST_BODY_BYTES < 20_000


@pytest.mark.parametrize(
    ("before_silence", "detail"),
    [
        (b"", "no answer within 0.3 s"),
        (b"HTTP/1.1 200 OK\r\n", "no answer within 0.3 s"),
        (
            b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
            "status 200, but not all of its body, within 0.3 s",
        ),
    ],
)
async def test_one_deadline_covers_head_and_body(before_silence: bytes, detail: str) -> None:
    came_back = await attempt_at(answering(before_silence), attempt_timeout=SHORT)
    assert came_back == Failed("timeout", detail)


@pytest.mark.parametrize("status", [302, 410, 500])
async def test_outside_of_2xx_the_status_decides_though_its_body_never_comes_whole(
    status: int,
) -> None:
    raw = f"HTTP/1.1 {status} Said\r\nContent-Length: 9\r\nRetry-After: 7\r\n\r\nhalf".encode()
    expected = Answered(status, 7.0, b"half")
    assert await attempt_at(answering(raw), attempt_timeout=SHORT) == expected
    assert await attempt_at(answering_then_closing(raw)) == expected


@pytest.mark.parametrize("status", [600, 999])
async def test_a_status_that_http_does_not_have_is_a_protocol_failure(status: int) -> None:
    came_back = await attempt_at(answering(plain(f"{status} Said")))
    assert came_back == Failed("protocol", f"status {status} is none that HTTP has")


async def test_bytes_that_drip_do_not_stretch_the_deadline() -> None:
    async def script(exchange: Exchange) -> None:
        while True:
            await exchange.answer(b"HTTP/1.1 100 Continue\r\n\r\n")
            await asyncio.sleep(0.02)

    came_back = await asyncio.wait_for(attempt_at(script, attempt_timeout=SHORT), 5)
    assert came_back == Failed("timeout", "no answer within 0.3 s")


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/1.1 huge OK\r\n\r\n",
        b"HTTP/1.1 000 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    ],
)
async def test_what_is_not_http_is_a_protocol_failure_that_shows_none_of_it(raw: bytes) -> None:
    came_back = await attempt_at(answering_then_closing(raw))
    assert came_back == Failed("protocol", "the answer is not HTTP/1.1")


@pytest.mark.parametrize(
    "raw", [b"", b"HTTP/1.1 200", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"]
)
async def test_a_connection_closed_early_is_a_reset(raw: bytes) -> None:
    came_back = await attempt_at(answering_then_closing(raw))
    assert came_back == Failed("reset", "the connection was closed before the answer's end")


@pytest.mark.parametrize("size", [10, 4_000_000])
async def test_an_answer_counts_that_came_before_the_request_was_read(size: int) -> None:
    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(plain("503 Busy", b"later", "Connection: close\r\n"))
        writer.close()

    async with listening(refuse) as port, sender() as ours:
        came_back = await ours.attempt(request_for(f"http://127.0.0.1:{port}/", b"x" * size))
    assert came_back == Answered(503, None, b"later")


async def test_a_receiver_that_takes_no_request_is_under_the_deadline() -> None:
    async def ignore(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        cast(asyncio.Transport, writer.transport).pause_reading()
        await asyncio.Event().wait()

    async with listening(ignore) as port, sender(SHORT) as ours:
        url = f"http://127.0.0.1:{port}/"
        came_back = await ours.attempt(request_for(url, b"x" * 8_000_000))
    assert came_back == Failed("timeout", "no answer within 0.3 s")


async def test_a_reset_is_told_as_one() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset()

    came_back = await attempt_at(script)
    assert came_back == Failed("reset", "the connection was reset before the answer's end")


async def test_nobody_listening_is_a_failure_to_connect() -> None:
    async with receiver(answering(b"")) as target:
        pass
    async with sender() as ours:
        came_back = await ours.attempt(request_to(target))
    assert came_back == Failed("connect", "Connection refused")


async def test_a_connection_is_kept_for_the_next_request() -> None:
    async with receiver(answering(plain("200 OK", b"x" * 3))) as target, sender() as ours:
        for _ in range(5):
            await ours.attempt(request_to(target))
    assert target.connections == 1
    assert len(target.requests) == 5


async def test_a_connection_that_was_idle_for_too_long_is_not_used_again() -> None:
    script = answering(plain("200 OK"))
    async with receiver(script) as target, sender(idle_seconds=0.0) as ours:
        await ours.attempt(request_to(target))
        await ours.attempt(request_to(target))
    assert target.connections == 2


async def test_a_connection_that_the_receiver_closed_while_idle_is_not_used_again() -> None:
    script = answering_then_closing(plain("200 OK"))
    async with receiver(script) as target, sender() as ours:
        for _ in range(3):
            assert await ours.attempt(request_to(target)) == Answered(200)
            await asyncio.sleep(0.02)
    assert len(target.requests) == 3


async def test_an_answer_too_many_is_not_taken_for_that_of_the_next_request() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.connection == 1:
            await exchange.answer(plain("200 OK") + plain("200 Forged"))
        else:
            await exchange.answer(plain("500 Honest"))

    async with receiver(script) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200)
        assert await ours.attempt(request_to(target)) == Answered(500)


async def test_a_stale_connection_is_replaced_once_without_a_failure() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.number == 1:
            await exchange.answer(plain("200 OK"))
        else:
            exchange.reset()

    async with receiver(script) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200)
        assert await ours.attempt(request_to(target)) == Answered(200)
    assert target.connections == 2
    assert len(target.requests) == 3


async def test_a_kept_connection_that_breaks_late_is_not_stale(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pool, "STALE_SECONDS", 0.05)

    async def script(exchange: Exchange) -> None:
        if exchange.number == 1:
            await exchange.answer(plain("200 OK"))
        else:
            await asyncio.sleep(0.2)
            exchange.reset()

    async with receiver(script) as target, sender() as ours:
        assert await ours.attempt(request_to(target)) == Answered(200)
        came_back = await ours.attempt(request_to(target))
    assert came_back == Failed("reset", "the connection was reset before the answer's end")
    assert len(target.requests) == 2


async def test_a_fresh_connection_that_breaks_is_not_tried_again() -> None:
    async def script(exchange: Exchange) -> None:
        exchange.reset()

    async with receiver(script) as target, sender() as ours:
        assert isinstance(await ours.attempt(request_to(target)), Failed)
    assert target.connections == 1


async def test_an_answer_that_has_begun_is_not_asked_for_again() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.number == 1:
            await exchange.answer(plain("200 OK"))
        else:
            await exchange.answer(b"HTTP/1.1 2")
            exchange.close()

    async with receiver(script) as target, sender() as ours:
        await ours.attempt(request_to(target))
        came_back = await ours.attempt(request_to(target))
    assert came_back == Failed("reset", "the connection was closed before the answer's end")
    assert target.connections == 1


async def test_waiting_too_long_for_a_free_connection_is_our_own_fault() -> None:
    async with receiver(answering(b"")) as target, sender(SHORT, most=1) as ours:
        hanging, waiting = await asyncio.gather(
            ours.attempt(request_to(target)), ours.attempt(request_to(target))
        )
    assert hanging == Failed("timeout", "no answer within 0.3 s")
    assert waiting == Failed("internal", "all 1 connections are in use", ours=True)


async def test_an_attempt_that_is_cancelled_gives_its_connection_back() -> None:
    arrived = asyncio.Event()

    async def script(exchange: Exchange) -> None:
        if exchange.connection == 1:
            arrived.set()
        else:
            await exchange.answer(plain("200 OK"))

    async with receiver(script) as target, sender(most=1) as ours:
        hanging = asyncio.create_task(ours.attempt(request_to(target)))
        await arrived.wait()
        hanging.cancel()
        await asyncio.gather(hanging, return_exceptions=True)
        assert await ours.attempt(request_to(target)) == Answered(200)


async def test_a_hundred_requests_at_once_use_a_hundred_connections_and_keep_them() -> None:
    async with receiver(answering(plain("200 OK"))) as target, sender() as ours:
        for _ in range(2):
            answers = await asyncio.gather(*(ours.attempt(request_to(target)) for _ in range(100)))
            assert set(answers) == {Answered(200)}
    assert target.connections <= 100
    assert len(target.requests) == 200


@pytest.mark.parametrize("host", ["xn--ls8h.la", "xn--a.com", "xn--99999999.com"])
async def test_a_name_that_no_idna_library_can_decode_is_sent_to(host: str) -> None:
    async def resolve(_host: str, _port: int) -> list[IPv4Address | IPv6Address]:
        return [ip_address("127.0.0.1")]

    async with receiver(answering(plain("200 OK"))) as target:
        request = request_for(f"http://{host}:{target.port}/")
        async with Sender(LOOPBACK, ConnectionLimits(), 10.0, resolve=resolve) as ours:
            assert await ours.attempt(request) == Answered(200)
    lines = target.requests[0].lower().split(b"\r\n")
    assert lines[1] == f"host: {host}:{target.port}".encode()


async def test_a_fault_of_our_own_is_an_outcome_and_an_error_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class Faulty(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise LookupError("with a payload")

    async with Sender(LOOPBACK, ConnectionLimits(), 10.0, transport=Faulty()) as ours:
        came_back = await ours.attempt(request_for("http://127.0.0.1/"))
    assert came_back == Failed("internal", "LookupError", ours=True)
    (line,) = caplog.records
    assert line.levelname == "ERROR"
    assert line.exc_info is not None
    assert line.exc_info[0] is LookupError


# Whether it may still be sent.


def refuse() -> None:
    raise GivenUpError("too late")


async def test_what_may_not_be_sent_any_more_leaves_no_byte() -> None:
    async with receiver(answering(plain("200 OK"))) as target, sender() as ours:
        with pytest.raises(GivenUpError):
            await ours.attempt(request_to(target), refuse)
        assert await ours.attempt(request_to(target), lambda: None) == Answered(200)
        with pytest.raises(GivenUpError):
            await ours.attempt(request_to(target), refuse)
        assert await ours.attempt(request_to(target)) == Answered(200)
    assert len(target.requests) == 2


async def test_it_is_asked_after_the_connection_and_again_before_a_second_try() -> None:
    async def script(exchange: Exchange) -> None:
        if exchange.number == 1:
            await exchange.answer(plain("200 OK"))
        else:
            exchange.reset()

    asked: list[int] = []
    async with receiver(script) as target, sender() as ours:

        def check() -> None:
            asked.append(target.connections)

        await ours.attempt(request_to(target), check)
        await ours.attempt(request_to(target), check)
    assert len(asked) == 3
    assert asked[1:] == [1, 2]


async def test_a_transport_of_ones_own_is_not_asked_to_send_it_either() -> None:
    class Untouched(httpx.AsyncBaseTransport):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            raise AssertionError(request)

    async with Sender(LOOPBACK, ConnectionLimits(), 10.0, transport=Untouched()) as ours:
        with pytest.raises(GivenUpError):
            await ours.attempt(request_for("http://127.0.0.1/"), refuse)
