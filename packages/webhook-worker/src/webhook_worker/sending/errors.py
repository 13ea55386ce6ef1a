"""Why no connection came about, each by what is at fault, in the vocabulary of httpx."""

import httpx


class NameNotResolvedError(httpx.ConnectError):
    """The host's name has no address."""


class ResolverUnavailableError(httpx.ConnectError):
    """Our resolver gave no answer in time, so nothing is known about the name."""


class EgressBlockedError(httpx.ConnectError):
    """The egress policy, ours or the proxy's, forbids the scheme, the port or every address."""


class TlsError(httpx.ConnectError):
    """No trusted TLS connection came about."""


class OwnLimitError(httpx.ConnectError):
    """This process or machine has no sockets, ports or memory left."""
