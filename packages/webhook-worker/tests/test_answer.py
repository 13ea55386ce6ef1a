"""Answers byte by byte, also beside h11: the same verdict, or a reason why not."""

from collections.abc import Iterable, Sequence

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.sending.answer import MOST_ANSWER_BYTES, MOST_BODY_BYTES, Answer, AnswerReader

Verdict = tuple[int, bytes] | str
"""Status and body, or what is wrong: "protocol" (not HTTP), "short" (ended too early)."""

LONG = b"x" * 300
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
GOOD: dict[str, bytes] = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
    "no body": b"HTTP/1.1 204 No Content\r\n\r\n",
    "empty body": b"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n",
    "not modified, with the length of what it has not": (
        b"HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"
    ),
    "no reason": b"HTTP/1.1 200 \r\nContent-Length: 1\r\n\r\na",
    "reason of bytes": b"HTTP/1.1 200 \xe4\xf6\r\nContent-Length: 1\r\n\r\na",
    "chunks": CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
    "chunks with extensions and trailers": CHUNKED + b'3;a="b"\r\nhel\r\n0\r\nX: y\r\n\r\n',
    "chunks in capitals": CHUNKED.replace(b"chunked", b"Chunked") + b"A\r\n0123456789\r\n0\r\n\r\n",
    "until the end": b"HTTP/1.1 200 OK\r\n\r\nhello",
    "until the end, nothing": b"HTTP/1.1 200 OK\r\nServer: a\r\n\r\n",
    "old": b"HTTP/1.0 200 OK\r\n\r\nhello",
    "old and kept": b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
    "informational first": (
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Hints\r\nLink: a\r\n\r\n"
        b"HTTP/1.1 202 Yes\r\nContent-Length: 1\r\n\r\na"
    ),
    "redirect": b"HTTP/1.1 307 There\r\nLocation: /\r\nContent-Length: 0\r\n\r\n",
    "many headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"Content-Length: 1\r\n\r\na",
    "long header": b"HTTP/1.1 200 OK\r\nA: " + LONG * 40 + b"\r\nContent-Length: 1\r\n\r\na",
    "space around a value": b"HTTP/1.1 200 OK\r\nContent-Length: \t 2 \t \r\n\r\nok",
    "empty value": b"HTTP/1.1 200 OK\r\nA:\r\nContent-Length: 1\r\n\r\na",
    "length in capitals": b"HTTP/1.1 200 OK\r\nCONTENT-LENGTH: 1\r\n\r\na",
    "lines that end with LF alone": b"HTTP/1.1 200 OK\nContent-Length: 1\n\na",
    "gzip is only bytes": (
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 3\r\n\r\n\x1f\x8b\x08"
    ),
}
BAD: dict[str, bytes] = {
    "another protocol": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "half a name": b"HTT/1.1 200 OK\r\n\r\n",
    "no version": b"HTTP 200 OK\r\n\r\n",
    "a switch to a protocol that was not asked for": (
        b"HTTP/1.1 101 Go\r\nUpgrade: h2c\r\nConnection: upgrade\r\n\r\n"
    ),
    "status of letters": b"HTTP/1.1 huge OK\r\n\r\n",
    "status too short": b"HTTP/1.1 20 OK\r\n\r\n",
    "status too long": b"HTTP/1.1 2000 OK\r\n\r\n",
    "status of nothing": b"HTTP/1.1 000 OK\r\n\r\n",
    "status that is negative": b"HTTP/1.1 -20 OK\r\n\r\n",
    "header without a colon": b"HTTP/1.1 200 OK\r\nnothing\r\n\r\n",
    "header without a name": b"HTTP/1.1 200 OK\r\n: a\r\n\r\n",
    "space before the colon": b"HTTP/1.1 200 OK\r\nContent-Length : 1\r\n\r\na",
    "NUL in a name": b"HTTP/1.1 200 OK\r\nA\0: a\r\n\r\n",
    "NUL in a value": b"HTTP/1.1 200 OK\r\nA: a\0b\r\nContent-Length: 0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
    "length of letters": b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
    "length that is negative": b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
    "length with a sign": b"HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\na",
    "length beyond numbers": b"HTTP/1.1 200 OK\r\nContent-Length: " + b"9" * 40 + b"\r\n\r\n",
    "chunk size of letters": CHUNKED + b"zz\r\n",
    "chunk size of nothing": CHUNKED + b"\r\n",
    "chunk size that is negative": CHUNKED + b"-1\r\n",
    "chunk size beyond numbers": CHUNKED + b"f" * 40 + b"\r\n",
    "chunk longer than it says": CHUNKED + b"1\r\nab\r\n0\r\n\r\n",
}
DIFFERENT: dict[str, tuple[bytes, Verdict, Verdict]] = {
    # Two readers of such an answer may see different ends, and what is behind one of them could
    # be taken for the next answer. So it is refused; h11 lets the transfer coding win.
    "length beside chunks": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "protocol",
        (200, b""),
    ),
    "the same length twice": (
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok",
        "protocol",
        (200, b"ok"),
    ),
    # What it would look like is not known. h11 takes any version of two digits.
    "a version that HTTP does not have": (
        b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        "protocol",
        (200, b""),
    ),
    # RFC 9112 lets a client pass over an empty line in front, and what is in a reason is not read.
    "an empty line in front": (b"\r\n" + GOOD["length"], (200, b"hello"), "protocol"),
    "control characters in the reason": (
        b"HTTP/1.1 200 \0\x0c\r\nContent-Length: 0\r\n\r\n",
        (200, b""),
        "protocol",
    ),
    # Where such a body ends is not known before the connection's end; that it cannot be read is
    # known earlier, but nobody sends one: both make the delivery fail.
    "a transfer coding that we do not know": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhello",
        "short",
        "protocol",
    ),
    # An informational answer has no body, so a length in it is a contradiction. h11 ignores it.
    "informational with a length": (
        b"HTTP/1.1 103 A\r\nContent-Length: 1\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "protocol",
        (200, b""),
    ),
}


