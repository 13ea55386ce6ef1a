"""Makes a connection that was dialled a TLS one."""

import asyncio
import socket
import ssl
from asyncio.sslproto import SSLProtocol

from webhook_worker.sending.connection import MOST_READ_BYTES, Connection


class _Tls(SSLProtocol):
    """asyncio's, but for the buffer: 256 KiB for each connection are more than all else of it."""

    max_size = MOST_READ_BYTES


async def shake_hands(sock: socket.socket, context: ssl.SSLContext, host: str) -> Connection:
    """A connection that is protected and to ``host``. Raises OSError, ssl.SSLError among them."""
    loop = asyncio.get_running_loop()
    shaken: asyncio.Future[None] = loop.create_future()
    connection = Connection()
    transport, _ = await loop.create_connection(
        lambda: _Tls(loop, connection, context, shaken, server_hostname=host), sock=sock
    )
    try:
        await shaken
    except BaseException:
        transport.abort()
        raise
    return connection
