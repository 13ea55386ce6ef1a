"""Why an attempt came to nothing, each by what is at fault, in the vocabulary of httpx.

The classes are ours, so that a process that sends nothing through httpx need not load it.
"""


class TransportError(Exception):
    """No answer came, or not all of it. As such, the peer has broken the protocol."""


class TimedOutError(TransportError):
    """Something did not come in time."""


class ConnectTimeoutError(TimedOutError):
    """No connection came about in time."""


class ReadTimeoutError(TimedOutError):
    """The answer did not come in time."""


class PoolTimeoutError(TimedOutError):
    """All connections were in use for too long."""


class NetworkError(TransportError):
    """A connection failed."""


class ConnectError(NetworkError):
    """No connection came about."""


class ReadError(NetworkError):
    """The connection ended before the answer did."""


class WriteError(NetworkError):
    """The connection ended before the request was sent."""


class ProxyError(TransportError):
    """The proxy does not do its part."""


class LocalProtocolError(TransportError):
    """The request is none that can be sent."""


class RemoteProtocolError(TransportError):
    """What came is no HTTP."""


class NameNotResolvedError(ConnectError):
    """The host's name has no address."""


class ResolverUnavailableError(ConnectError):
    """Our resolver gave no answer in time, so nothing is known about the name."""


class EgressBlockedError(ConnectError):
    """The egress policy, ours or the proxy's, forbids the scheme, the port or every address."""


class TlsError(ConnectError):
    """No trusted TLS connection came about."""


class OwnLimitError(ConnectError):
    """This process or machine has no sockets, ports or memory left."""
