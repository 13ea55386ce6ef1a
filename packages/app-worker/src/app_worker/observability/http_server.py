"""Answers /metrics, /livez, /readyz and /debug/state over HTTP, on the worker's own event loop.

On its own loop, so that a loop which hangs does not answer.
"""

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Callable
from http import HTTPStatus
from types import TracebackType
from typing import NamedTuple, Self

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from app_worker.errors import MetricsPortError

CONNECTION_SECONDS = 5.0
LONGEST_HEAD = 8_192
"""Bytes of request line and headers together."""

_TEXT = "text/plain; charset=utf-8"
_JSON = "application/json"

PATHS = ("/metrics", "/livez", "/readyz", "/debug/state")

_log = logging.getLogger(__name__)


class Answer(NamedTuple):
    """What goes back for a request."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


class HttpServer:
    """The server; an async context manager. One request a connection, and no body is read.

    It listens on all interfaces, IPv6 and IPv4, because scrapers and probes come from outside the
    pod. Entering raises MetricsPortError if the port cannot be had; port 0 takes any free one.
    """

    def __init__(
        self,
        port: int,
        registry: CollectorRegistry,
        unready_reason: Callable[[], str | None],
        state: Callable[[], object],
    ) -> None:
        self.port = port
        self._registry = registry
        self._unready_reason = unready_reason
        self._state = state
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        listener = listen(self.port)
        self.port = listener.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=listener, limit=LONGEST_HEAD)
        _log.info("listening", extra={"port": self.port})
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._server is not None:
            self._server.close()
            for connection in self._connections:
                connection.cancel()
            await asyncio.gather(*self._connections, return_exceptions=True)
            await self._server.wait_closed()

    def answer(self, method: str, target: str, accept: str) -> Answer:
        """What a request gets; ``accept`` is its Accept header."""
        path = target.split("?", 1)[0]
        if path not in PATHS:
            return _plain(HTTPStatus.NOT_FOUND, f"there is {', '.join(PATHS)}")
        if method not in ("GET", "HEAD"):
            return _plain(HTTPStatus.METHOD_NOT_ALLOWED, "only GET and HEAD")
        if path == "/metrics":
            encoder, content_type = choose_encoder(accept)
            return Answer(HTTPStatus.OK, encoder(self._registry), content_type)
        if path == "/debug/state":
            body = json.dumps(self._state(), indent=1).encode() + b"\n"
            return Answer(HTTPStatus.OK, body, _JSON)
        reason = self._unready_reason() if path == "/readyz" else None
        if reason is not None:
            return _plain(HTTPStatus.SERVICE_UNAVAILABLE, reason)
        return _plain(HTTPStatus.OK, "ok")

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connection = asyncio.create_task(self._serve(reader, writer))
        self._connections.add(connection)
        connection.add_done_callback(self._connections.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            # A client that went away or takes too long is no concern of ours.
            with contextlib.suppress(OSError):
                async with asyncio.timeout(CONNECTION_SECONDS):
                    writer.write(await self._response(reader))
                    await writer.drain()
        finally:
            writer.close()

    async def _response(self, reader: asyncio.StreamReader) -> bytes:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError:
            too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            return _encoded(_plain(too_large, f"at most {LONGEST_HEAD} bytes"), with_body=True)
        except asyncio.IncompleteReadError:
            return b""
        try:
            method, target, accept = parse_head(head)
        except ValueError:
            answer = _plain(HTTPStatus.BAD_REQUEST, "not an HTTP request")
            return _encoded(answer, with_body=True)
        return _encoded(self.answer(method, target, accept), with_body=method != "HEAD")


def listen(port: int) -> socket.socket:
    """A listening socket on all interfaces. Raises MetricsPortError if the port cannot be had."""
    dual = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if dual else socket.AF_INET
    try:
        return socket.create_server(("", port), family=family, dualstack_ipv6=dual)
    except OSError as error:
        raise MetricsPortError(
            f"WORKER_METRICS_PORT + WORKER_PROCESS_INDEX is {port}, "
            f"but must be a port that is free ({os.strerror(error.errno or 0)})."
        ) from error


def parse_head(head: bytes) -> tuple[str, str, str]:
    """Method, target and Accept header of a request. Raises ValueError if it is not HTTP/1."""
    request, *headers = head.decode("latin-1").split("\r\n")
    method, target, protocol = request.split(" ")
    if not protocol.startswith("HTTP/1."):
        raise ValueError(protocol)
    fields = (line.partition(":") for line in headers)
    accepts = [value.strip() for name, _, value in fields if name.lower() == "accept"]
    return method, target, ",".join(accepts)


def _plain(status: HTTPStatus, text: str) -> Answer:
    return Answer(status, f"{text}\n".encode())


def _encoded(answer: Answer, *, with_body: bool) -> bytes:
    head = (
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}\r\n"
        f"Content-Type: {answer.content_type}\r\n"
        f"Content-Length: {len(answer.body)}\r\n"
        "Connection: close\r\n"
    )
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        head += "Allow: GET, HEAD\r\n"
    return f"{head}\r\n".encode() + (answer.body if with_body else b"")
