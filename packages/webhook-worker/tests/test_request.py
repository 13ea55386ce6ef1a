"""The request of an attempt, as a value that an independent library verifies."""

from datetime import UTC, datetime
from importlib.metadata import version

from standardwebhooks import Webhook

from webhook_worker.endpoint import Endpoint
from webhook_worker.request import build
from webhook_worker.signing import Secret
from webhook_worker.url import parse_url

KEY = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ENDPOINT = Endpoint(
    id="acme-1",
    customer_id="acme",
    url=parse_url("https://acme.example/hook"),
    secrets=(Secret.parse(KEY),),
    headers=(("X-Team", "ünit"),),
)


def test_the_request_has_these_headers_and_no_others() -> None:
    request = build(b'{"a":1}', "evt_1", ENDPOINT, 1_614_265_330.9)
    headers = dict(request.headers)
    signature = headers.pop(b"webhook-signature")
    assert signature.startswith(b"v1,")
    assert headers == {
        b"content-type": b"application/json",
        b"user-agent": f"webhook-worker/{version('webhook-worker')}".encode(),
        b"accept-encoding": b"identity",
        b"webhook-id": b"evt_1",
        b"webhook-timestamp": b"1614265330",
        b"X-Team": "ünit".encode("latin-1"),
    }
    assert str(request.url) == "https://acme.example/hook"
    assert request.body == b'{"a":1}'


def test_an_independent_library_signs_the_same_request_alike() -> None:
    request = build('{"é":1}'.encode(), "evt_1", ENDPOINT, 1_614_265_330)
    headers = {name.decode(): value.decode("latin-1") for name, value in request.headers}
    moment = datetime.fromtimestamp(int(headers["webhook-timestamp"]), UTC)
    theirs = Webhook(KEY).sign(headers["webhook-id"], moment, request.body.decode())
    assert headers["webhook-signature"] == theirs


def test_repr_shows_neither_headers_nor_body_nor_path() -> None:
    text = repr(build(b'{"a":1}', "evt_1", ENDPOINT, 0))
    assert text == (
        "Request(head=Head(url=Url(https://acme.example/...)), event_id='evt_1', timestamp=0)"
    )


def test_what_goes_over_the_wire_is_one_request_with_all_headers() -> None:
    request = build(b'{"a":1}', "evt_1", ENDPOINT, 1_614_265_330.9)
    head, _, body = request.wire().partition(b"\r\n\r\n")
    line, *lines = head.split(b"\r\n")
    assert line == b"POST /hook HTTP/1.1"
    assert [tuple(each.split(b": ", 1)) for each in lines] == [
        (b"host", b"acme.example"),
        *request.headers,
        (b"content-length", b"7"),
    ]
    assert body == b'{"a":1}'
