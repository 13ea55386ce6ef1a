"""Whom the worker believes that it has reached the host that it wanted."""

import ssl
from pathlib import Path


def tls_context(authorities: Path | None = None) -> ssl.SSLContext:
    """TLS 1.2 or newer, HTTP/1.1, certificates and names checked.

    Trusted are the system's authorities: they are what the operator of the machine maintains, and
    an internal authority or a withdrawn one is then known here as everywhere else, while a list
    inside a Python package is as old as the lock file. Those in a file of ``authorities``, in PEM,
    come on top. Raises OSError if the file cannot be read or holds none.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(["http/1.1"])
    if authorities is not None:
        context.load_verify_locations(authorities)
    return context
