"""Reads the URL of an endpoint strictly, so that what is judged is what is dialled."""

import re
import unicodedata
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from urllib.parse import quote

from webhook_worker.errors import BadUrlError

MAX_CHARACTERS = 2048
MAX_HOST_CHARACTERS = 253
DEFAULT_PORTS = {"http": 80, "https": 443}

# URL parsers skip or drop some of these, each others: no two readers would then see the same URL.
_FORBIDDEN = re.compile("[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff\\\\]")
_PARTS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?]*)([^#]*)")
_AUTHORITY = re.compile(r"(\[[^\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?")
_LABEL = re.compile(r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_PART = re.compile(r"0x[0-9a-f]{1,250}|[0-9]{1,250}")
# These mean one name in IDNA 2003 and another in IDNA 2008.
_AMBIGUOUS = re.compile("[\u00df\u03c2\u200c\u200d]")
_TARGET_SAFE = "/?%:@!$&'()*+,;=-._~[]"


@dataclass(frozen=True, slots=True)
class Url:
    """An absolute http or https URL in its one normal spelling; ``str()`` gives it.

    Paths and queries of customers hold tokens at times, so ``repr`` leaves them out.
    """

    scheme: str
    host: str
    """Lower-case ASCII: a name (IDNA applied, no dot at its end) or an address, no brackets."""
    port: int
    target: str
    """Path and query."""
    address: IPv4Address | IPv6Address | None
    """The address, where the host is one."""

    @property
    def origin(self) -> str:
        """Scheme, host and port, the port left out where it is the scheme's own."""
        return f"{self.scheme}://{self.authority}"

    @property
    def authority(self) -> str:
        """Host and port as in ``origin``: the value of the Host header."""
        host = f"[{self.host}]" if isinstance(self.address, IPv6Address) else self.host
        port = "" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}"
        return host + port

    def __str__(self) -> str:
        return self.origin + self.target

    def __repr__(self) -> str:
        return f"Url({self.origin}/...)"


def parse_url(text: str) -> Url:
    """Read a URL. Raises BadUrlError with a sentence that does not hold the URL."""
    if len(text) > MAX_CHARACTERS:
        raise BadUrlError(f"is longer than {MAX_CHARACTERS} characters")
    if _FORBIDDEN.search(text):
        raise BadUrlError("holds white space, a control character or a backslash")
    if "#" in text:
        raise BadUrlError("holds a fragment (#...), which is never sent: leave it out")
    parts = _PARTS.fullmatch(text)
    if parts is None:
        raise BadUrlError("must be absolute, such as https://example.com/hook")
    scheme, authority, target = parts[1].lower(), parts[2], parts[3]
    if scheme not in DEFAULT_PORTS:
        raise BadUrlError("must begin with https:// or http://")
    if "@" in authority:
        raise BadUrlError("holds a user name or password: give them as a header instead")
    host, address, port = _read_authority(unicodedata.normalize("NFKC", authority))
    if not target.startswith("/"):
        target = "/" + target
    return Url(
        scheme=scheme,
        host=host,
        port=DEFAULT_PORTS[scheme] if port is None else port,
        target=quote(target, safe=_TARGET_SAFE),
        address=address,
    )


def _read_authority(
    authority: str,
) -> tuple[str, IPv4Address | IPv6Address | None, int | None]:
    match = _AUTHORITY.fullmatch(authority)
    if match is None or "%" in authority:
        raise BadUrlError("must have a plain host, and a port of 1 to 65535 or none after it")
    port = None if match[2] is None else int(match[2])
    if port is not None and not 1 <= port <= 65535:  # noqa: PLR2004 - of TCP, known to all
        raise BadUrlError("must have a port of 1 to 65535")
    if match[1].startswith("["):
        address = _read_ipv6(match[1][1:-1])
        return str(address), address, port
    host = _read_name(match[1])
    if not _NUMBER.fullmatch(host.rpartition(".")[2]):
        return host, None, port
    ipv4 = parse_ipv4(host)
    if ipv4 is None:
        raise BadUrlError("has a host that looks like an IPv4 address and is none")
    return str(ipv4), ipv4, port


def _read_ipv6(text: str) -> IPv6Address:
    try:
        return IPv6Address(text)
    except ValueError:
        raise BadUrlError("has a host that is no IPv6 address") from None


def _read_name(text: str) -> str:
    if _AMBIGUOUS.search(text):
        raise BadUrlError("has a host of more than one meaning: write it in its xn-- form")
    if len(text) > MAX_HOST_CHARACTERS + 1:
        raise BadUrlError(f"has a host longer than {MAX_HOST_CHARACTERS} characters")
    try:
        name = text if text.isascii() else text.encode("idna").decode("ascii")
    except UnicodeError:
        raise BadUrlError("has a host that is no name of the DNS") from None
    name = name.lower().removesuffix(".")
    if len(name) > MAX_HOST_CHARACTERS or not all(map(_LABEL.fullmatch, name.split("."))):
        raise BadUrlError("has a host that is no name of the DNS")
    return name


def parse_ipv4(text: str) -> IPv4Address | None:
    """The address that ``inet_aton``, hence ``getaddrinfo``, reads; None where it is none.

    One to four parts, each decimal, octal (``0177``) or hexadecimal (``0x7f``); the last fills the
    bytes that are left.
    """
    parts = text.lower().split(".")
    try:
        numbers = [_read_part(part) for part in parts]
    except ValueError:
        return None
    *leading, last = numbers
    if len(parts) > 4 or any(number > 0xFF for number in leading):  # noqa: PLR2004 - bytes
        return None
    left = 4 - len(leading)
    if last >= 1 << (8 * left):
        return None
    high = int.from_bytes(bytes(leading), "big") << (8 * left)
    return IPv4Address(high | last)


def _read_part(part: str) -> int:
    if not _PART.fullmatch(part):
        raise ValueError(part)
    if part.startswith("0x"):
        return int(part, 16)
    return int(part, 8 if part.startswith("0") else 10)
