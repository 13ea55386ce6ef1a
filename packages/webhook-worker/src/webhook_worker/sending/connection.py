"""One connection: sends the bytes of a request and takes in its answer."""

import asyncio
from typing import cast

from webhook_worker.sending.answer import Answer, AnswerReader
from webhook_worker.sending.deadlines import Due
from webhook_worker.sending.errors import (
    ReadError,
    ReadTimeoutError,
    TransportError,
    WriteError,
)

MOST_READ_BYTES = 16 * 1024
"""What is read between two turns of the loop, so that no peer keeps it for long."""

# All connections read into this: what came is parsed before the next one reads.
_RECEIVED = memoryview(bytearray(MOST_READ_BYTES))


class Connection(asyncio.BufferedProtocol):
    """A connection that was dialled, for one request at a time.

    Closing never waits, neither for unsent bytes nor for the peer's part of a TLS farewell. What
    comes while nothing was asked closes it, too: it would be taken for the next request's answer.
    """

    def __init__(self) -> None:
        self.is_open = False
        """Whether another request can be sent."""
        self.idle_since = 0.0
        """On the loop's clock."""
        self.answer_began = False
        """Whether any byte of the answer has come."""
        self._loop = asyncio.get_running_loop()
        self._reader = AnswerReader()
        self._transport: asyncio.Transport | None = None
        self._is_reading = False
        self._waiter: asyncio.Future[Answer | TransportError] | None = None
        self._due: Due = set()

    def ask(self, request: bytes, due: Due) -> "asyncio.Future[Answer | TransportError]":
        """Send; what comes of it is the answer, or why not even its head came.

        It is not waited for any longer once ``due`` is told that the time is over. Of an answer
        that breaks off behind its head this is said in it. Whoever ceases to wait closes.
        """
        self._waiter = waiter = self._loop.create_future()
        if self._transport is None or not self.is_open:
            waiter.set_result(WriteError("the connection was closed before the request was sent"))
            return waiter
        self.answer_began = False
        self._due = due
        due.add(self)
        if not self._is_reading:
            self._is_reading = True
            self._resume(self._transport)
        self._write(self._transport, request)
        return waiter

    def expire(self) -> None:
        """The time for the answer is over."""
        self._end(ReadTimeoutError("the answer did not come in time"))

    def close(self) -> None:
        """Close at once."""
        self.is_open = False
        self._due.discard(self)
        if self._transport is not None:
            self._transport.abort()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection, TLS included, is there."""
        self._transport = cast(asyncio.Transport, transport)
        # A receiver that is overloaded may say so before it was asked.
        self._transport.pause_reading()
        self.is_open = True

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002
        """Where to read into."""
        return _RECEIVED

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self._read(_RECEIVED[:nbytes])

    def eof_received(self) -> bool:
        """The peer sends no more; False makes asyncio close our side, too."""
        self._reader.end()
        self._end(ReadError("the connection was closed before the answer's end"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Nothing goes or comes any more."""
        self._end(ReadError("the connection was reset before the answer's end"))
        self._reader.release()

    # What TLS does otherwise.

    def _resume(self, transport: asyncio.Transport) -> None:
        transport.resume_reading()

    def _write(self, transport: asyncio.Transport, data: bytes) -> None:
        transport.write(data)

    def _read(self, data: memoryview) -> None:
        """The next bytes of an answer."""
        waiter, reader = self._waiter, self._reader
        if waiter is None or waiter.done():
            self.close()
            return
        self.answer_began = True
        error = reader.feed(data)
        if error is not None:
            self._end(error)
        elif reader.is_complete:
            # With a part of the request unsent, the peer would take the next one for the rest.
            unsent = self._transport is None or self._transport.get_write_buffer_size()
            if unsent or not reader.may_be_followed:
                self.close()
            self._settle(waiter, None)

    def _end(self, error: TransportError) -> None:
        waiter = self._waiter
        if waiter is not None and not waiter.done():
            self._settle(waiter, error)
        self.close()

    def _settle(
        self, waiter: "asyncio.Future[Answer | TransportError]", error: TransportError | None
    ) -> None:
        self._waiter = None
        self._due.discard(self)
        reader = self._reader
        if error is None or reader.status:
            waiter.set_result(reader.answer(None if reader.is_complete else error))
        else:
            waiter.set_result(error)
        reader.begin()  # an idle connection holds nothing of what came
