"""A connection with TLS: what goes and comes passes through OpenSSL, in memory."""

import asyncio
import ssl
from typing import cast

from webhook_worker.sending.connection import MOST_READ_BYTES, Connection
from webhook_worker.sending.errors import ReadError, WriteError

# As with what is received: it is parsed before the next connection decrypts.
_DECRYPTED = memoryview(bytearray(MOST_READ_BYTES))


class ProtectedConnection(Connection):
    """A connection whose peer has shown a certificate for the host, once ``shaken`` is done.

    asyncio's own TLS serves any protocol, with a buffer, a flow control and a farewell of its own
    that an exchange of a request and an answer does not need: they cost more than the encryption.
    """

    def __init__(self, context: ssl.SSLContext, host: str) -> None:
        super().__init__()
        self.shaken: asyncio.Future[OSError | None] = self._loop.create_future()
        """Gets the error, SSLError or not, for which the connection came to nothing, if any."""
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_hostname=host)
        self._is_shaking = True

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection is there, without TLS yet."""
        self._transport = cast(asyncio.Transport, transport)
        self._shake_hands(self._transport)

    def buffer_updated(self, nbytes: int) -> None:
        """So many bytes have come."""
        self._incoming.write(self.get_buffer(nbytes)[:nbytes])
        if not self._is_shaking:
            self._decrypt()
        elif self._transport is not None:
            self._shake_hands(self._transport)

    def eof_received(self) -> bool:
        """The peer sends no more."""
        self._is_over(ConnectionResetError())
        return super().eof_received()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing goes or comes any more."""
        self._is_over(exc if isinstance(exc, OSError) else ConnectionResetError())
        super().connection_lost(exc)

    # What it does otherwise than one without TLS.

    def _resume(self, transport: asyncio.Transport) -> None:
        transport.resume_reading()
        if self._incoming.pending:  # It came in one piece with the handshake's end.
            self._loop.call_soon(self._decrypt)

    def _write(self, transport: asyncio.Transport, data: bytes) -> None:
        try:
            sent = self._tls.write(data)
            while sent < len(data):
                sent += self._tls.write(memoryview(data)[sent:])
        except ssl.SSLError:
            self._end(WriteError("the TLS connection broke before the request was sent"))
        else:
            self._flush(transport)

    def _shake_hands(self, transport: asyncio.Transport) -> None:
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush(transport)
        except OSError as error:
            self._flush(transport)  # Our alert says why.
            self._is_over(error)
            self.close()
        else:
            self._flush(transport)
            self._is_shaking = False
            # A receiver that is overloaded may say so before it was asked.
            transport.pause_reading()
            self.is_open = True
            self._is_over(None)

    def _is_over(self, error: OSError | None) -> None:
        """The handshake, in whatever way."""
        if not self.shaken.done():
            # With its frames it would hold this connection, and all of that would wait for gc.
            self.shaken.set_result(error and error.with_traceback(None))

    def _decrypt(self) -> None:
        tls, incoming = self._tls, self._incoming
        try:
            # Each time that there is nothing left to be decrypted costs an exception.
            while incoming.pending or tls.pending():
                count = cast(int, tls.read(MOST_READ_BYTES, _DECRYPTED))
                if not count:
                    self.eof_received()
                    return
                self._read(_DECRYPTED[:count])
                if not self.is_open:
                    return
        except ssl.SSLWantReadError:
            pass  # The rest of it is still to come.
        except ssl.SSLZeroReturnError:
            self.eof_received()
            return
        except ssl.SSLError:
            self._end(ReadError("the TLS connection broke before the answer's end"))
            return
        if self._transport is not None:
            self._flush(self._transport)  # It has to be answered when keys are changed.

    def _flush(self, transport: asyncio.Transport) -> None:
        if self._outgoing.pending:
            transport.write(self._outgoing.read())
