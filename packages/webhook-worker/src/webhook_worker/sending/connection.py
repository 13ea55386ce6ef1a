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
        self._waiter: asyncio.Future[TransportError | None] | None = None

    async def exchange(self, request: bytes, due: Due) -> Answer:
        """Send, and return the answer, until it is told that the time is over.

        Of an answer that breaks off behind its head this is said in it. Raises
        TransportError where not even the head came.
        """
        if self._transport is None or not self.is_open:
            raise WriteError("the connection was closed before the request was sent")
        self.answer_began = False
        self._waiter = self._loop.create_future()
        due.add(self)
        if not self._transport.is_reading():
            self._transport.resume_reading()
        try:
            self._transport.write(request)
            error = await self._waiter
        except BaseException:
            self.close()
            raise
        finally:
            due.discard(self)
            self._waiter = None
        if error is not None and not self._reader.status:
            try:
                raise error
            finally:
                del error  # it holds this frame, and with it the request
        answer = self._reader.answer(error)
        self._reader.begin()  # an idle connection holds nothing of what came
        return answer

    def expire(self) -> None:
        """The time for the answer is over."""
        self._end(ReadTimeoutError("the answer did not come in time"))

    def close(self) -> None:
        """Close at once."""
        self.is_open = False
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
        waiter = self._waiter
        if waiter is None or waiter.done():
            self.close()
            return
        self.answer_began = True
        error = self._reader.feed(_RECEIVED[:nbytes])
        if error is not None:
            self._end(error)
        elif self._reader.is_complete:
            waiter.set_result(None)
            if not self._may_go_on():
                self.close()

    def eof_received(self) -> bool:
        """The peer sends no more; False makes asyncio close our side, too."""
        self._reader.end()
        self._end(ReadError("the connection was closed before the answer's end"))
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Nothing goes or comes any more."""
        self._end(ReadError("the connection was reset before the answer's end"))
        self._reader.release()

    def _may_go_on(self) -> bool:
        # With a part of the request unsent, the peer would take the next one for the rest of it.
        unsent = self._transport.get_write_buffer_size() if self._transport else 0
        return not unsent and self._reader.may_be_followed

    def _end(self, error: TransportError) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None if self._reader.is_complete else error)
        self.close()
