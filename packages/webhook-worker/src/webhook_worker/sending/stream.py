"""One TCP or TLS connection as httpcore wants its streams, on asyncio's own transports."""

import asyncio
from typing import Any, cast

import httpcore

MOST_UNREAD_BYTES = 8 * 1024
"""What a peer may send ahead of us; then its socket is not read until we have caught up."""
MOST_READ_BYTES = 1024
"""What is parsed between two turns of the loop: hundreds of frames, if they are tiny."""
MOST_ANSWER_BYTES = 64 * 1024
"""What is read of one answer in all: informational answers, head, framing and body."""


class AnswerTooLongError(httpcore.RemoteProtocolError):
    """The answer has more bytes than are read."""


class Stream(asyncio.Protocol, httpcore.AsyncNetworkStream):
    """A connection that was dialled.

    The timeouts of httpcore's interface are ignored: an attempt has one deadline over everything.
    Closing never waits, neither for unsent bytes nor for the peer's part of a TLS farewell.
    """

    def __init__(self) -> None:
        self.bytes_received = 0
        self.bytes_left = MOST_ANSWER_BYTES
        """What may still be read of the answer that has begun."""
        self.end_was_read = False
        """Whether ``read`` has reported that the peer closed the connection."""
        self._transport: asyncio.Transport | None = None
        self._unread = bytearray()
        self._ended = False
        self._error: Exception | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def begin_answer(self) -> None:
        """The next bytes are another answer's, which may be as long as any."""
        self.bytes_left = MOST_ANSWER_BYTES

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection, TLS included, is there."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Keep what came until it is read."""
        self.bytes_received += len(data)
        self._unread += data
        if len(self._unread) > MOST_UNREAD_BYTES and self._transport:
            self._transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        """The peer sends no more; False makes asyncio close our side, too."""
        self._ended = True
        self._readable.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing goes or comes any more."""
        self._ended = True
        self._error = exc
        self._readable.set()
        self._writable.set()

    def pause_writing(self) -> None:
        """The peer takes nothing for now."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """The peer takes more."""
        self._writable.set()

    # What httpcore calls.

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ARG002
        """What came, at least one byte; empty at the end.

        Raises AnswerTooLongError and httpcore.ReadError.
        """
        if self._readable.is_set():
            await asyncio.sleep(0)  # a peer that is always ahead of us must not keep the loop
        await self._readable.wait()
        if self._unread:
            if not self.bytes_left:
                raise AnswerTooLongError
            size = min(max_bytes, MOST_READ_BYTES, self.bytes_left)
            data = bytes(self._unread[:size])
            del self._unread[:size]
            self.bytes_left -= len(data)
            if not self._ended:
                self._go_on_reading()
            return data
        self.end_was_read = True
        if self._error is not None:
            raise httpcore.ReadError(str(self._error)) from self._error
        return b""

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ARG002
        """Send; returns when the peer is not too far behind. Raises httpcore.WriteError."""
        if buffer:
            if self._transport is None or self._ended:
                raise httpcore.WriteError("the peer has closed the connection")
            self._transport.write(buffer)
            await self._writable.wait()

    async def aclose(self) -> None:
        """Close at once."""
        if self._transport is not None:
            self._transport.abort()

    def get_extra_info(self, info: str) -> Any:
        """``is_readable``: whether an idle connection got bytes nobody asked for, or its end."""
        return self._readable.is_set() if info == "is_readable" else None

    def _go_on_reading(self) -> None:
        if not self._unread:
            self._readable.clear()
        if len(self._unread) <= MOST_UNREAD_BYTES and self._transport:
            self._transport.resume_reading()
