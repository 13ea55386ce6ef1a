"""Reads the answers that come over one connection, byte by byte and within bounds."""

from collections.abc import Iterable
from dataclasses import dataclass

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from webhook_worker.sending.errors import (
    RemoteProtocolError,
    TransportError,
)

MOST_BODY_BYTES = 16 * 1024
"""How much of an answer's body is read; then the connection is closed. Raw: never decompressed."""
MOST_ANSWER_BYTES = 64 * 1024
"""What is read of one answer in all: informational answers, head, framing and body."""

FIRST_FINAL_STATUS = 200
_WITHOUT_BODY = (204, 304)  # whatever their headers say (RFC 9112, 6.3)
_VERSIONS = ("1.1", "1.0")

Headers = list[tuple[bytes, bytes]]


@dataclass(slots=True)
class Answer:
    """What came back of one request: the head, and as much of the body as came."""

    status: int
    headers: Headers
    """Names as the receiver spells them."""
    body: bytes
    """At most MOST_BODY_BYTES, and what came in one piece with them."""
    cut_short: TransportError | None = None
    """Why the rest of the body did not come."""


class AnswerReader:
    """Reads one answer after another, each between ``begin`` and ``is_complete``.

    llhttp does the parsing, in its strict mode but for lines that end with LF alone: RFC 9112 lets
    a reader take them, and simple receivers send them. Decided here is what it leaves to its
    caller: the bounds, what ends an answer besides its framing, and whether another may follow.
    """

    __slots__ = ("_left", "_parser", "body", "headers", "is_complete", "may_be_followed", "status")

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(lenient_optional_cr_before_lf=True)
        self.begin()

    def begin(self) -> None:
        """The next bytes are another answer's, which may be as long as any."""
        self.status = 0
        """0 until the head has come whole."""
        self.headers: Headers = []
        self.body: bytes | bytearray = b""
        self.is_complete = False
        self.may_be_followed = False
        """Whether the connection can serve another request once the answer is complete."""
        self._left = MOST_ANSWER_BYTES

    def feed(self, data: memoryview) -> RemoteProtocolError | None:
        """Read on; return what is wrong, if anything is.

        Raised, it would hold frames that hold it, and all of that would wait for gc.
        """
        if len(data) > self._left:
            data = data[: self._left]
        self._left -= len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self.may_be_followed = False
            if not self.is_complete:
                return RemoteProtocolError("the answer is not HTTP/1.1")
        if not self._left and not self.is_complete:
            if not self.status:
                said = f"the answer's head has no end within {MOST_ANSWER_BYTES} bytes"
                return RemoteProtocolError(said)
            self.is_complete = True
        return None

    def end(self) -> None:
        """No more bytes will come; this is the end of a body that nothing else delimits."""
        if self.status and not _has_framing(self.headers):
            self.is_complete = True

    def release(self) -> None:
        """Nothing is fed any more. Parser and reader hold each other: memory would wait for gc."""
        del self._parser

    def answer(self, cut_short: TransportError | None = None) -> Answer:
        """What has come. It has a status, so the head has to be there."""
        return Answer(self.status, self.headers, bytes(self.body), cut_short)

    # What the parser calls.

    def on_message_begin(self) -> None:
        """An answer begins; one that nobody asked for, if the one before was complete."""
        if self.is_complete:
            self.may_be_followed = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or behind the head a trailer, which is passed over."""
        if not self.status:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        """The head is there. Raises ValueError for one that no answer of ours has."""
        if self.is_complete:
            return
        status = self._parser.get_status_code()
        if self._parser.get_http_version() not in _VERSIONS:
            raise ValueError("another version of HTTP")
        if status >= FIRST_FINAL_STATUS:
            self.status = status
            if status in _WITHOUT_BODY and _announces_body(self.headers):
                self.is_complete = True
        elif not 100 <= status != 101 or _announces_body(self.headers):  # noqa: PLR2004
            raise ValueError("no informational answer, or one that was not asked for")

    def on_body(self, piece: bytes) -> None:
        """A piece of the body."""
        if not self.is_complete:
            if not self.body:
                self.body = piece  # It is nearly always the only one.
            elif isinstance(self.body, bytearray):
                self.body += piece
            else:
                self.body = bytearray(self.body + piece)
            if len(self.body) >= MOST_BODY_BYTES:
                self.is_complete = True

    def on_message_complete(self) -> None:
        """The answer is there; an informational one is forgotten."""
        if not self.status:
            self.headers.clear()
        elif not self.is_complete:
            self.is_complete = True
            self.may_be_followed = self._parser.should_keep_alive()


def _has_framing(headers: Headers) -> bool:
    return any(True for _ in _framing(headers))


def _announces_body(headers: Headers) -> bool:
    return any(value.strip(b"0 \t") for value in _framing(headers))


def _framing(headers: Headers) -> Iterable[bytes]:
    for name, value in headers:
        if name.lower() in (b"content-length", b"transfer-encoding"):
            yield value
