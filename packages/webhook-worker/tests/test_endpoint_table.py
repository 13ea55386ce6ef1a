"""Endpoints that come one by one: as if each had been checked when it came."""

import json
from base64 import b64encode
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from webhook_worker.directory.table import MOST_PARSED, EndpointTable, read_entry
from webhook_worker.errors import BadEndpointError

SECRET = "whsec_" + b64encode(b"a key of twenty-four byte").decode()


def entry(key: str, **more: object) -> bytes:
    whole = {"id": key, "customer_id": "acme", "url": "https://a.example/", "secrets": [SECRET]}
    return json.dumps(whole | more).encode()


def ids(table: EndpointTable, customer_id: str = "acme") -> list[str]:
    return [each.id for each in table.endpoints_for(customer_id, "order.paid")]


def broken(table: EndpointTable, customer_id: str) -> list[str]:
    """Which of them was asked for first decides their order, and nobody minds it."""
    return sorted(map(str, table.broken_for(customer_id, "t")))


def test_an_endpoint_is_found_by_its_id_and_by_its_customer() -> None:
    table = EndpointTable()
    table.put("a", entry("a"))
    table.put("b", entry("b", enabled=False))
    table.put("c", entry("c", event_types=["order.sent"]))
    assert ids(table) == ["a"]
    assert [table.get(each) is not None for each in "abcd"] == [True, True, True, False]
    assert table.counts == {"enabled": 2, "disabled": 1, "invalid": 0}
    assert table.knows_customer("acme")
    assert not table.knows_customer("other")


def test_what_comes_later_takes_the_place_of_what_was_there() -> None:
    table = EndpointTable()
    table.put("a", entry("a"))
    assert ids(table) == ["a"]
    table.put("a", entry("a", customer_id="other", enabled=False))
    assert not table.knows_customer("acme")
    assert table.counts == {"enabled": 0, "disabled": 1, "invalid": 0}
    table.delete("a")
    assert table.get("a") is None
    assert not table.knows_customer("other")
    assert table.counts == {"enabled": 0, "disabled": 0, "invalid": 0}


@pytest.mark.parametrize(
    ("text", "field", "said"),
    [
        (b"{", "", "is not JSON"),
        (b"\xff", "", "is not JSON"),
        (b"[" * 100_000, "", "is not JSON"),
        (b'{"id": NaN}', "", "is not JSON"),
        (b"[]", "", "must be a mapping"),
        (b"{}", "id", ""),
        (entry("b"), "id", "the same as the key"),
        (entry("a", url="nowhere"), "url", "absolute"),
        (entry("a", customer_id=1), "customer_id", "string"),
        (entry("a")[:-1] + b', "url": "https://b.example"}', "url", "more than once"),
        (entry("a", secrets_file="/etc/hostname"), "secrets", "beside"),
    ],
)
def test_an_entry_that_is_wrong_is_off_and_told_once(text: bytes, field: str, said: str) -> None:
    table = EndpointTable()
    table.put("a", entry("a"))
    table.put("a", text)
    assert table.is_broken("a")
    assert table.get("a") is None
    assert ids(table) == []
    problems = table.check(10)
    assert any(each.field == field and said in each.message for each in problems)
    assert SECRET not in str(problems)
    assert table.is_checked
    assert table.check(10) == ()
    assert table.counts == {"enabled": 0, "disabled": 0, "invalid": 1}


def test_a_secrets_file_belongs_into_a_file() -> None:
    text = json.dumps(
        {"id": "a", "customer_id": "c", "url": "https://a.example", "secrets_file": "/etc/hostname"}
    )
    with pytest.raises(BadEndpointError, match="secrets_file belongs into a file of endpoints"):
        read_entry("a", text.encode())


def test_deliveries_wait_for_the_repair_of_a_wrong_entry_also_before_it_is_checked() -> None:
    table = EndpointTable()
    table.put("a", entry("a", url="nowhere"))
    assert table.broken_for("acme", "order.paid") == ("a",)
    table.put("a", entry("a"))
    assert table.broken_for("acme", "order.paid") == ()
    assert ids(table) == ["a"]


def test_more_endpoints_than_are_kept_parsed_are_all_found() -> None:
    table = EndpointTable()
    keys = [f"e{number}" for number in range(MOST_PARSED + 5)]
    for key in keys:
        table.put(key, entry(key, customer_id=key))
    for _ in range(2):
        assert [ids(table, key) for key in keys] == [[key] for key in keys]


CHANGES = st.lists(
    st.tuples(
        st.sampled_from("ab"),
        st.sampled_from(["gone", "nonsense", "c1", "c2", "off", "wrong", "asked", "checked"]),
    ),
    max_size=12,
)


@given(CHANGES)
@example([("b", "wrong"), ("a", "wrong"), ("a", "asked")])
def test_after_any_changes_the_table_is_as_if_only_the_last_had_come(
    changes: list[tuple[str, str]],
) -> None:
    texts: dict[str, Callable[[str], bytes]] = {
        "nonsense": lambda _: b"-",
        "c1": lambda key: entry(key, customer_id="c1"),
        "c2": lambda key: entry(key, customer_id="c2"),
        "off": lambda key: entry(key, customer_id="c1", enabled=False),
        "wrong": lambda key: entry(key, customer_id="c2", url=""),
    }
    table = EndpointTable()
    last: dict[str, bytes] = {}
    for key, what in changes:
        if what == "asked":
            table.get(key)
        elif what == "checked":
            table.check(1)
        elif what == "gone":
            table.delete(key)
            last.pop(key, None)
        else:
            last.pop(key, None)
            last[key] = texts[what](key)
            table.put(key, last[key])
    expected = EndpointTable()
    for key, text in last.items():
        expected.put(key, text)
    for each in (table, expected):
        each.check(10)
    assert table.counts == expected.counts
    for customer in ("c1", "c2"):
        assert ids(table, customer) == ids(expected, customer)
        assert broken(table, customer) == broken(expected, customer)
        assert table.knows_customer(customer) == expected.knows_customer(customer)
    for key in "ab":
        assert table.get(key) == expected.get(key)
        assert table.is_broken(key) == expected.is_broken(key)
