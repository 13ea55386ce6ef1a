"""An endpoint's entry: what is allowed, and that each mistake is named without its value."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.directory.entry import parse_endpoint
from webhook_worker.endpoint import Endpoint, Limits
from webhook_worker.errors import BadEndpointError, BadSecretError
from webhook_worker.signing import Secret

KEY1 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY2 = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"
GOOD: dict[str, Any] = {
    "id": "acme-1",
    "customer_id": "acme",
    "url": "https://acme.example/hook?token=t0ps3cret",
    "secrets": [KEY1],
}

LABEL = "must be 1 to 256 characters, none a control character"
RATE = "must be a number of 0.00001 to 1000000, in attempts a second"
ORDERED = "must be block or park, or false"
CONCURRENCY = "must be a whole number of 1 to 10000"
QUOTES = "must be a string: put quotes around it"
ID = "must be 1 to 128 of A-Z a-z 0-9 . _ -"
SECRETS = "must be a list of 1 to 10 strings"
TYPES = "must be a list of 1 to 1000 strings"
MAPPING = "must be a mapping, or left out"
USER = "holds a user name or password: give them as a header instead"
NO_FILE = "cannot be read: No such file or directory"


def no_file(name: str) -> Sequence[str]:
    raise BadSecretError(NO_FILE)


def changed(**changes: Any) -> dict[str, Any]:
    return {name: value for name, value in {**GOOD, **changes}.items() if value is not ...}


def problems_of(entry: object) -> list[str]:
    with pytest.raises(BadEndpointError) as caught:
        parse_endpoint(entry, no_file)
    return [f"{problem.field}: {problem.message}" for problem in caught.value.problems]


def test_the_least_that_an_endpoint_needs() -> None:
    endpoint = parse_endpoint(GOOD, no_file)
    assert (endpoint.id, endpoint.customer_id) == ("acme-1", "acme")
    assert str(endpoint.url) == GOOD["url"]
    assert endpoint.secrets == (Secret.parse(KEY1),)
    assert endpoint.event_types is None
    assert (endpoint.headers, endpoint.limits) == ((), Limits())
    assert (endpoint.ordered, endpoint.enabled) == (None, True)


def test_everything_that_an_endpoint_can_have() -> None:
    endpoint = parse_endpoint(
        changed(
            secrets=[KEY1, KEY2],
            event_types=["invoice.paid", "invoice.sent"],
            headers={"X-Team": "billing ünit", "Authorization": "Bearer x"},
            limits={"concurrency": 4, "rate": 0.5},
            ordered="park",
            enabled=False,
        ),
        no_file,
    )
    assert endpoint.secrets == (Secret.parse(KEY1), Secret.parse(KEY2))
    assert endpoint.event_types == frozenset({"invoice.paid", "invoice.sent"})
    assert endpoint.headers == (("X-Team", "billing ünit"), ("Authorization", "Bearer x"))
    assert endpoint.limits == Limits(concurrency=4, rate=0.5)
    assert (endpoint.ordered, endpoint.enabled) == ("park", False)


@pytest.mark.parametrize(
    ("written", "meant"), [(True, "block"), ("block", "block"), ("park", "park"), (False, None)]
)
def test_order_is_wanted_with_what_a_failure_does_to_a_key(written: Any, meant: Any) -> None:
    assert parse_endpoint(changed(ordered=written), no_file).ordered == meant


def test_secrets_can_come_from_a_file() -> None:
    asked: list[str] = []

    def read(name: str) -> Sequence[str]:
        asked.append(name)
        return [KEY1, KEY2]

    endpoint = parse_endpoint(changed(secrets=..., secrets_file="acme.secrets"), read)
    assert asked == ["acme.secrets"]
    assert endpoint.secrets == (Secret.parse(KEY1), Secret.parse(KEY2))


@pytest.mark.parametrize("lines", [[], ["nonsense"], [KEY1] * 11])
def test_a_secrets_file_of_something_else_is_refused(lines: list[str]) -> None:
    with pytest.raises(BadEndpointError, match="secrets_file") as caught:
        parse_endpoint(changed(secrets=..., secrets_file="x"), lambda _: lines)
    assert "nonsense" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"id": ...}, "id", "is missing"),
        ({"id": None}, "id", "is empty: write a value or leave the field out"),
        ({"id": 123}, "id", QUOTES),
        ({"id": False}, "id", QUOTES),
        ({"id": ["a"]}, "id", "must be a string"),
        ({"id": ""}, "id", ID),
        ({"id": "a b"}, "id", ID),
        ({"id": "a\n"}, "id", ID),
        ({"id": "x" * 129}, "id", ID),
        ({"customer_id": ...}, "customer_id", "is missing"),
        ({"customer_id": 7}, "customer_id", QUOTES),
        ({"customer_id": ""}, "customer_id", LABEL),
        ({"customer_id": "a\x00"}, "customer_id", LABEL),
        ({"url": ...}, "url", "is missing"),
        ({"url": 5}, "url", QUOTES),
        ({"url": "ftp://acme.example/"}, "url", "must begin with https:// or http://"),
        ({"url": "https://u:p@a.example"}, "url", USER),
        ({"secrets": ...}, "secrets", "is missing: give it, or secrets_file"),
        ({"secrets_file": "x"}, "secrets", "cannot stand beside secrets_file"),
        ({"secrets": None}, "secrets", SECRETS),
        ({"secrets": []}, "secrets", SECRETS),
        ({"secrets": KEY1}, "secrets", SECRETS),
        ({"secrets": [KEY1] * 11}, "secrets", SECRETS),
        ({"secrets": [KEY1, "abc"]}, "secrets[1]", "must begin with whsec_ (or whsk_)"),
        ({"secrets": [42]}, "secrets[0]", "must be a string"),
        ({"secrets": ..., "secrets_file": 1}, "secrets_file", QUOTES),
        ({"secrets": ..., "secrets_file": "x"}, "secrets_file", NO_FILE),
        ({"event_types": []}, "event_types", TYPES),
        ({"event_types": None}, "event_types", TYPES),
        ({"event_types": "a.b"}, "event_types", TYPES),
        ({"event_types": ["a.b", 5]}, "event_types[1]", QUOTES),
        ({"event_types": [""]}, "event_types[0]", LABEL),
        ({"headers": None}, "headers", MAPPING),
        ({"headers": ["a"]}, "headers", MAPPING),
        ({"headers": {f"x-{n}": "" for n in range(33)}}, "headers", "holds more than 32 headers"),
        ({"limits": None}, "limits", MAPPING),
        ({"limits": {"rat": 4}}, "limits.rat", "is not known: did you mean rate?"),
        ({"limits": {"burst": 4}}, "limits.burst", "is not known: known are concurrency, rate"),
        ({"limits": {"concurrency": 0}}, "limits.concurrency", CONCURRENCY),
        ({"limits": {"concurrency": 1.0}}, "limits.concurrency", CONCURRENCY),
        ({"limits": {"concurrency": True}}, "limits.concurrency", CONCURRENCY),
        ({"limits": {"concurrency": "4"}}, "limits.concurrency", CONCURRENCY),
        ({"limits": {"concurrency": None}}, "limits.concurrency", CONCURRENCY),
        ({"limits": {"rate": 0}}, "limits.rate", RATE),
        ({"limits": {"rate": float("nan")}}, "limits.rate", RATE),
        ({"limits": {"rate": float("inf")}}, "limits.rate", RATE),
        ({"limits": {"rate": 10**400}}, "limits.rate", RATE),
        ({"limits": {"rate": 5e-324}}, "limits.rate", RATE),
        ({"ordered": "yes"}, "ordered", ORDERED),
        ({"ordered": 1}, "ordered", ORDERED),
        ({"ordered": None}, "ordered", ORDERED),
        ({"ordered": ["block"]}, "ordered", ORDERED),
        ({"enabled": 1}, "enabled", "must be true or false"),
        ({"enabled": None}, "enabled", "must be true or false"),
        ({"event_type": ["a"]}, "event_type", "is not known: did you mean event_types?"),
    ],
)  # fmt: skip
def test_each_mistake_is_named_with_what_is_allowed(
    changes: dict[str, Any], field: str, message: str
) -> None:
    assert problems_of(changed(**changes)) == [f"{field}: {message}"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[(name, "x") for name in ("Host", "content-length", "Content-Type", "Transfer-Encoding")],
        *[(name, "x") for name in ("Connection", "TE", "Upgrade", "Keep-Alive", "Trailer")],
        *[(name, "x") for name in ("Proxy-Authorization", "Expect", "Accept-Encoding")],
        *[(name, "x") for name in ("User-Agent", "webhook-id", "Webhook-Signature", "webhook-x")],
        *[(name, "x") for name in ("", "a b", "a:", ":path", "a\r\nb", "é", "a\x00", "x" * 129)],
        *[("X-A", value) for value in ("a\r\nHost: b", "a\nb", "a\rb", "a\x00b", "a\tb", "\x7f")],
        *[("X-A", value) for value in (" a", "a ", "\xa0a", "\u20ac", "\x85", "x" * 4097)],
        *[("X-A", value) for value in (1, None, True, ["a"])],
    ],
)
def test_a_header_cannot_reach_beyond_its_line_or_pose_as_ours(name: str, value: object) -> None:
    said = problems_of(changed(headers={name: value}))
    assert len(said) == 1
    assert said[0].startswith("headers.")


def test_a_header_stands_there_once_in_any_case() -> None:
    said = problems_of(changed(headers={"X-A": "1", "x-a": "2"}))
    assert said == ["headers.x-a: is there more than once"]


@pytest.mark.parametrize("entry", [None, 5, "text", [], True])
def test_an_entry_must_be_a_mapping(entry: object) -> None:
    assert problems_of(entry) == [": must be a mapping with id, customer_id, url and so on"]


def test_all_mistakes_are_told_at_once() -> None:
    fields = [problem.partition(":")[0] for problem in problems_of({"id": 1, "enabled": "on"})]
    assert fields == ["id", "customer_id", "url", "secrets", "enabled"]


def test_what_could_be_read_travels_with_the_problems() -> None:
    with pytest.raises(BadEndpointError) as caught:
        parse_endpoint(changed(url="x", event_types=["a.b"], enabled=False), no_file)
    error = caught.value
    assert (error.endpoint_id, error.customer_id) == ("acme-1", "acme")
    assert error.event_types == frozenset({"a.b"})
    assert error.enabled is False


def test_types_that_cannot_all_be_read_count_as_all() -> None:
    with pytest.raises(BadEndpointError) as caught:
        parse_endpoint(changed(event_types=["a.b", 5]), no_file)
    assert caught.value.event_types is None


def test_an_endpoint_wants_its_types_only_and_none_while_disabled() -> None:
    endpoint = parse_endpoint(changed(event_types=["a.b"]), no_file)
    assert endpoint.wants("a.b")
    assert not endpoint.wants("a.bc")
    assert parse_endpoint(GOOD, no_file).wants("anything")
    assert not parse_endpoint(changed(enabled=False), no_file).wants("anything")


def test_repr_shows_neither_secrets_nor_url_nor_headers() -> None:
    endpoint = parse_endpoint(changed(headers={"Authorization": "Bearer t0ps3cret"}), no_file)
    assert repr(endpoint).startswith("Endpoint(id='acme-1', customer_id='acme'")
    assert "t0ps3cret" not in repr(endpoint)
    assert KEY1.removeprefix("whsec_") not in repr(endpoint)


_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.text(), below, max_size=3),
    max_leaves=5,
)
_fields = st.sampled_from(["id", "customer_id", "url", "secrets", "secrets_file", "event_types",
                           "headers", "limits", "ordered", "enabled", "other"])  # fmt: skip


@given(changes=st.dictionaries(_fields, _values, max_size=4))
def test_any_entry_is_an_endpoint_or_wrong(changes: dict[str, Any]) -> None:
    wrong = None
    try:
        endpoint = parse_endpoint({**GOOD, **changes}, no_file)
    except BadEndpointError as error:
        wrong = error
    else:
        assert isinstance(endpoint, Endpoint)
        assert endpoint.secrets
    if wrong is not None:
        assert wrong.problems
        assert all(problem.message for problem in wrong.problems)
        assert KEY1.removeprefix("whsec_") not in str(wrong)
