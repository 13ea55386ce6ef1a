"""The account of a run: what was sent against what was received, parked or given up."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.demo.ledger import (
    Sent,
    Stored,
    balance,
    first_attempt_delays,
    longest_silences,
    percentile,
)
from deploy.demo.receipts import Receipt

SECOND = 1_000_000_000


def sent(event_id: str, *endpoints: str, partition: int = 0, at: float = 0.0) -> Sent:
    return Sent(event_id, partition, round(at * SECOND), endpoints or ("a",))


def receipt(
    event_id: str, endpoint: str = "a", *, at: float = 1.0, status: int = 200, valid: bool = True
) -> Receipt:
    return Receipt(round(at * SECOND), endpoint, event_id, status, valid, 0.0)


def test_a_delivery_that_nobody_has_is_lost() -> None:
    account = balance([sent("e1", "a", "b")], [receipt("e1", "a")], [], [])
    assert account.lost == (("e1", "b"),)
    assert (account.sent, account.delivered, account.distinct) == (2, 1, 1)


@pytest.mark.parametrize(
    ("parked", "dead"),
    [
        ([Stored("e1", "b", "http_503")], []),
        ([], [Stored("e1", "b", "exhausted")]),
        ([], [Stored("e1", None, "not_json")]),
    ],
    ids=["parked", "dead letter of one endpoint", "dead letter of the whole event"],
)
def test_a_delivery_that_is_stored_is_not_lost(parked: list[Stored], dead: list[Stored]) -> None:
    account = balance([sent("e1", "a", "b")], [receipt("e1", "a")], parked, dead)
    assert account.lost == ()


def test_a_refused_request_delivers_nothing() -> None:
    account = balance([sent("e1")], [receipt("e1", status=503)], [], [])
    assert (account.delivered, account.lost) == (0, (("e1", "a"),))


def test_a_delivery_accepted_three_times_has_two_duplicates() -> None:
    account = balance([sent("e1")], [receipt("e1", at=at) for at in (1, 2, 3)], [], [])
    assert account.duplicates == (("e1", "a"), ("e1", "a"))
    assert (account.delivered, account.distinct) == (3, 1)


def test_a_retry_after_a_refusal_is_no_duplicate() -> None:
    receipts = [receipt("e1", at=1, status=503), receipt("e1", at=2)]
    assert balance([sent("e1")], receipts, [], []).duplicates == ()


def test_a_wrong_signature_and_an_undue_delivery_are_counted() -> None:
    receipts = [
        receipt("e1"),
        receipt("e1", status=401, valid=False),
        receipt("e2"),
        receipt("e1", "b"),
    ]
    account = balance([sent("e1")], receipts, [], [])
    assert (account.invalid, account.unexpected, account.delivered) == (1, 2, 1)


def test_dead_letters_are_counted_by_reason_and_each_delivery_once() -> None:
    dead = [
        Stored("e1", "a", "exhausted"),
        Stored("e1", "a", "exhausted"),
        Stored("e2", None, "not_json"),
        Stored("unknown", "a", "exhausted"),
    ]
    account = balance([sent("e1", "a"), sent("e2", "a", "b")], [], [], dead)
    assert account.dead_letters == {"exhausted": 1, "not_json": 2}


def test_delays_are_those_of_deliveries_accepted_at_their_first_attempt() -> None:
    events = [sent("e1", at=1), sent("e2", at=1), sent("e3", at=1)]
    receipts = [
        receipt("e1", at=1.25),
        receipt("e1", at=9),
        receipt("e2", at=2, status=503),
        receipt("e2", at=3),
    ]
    assert first_attempt_delays(events, receipts) == [0.25]


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        ([], 50, None),
        ([7.0], 99, 7.0),
        ([1.0, 2.0], 50, 1.0),
        ([float(n) for n in range(1, 101)], 99, 99.0),
        ([float(n) for n in range(1, 1001)], 99, 990.0),
    ],
)
def test_a_percentile_is_a_value_that_occurred(
    values: list[float], percent: int, expected: float | None
) -> None:
    assert percentile(values, percent) == expected


def test_a_partition_with_nothing_to_do_is_not_silent() -> None:
    events = [sent("e1", at=0), sent("e2", at=60)]
    receipts = [receipt("e1", at=0.1), receipt("e2", at=60.2)]
    assert longest_silences(events, receipts)[0].seconds == pytest.approx(0.2)


def test_a_silence_reaches_from_one_arrival_to_the_next_while_events_wait() -> None:
    events = [sent("e1", at=0), sent("e2", at=1), sent("e3", at=2)]
    receipts = [receipt("e1", at=1.5), receipt("e2", at=6), receipt("e3", at=6.1)]
    silence = longest_silences(events, receipts)[0]
    assert silence.seconds == pytest.approx(4.5)
    assert silence.began_ns == round(1.5 * SECOND)


def test_retries_and_other_partitions_do_not_end_a_silence() -> None:
    events = [sent("e1", at=0), sent("e2", at=1), sent("e3", partition=1, at=1)]
    receipts = [
        receipt("e1", at=0.5, status=503),
        receipt("e1", at=2),
        receipt("e3", at=3),
        receipt("e2", at=5),
    ]
    assert longest_silences(events, receipts)[0].seconds == pytest.approx(4)


def test_an_event_that_is_overtaken_still_waits() -> None:
    events = [sent("e1", at=0), sent("e2", at=1)]
    receipts = [receipt("e2", at=1.1), receipt("e1", at=3.1)]
    assert longest_silences(events, receipts)[0].seconds == pytest.approx(2)


EVENTS = st.lists(
    st.tuples(st.integers(0, 3), st.integers(0, 50), st.sets(st.sampled_from("abc"), min_size=1)),
    max_size=12,
).map(
    lambda rows: [
        sent(f"e{number}", *sorted(endpoints), partition=partition, at=at)
        for number, (partition, at, endpoints) in enumerate(rows)
    ]
)


@given(EVENTS, st.data())
def test_every_delivery_is_in_the_account(events: list[Sent], data: st.DataObject) -> None:
    due = [delivery for event in events for delivery in event.deliveries]
    kinds = st.sets(st.sampled_from(["delivered", "parked", "dead", "repeated"]))
    fates = {delivery: data.draw(kinds) for delivery in due}
    account = balance(
        events,
        [
            receipt(*delivery, at=100)
            for delivery, fate in fates.items()
            for _ in range(("delivered" in fate) + 2 * ("repeated" in fate))
        ],
        [Stored(*delivery, "x") for delivery, fate in fates.items() if "parked" in fate],
        [Stored(*delivery, "x") for delivery, fate in fates.items() if "dead" in fate],
    )
    assert account.sent == len(due)
    assert set(account.lost) == {delivery for delivery, fate in fates.items() if not fate}
    assert account.delivered == account.distinct + len(account.duplicates)
    assert account.unexpected == 0


@given(EVENTS, st.data())
def test_a_silence_is_never_longer_than_the_longest_wait_of_its_partition(
    events: list[Sent], data: st.DataObject
) -> None:
    waits = {event.event_id: data.draw(st.floats(0, 30)) for event in events}
    receipts = [
        receipt(event.event_id, endpoint, at=event.produced_ns / SECOND + waits[event.event_id])
        for event in events
        for endpoint in event.endpoints
    ]
    for partition, silence in longest_silences(events, receipts).items():
        longest = max(waits[e.event_id] for e in events if e.partition == partition)
        assert 0 <= silence.seconds <= longest + 1e-6