def ours(pieces: Iterable[bytes]) -> Verdict:
    """What we make of bytes behind which the connection is closed."""
    reader = AnswerReader()
    for piece in pieces:
        if not reader.is_complete and reader.feed(memoryview(piece)):
            return "protocol"
    reader.end()
    return (reader.status, bytes(reader.body)) if reader.is_complete else "short"


def theirs(raw: bytes) -> Verdict:
    """What h11 makes of them."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=MOST_ANSWER_BYTES)
    target = h11.Request(
        method="POST", target="/", headers=[("Host", "a"), ("Content-Length", "0")]
    )
    connection.send(target)
    connection.send(h11.EndOfMessage())
    status, body, was_closed = 0, b"", not raw
    connection.receive_data(raw)
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += bytes(event.data)
            elif isinstance(event, h11.EndOfMessage):
                return status, body
            elif event is h11.PAUSED:
                return "short"
            elif event is h11.NEED_DATA:
                was_closed = True
                connection.receive_data(b"")
    except h11.RemoteProtocolError:
        return "short" if was_closed else "protocol"


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_a_good_answer_is_read_as_h11_reads_it(raw: bytes) -> None:
    verdict = ours([raw])
    assert isinstance(verdict, tuple)
    assert verdict == theirs(raw)


@pytest.mark.parametrize("raw", BAD.values(), ids=BAD)
def test_what_is_not_http_is_refused_as_h11_refuses_it(raw: bytes) -> None:
    assert (ours([raw]), theirs(raw)) == ("protocol", "protocol")


@pytest.mark.parametrize(("raw", "we", "they"), DIFFERENT.values(), ids=DIFFERENT)
def test_where_we_decide_otherwise_than_h11(raw: bytes, we: Verdict, they: Verdict) -> None:
    assert (ours([raw]), theirs(raw)) == (we, they)


@pytest.mark.parametrize("raw", [*GOOD.values(), *BAD.values()], ids=[*GOOD, *BAD])
def test_where_the_bytes_are_parted_makes_no_difference(raw: bytes) -> None:
    whole = ours([raw])
    for middle in range(1, len(raw)):
        assert ours([raw[:middle], raw[middle:]]) == whole
    assert ours(raw[i : i + 1] for i in range(len(raw))) == whole


@pytest.mark.parametrize("raw", GOOD.values(), ids=GOOD)
def test_an_answer_that_ends_at_any_of_its_bytes_is_judged_as_by_h11(raw: bytes) -> None:
    for end in range(len(raw)):
        assert ours([raw[:end]]) == theirs(raw[:end]), raw[:end]


@given(st.binary(max_size=200))
def test_any_bytes_are_an_answer_or_none_and_nothing_else(raw: bytes) -> None:
    assert ours([raw]) in ("protocol", "short")
    assert isinstance(ours([b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\na" + raw]), tuple)


@given(st.sampled_from(list(GOOD.values())), st.integers(0, 400), st.binary(min_size=1, max_size=3))
def test_an_answer_with_wrong_bytes_in_it_is_never_taken_for_another_than_h11_takes_it_for(
    raw: bytes, where: int, wrong: bytes
) -> None:
    where %= len(raw)
    spoilt = raw[:where] + wrong + raw[where + len(wrong) :]
    verdict = ours([spoilt])
    if isinstance(verdict, tuple):
        assert theirs(spoilt) in (verdict, "protocol"), spoilt


def fed(*pieces: bytes) -> AnswerReader:
    reader = AnswerReader()
    for piece in pieces:
        reader.feed(memoryview(piece))
    return reader


@pytest.mark.parametrize(
    ("raw", "followed"),
    [
        (GOOD["length"], True),
        (GOOD["chunks"], True),
        (GOOD["no body"], True),
        (GOOD["old and kept"], True),
        (b"HTTP/1.1 204 No\r\nContent-Length: 0\r\n\r\n", True),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", False),
        (b"HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n", False),
        (b"HTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\n", False),
        (b"HTTP/1.1 304 No\r\nTransfer-Encoding: chunked\r\n\r\n", False),
        (GOOD["length"] + b"H", False),
        (GOOD["length"] + GOOD["length"], False),
        (GOOD["length"] + b"\0", False),
        (GOOD["chunks"] + b"0\r\n\r\n", False),
        (GOOD["no body"] + b"body", False),
    ],
)
def test_a_connection_serves_again_only_when_nothing_speaks_against_it(
    raw: bytes, followed: bool
) -> None:
    reader = fed(raw)
    assert (reader.is_complete, reader.may_be_followed) == (True, followed)


def test_answers_follow_one_another_without_traces() -> None:
    reader = AnswerReader()
    for name in ("chunks with extensions and trailers", "informational first", "length"):
        reader.begin()
        reader.feed(memoryview(GOOD[name]))
        assert (reader.status, bytes(reader.body)) == theirs(GOOD[name])
        assert reader.may_be_followed
    assert reader.answer() == Answer(200, [(b"Content-Length", b"5")], b"hello")


def test_a_trailer_is_no_header() -> None:
    reader = fed(CHUNKED + b"0\r\nRetry-After: 5\r\n\r\n")
    assert reader.headers == [(b"Transfer-Encoding", b"chunked")]


def bodies(size: int) -> Sequence[bytes]:
    return [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n" + b"x" * size,
        b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * size,
        CHUNKED + b"f4240\r\n" + b"x" * size,
    ]


@pytest.mark.parametrize("raw", bodies(40_000), ids=["length", "until the end", "chunks"])
def test_a_long_body_is_complete_at_the_bound_and_nothing_follows(raw: bytes) -> None:
    reader = AnswerReader()
    for i in range(0, len(raw), 1000):
        if not reader.is_complete:
            reader.feed(memoryview(raw[i : i + 1000]))
    assert (reader.is_complete, reader.may_be_followed) == (True, False)
    assert MOST_BODY_BYTES <= len(reader.body) < MOST_BODY_BYTES + 1000


def test_no_more_is_read_of_an_answer_than_its_bound_whatever_comes_at_once() -> None:
    tiny = fed(CHUNKED + b"1\r\na\r\n" * 100_000)
    assert (tiny.is_complete, tiny.may_be_followed) == (True, False)
    assert len(tiny.body) <= MOST_ANSWER_BYTES // 6
    for endless in (b"HTTP/1.1 103 A\r\n\r\n" * 10_000, b"HTTP/1.1 200 " + b"x" * 100_000):
        error = AnswerReader().feed(memoryview(endless))
        assert str(error) == "the answer's head has no end within 65536 bytes"
