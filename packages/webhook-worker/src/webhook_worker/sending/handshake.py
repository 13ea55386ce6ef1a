"""Makes a connection that was dialled a TLS one."""

import asyncio
import socket
import ssl
from functools import partial

from webhook_worker.sending.protected import ProtectedConnection


async def shake_hands(
    sock: socket.socket, context: ssl.SSLContext, host: str
) -> ProtectedConnection:
    """A connection that is protected and to ``host``. Raises OSError, ssl.SSLError among them."""
    try:
        connection = ProtectedConnection(context, host)
    except BaseException:
        sock.close()
        raise
    loop = asyncio.get_running_loop()
    await loop.create_connection(partial(_itself, connection), sock=sock)
    try:
        error = await connection.shaken
    except BaseException:
        connection.close()
        raise
    if error is None:
        return connection
    try:
        raise error
    finally:
        del error, connection  # each holds the other


def _itself(connection: ProtectedConnection) -> ProtectedConnection:
    return connection
