"""Reads the URL of the egress proxy, and keeps its credentials out of sight."""

import re
from base64 import b64encode
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import unquote_to_bytes

from webhook_worker.errors import BadUrlError
from webhook_worker.url import MAX_CHARACTERS, parse_url

FORM = "http://[user:password@]host:port"
HIDDEN = "******"

_PARTS = re.compile(r"http://(?:([^@/?#]*)@)?([^@/?#]*)/?", re.IGNORECASE)
_HAS_PORT = re.compile(r".+:[0-9]+")
_HALF_ESCAPE = re.compile("%(?![0-9A-Fa-f]{2})")
_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Proxy:
    """The operator's HTTP proxy. Neither ``str()`` nor ``repr`` shows the credentials."""

    host: str
    """As in Url: a name or an address, no brackets."""
    port: int
    address: IPv4Address | IPv6Address | None = None
    """The address, where the host is one."""
    authorization: bytes | None = field(default=None, repr=False)
    """What Proxy-Authorization says (RFC 7617), if there are credentials."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        hidden = f"{HIDDEN}@" if self.authorization else ""
        return f"http://{hidden}{host}:{self.port}"


def parse_proxy(text: str) -> Proxy:
    """Read ``FORM``. Raises BadUrlError with a sentence that shows nothing of the text."""
    if len(text) > MAX_CHARACTERS:
        raise BadUrlError(f"is longer than {MAX_CHARACTERS} characters")
    if not text.lower().startswith("http://"):
        raise BadUrlError("begins otherwise: neither TLS to the proxy nor SOCKS is spoken")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise BadUrlError(
            "has a path, or one of @ / ? # in the user or password: write that as %40 %2F %3F %23"
        )
    credentials, authority = parts.groups()
    if not _HAS_PORT.fullmatch(authority):
        raise BadUrlError("has no port")
    url = parse_url(f"http://{authority}")
    authorization = None if credentials is None else _basic(credentials)
    return Proxy(url.host, url.port, url.address, authorization)


def _basic(credentials: str) -> bytes:
    if _HALF_ESCAPE.search(credentials):
        raise BadUrlError("has a % in the user or password: write it as %25")
    user, _, password = credentials.partition(":")
    try:
        decoded = [unquote_to_bytes(part) for part in (user, password)]
    except UnicodeEncodeError:
        raise BadUrlError("has a user or password that is no text") from None
    if not decoded[0] or b":" in decoded[0]:
        raise BadUrlError("has no user before the @, or one with a colon")
    if any(map(_CONTROL.search, decoded)):
        raise BadUrlError("has a control character in the user or password")
    return b"Basic " + b64encode(b":".join(decoded))
