import asyncio
import json
import socket
from collections.abc import AsyncIterator

import pytest

from app_worker.errors import MetricsPortError
from app_worker.observability import http_server
from app_worker.observability.http_server import HttpServer, listen
from app_worker.observability.metrics import WorkerMetrics, create_registry


async def ask(port: int, request: bytes, host: str = "127.0.0.1") -> tuple[str, bytes, bytes]:
    """Status line, headers, body."""
    reader, writer = await asyncio.open_connection(host, port)
    writer.write(request)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    head, _, body = answer.partition(b"\r\n\r\n")
    status, _, headers = head.partition(b"\r\n")
    return status.decode(), headers, body


def get(path: str, method: str = "GET", accept: str = "*/*") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: x\r\naccept: {accept}\r\n\r\n".encode()


@pytest.fixture
def reasons() -> list[str | None]:
    return [None]


@pytest.fixture
async def port(reasons: list[str | None]) -> AsyncIterator[int]:
    registry = create_registry()
    WorkerMetrics(registry).in_flight.set(3)
    async with HttpServer(0, registry, lambda: reasons[-1], lambda: {"in_flight": 3}) as server:
        yield server.port


async def test_livez_answers_while_the_loop_turns(port: int) -> None:
    assert await ask(port, get("/livez")) == (
        "HTTP/1.1 200 OK",
        b"Content-Type: text/plain; charset=utf-8\r\nContent-Length: 3\r\nConnection: close",
        b"ok\n",
    )


async def test_readyz_gives_the_reason_while_not_ready(
    port: int, reasons: list[str | None]
) -> None:
    assert (await ask(port, get("/readyz?verbose")))[0] == "HTTP/1.1 200 OK"
    reasons.append("stopping")
    status, _, body = await ask(port, get("/readyz"))
    assert (status, body) == ("HTTP/1.1 503 Service Unavailable", b"stopping\n")
    assert (await ask(port, get("/livez")))[0] == "HTTP/1.1 200 OK"


async def test_metrics_come_in_the_format_that_is_asked_for(port: int) -> None:
    status, headers, body = await ask(port, get("/metrics"))
    assert status == "HTTP/1.1 200 OK"
    assert b"text/plain" in headers
    assert b"worker_in_flight 3.0" in body
    _, headers, body = await ask(port, get("/metrics", accept="application/openmetrics-text"))
    assert b"application/openmetrics-text" in headers
    assert body.endswith(b"# EOF\n")


async def test_head_has_headers_and_no_body(port: int) -> None:
    status, headers, body = await ask(port, get("/livez", "HEAD"))
    assert status == "HTTP/1.1 200 OK"
    assert b"Content-Length: 3" in headers
    assert body == b""


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (get("/"), "HTTP/1.1 404 Not Found"),
        (get("/livez", "POST"), "HTTP/1.1 405 Method Not Allowed"),
        (b"hello\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET /livez SPDY/3\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        (b"GET /" + b"x" * 9_000, "HTTP/1.1 431 Request Header Fields Too Large"),
    ],
)
async def test_other_requests_are_refused(port: int, request_bytes: bytes, status: str) -> None:
    assert (await ask(port, request_bytes))[0] == status


async def test_a_client_that_goes_away_is_no_matter(port: int) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /livez HTTP/1.1\r\n")
    writer.close()
    await writer.wait_closed()
    assert (await ask(port, get("/livez")))[0] == "HTTP/1.1 200 OK"


async def test_the_state_is_shown_as_json(port: int) -> None:
    status, headers, body = await ask(port, get("/debug/state"))
    assert status == "HTTP/1.1 200 OK"
    assert b"Content-Type: application/json" in headers
    assert json.loads(body) == {"in_flight": 3}


async def test_a_client_that_takes_too_long_is_cut_off(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_server, "CONNECTION_SECONDS", 0.01)
    assert await ask(port, b"GET /livez") == ("", b"", b"")


async def test_it_closes_while_a_client_is_still_connected() -> None:
    async with HttpServer(0, create_registry(), lambda: None, dict) as server:
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"GET")
        await asyncio.sleep(0)
    assert await reader.read() == b""
    writer.close()


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
async def test_it_listens_on_ipv6_too(port: int) -> None:
    assert (await ask(port, get("/livez"), host="::1"))[0] == "HTTP/1.1 200 OK"


def test_a_port_in_use_is_named_with_its_variable() -> None:
    with listen(0) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(MetricsPortError) as caught:
            listen(port)
    assert str(caught.value) == (
        f"WORKER_METRICS_PORT + WORKER_PROCESS_INDEX is {port}, "
        "but must be a port that is free (Address already in use)."
    )
