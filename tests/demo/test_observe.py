"""Who owns what, as the group's coordinator tells it; and what stored records say."""

import pytest
from aiokafka import ConsumerRecord

from deploy.demo.ledger import Stored
from deploy.demo.observe import Backlog, Member, Ownership
from deploy.demo.topic_reader import UnreadableRecordError, stored_delivery

ONE, OTHER, TENTH = Member("m1", "pod-1"), Member("m2", "pod-2-0"), Member("m3", "pod-10")


def ownership(owners: dict[int, Member]) -> Ownership:
    return Ownership("Stable", frozenset(owners.values()), owners)


def test_a_pod_is_not_taken_for_one_whose_name_begins_alike() -> None:
    now = ownership({0: ONE, 1: OTHER, 2: TENTH})
    assert now.of_pod("pod-1") == {0}
    assert now.of_pod("pod-2") == {1}


def test_a_partition_has_moved_when_another_process_owns_it_even_of_the_same_pod() -> None:
    restarted = Member("m9", "pod-1")
    before = ownership({0: ONE, 1: OTHER, 2: TENTH})
    assert before.moved_to(ownership({0: restarted, 1: OTHER})) == {0, 2}


def test_while_the_group_makes_a_new_plan_its_last_owners_are_shown() -> None:
    before = ownership({0: ONE, 1: OTHER})
    between = Ownership("PreparingRebalance", frozenset({ONE, OTHER}), {})
    assert between.or_last_known(before).owners == before.owners
    assert between.or_last_known(before).state == "PreparingRebalance"
    after = ownership({0: OTHER, 1: OTHER})
    assert after.or_last_known(before) == after


@pytest.mark.parametrize(
    ("fresh", "parked", "settled"), [(0, 0, True), (1, 0, False), (0, 1, False)]
)
def test_work_is_settled_when_no_record_is_uncommitted(
    fresh: int, parked: int, settled: bool
) -> None:
    assert Backlog(fresh, parked).settled is settled


def record(value: bytes | None, *headers: tuple[str, bytes]) -> ConsumerRecord[bytes, bytes]:
    return ConsumerRecord("t", 3, 7, 0, 0, None, value, None, 0, 0, headers)


def test_a_stored_record_tells_its_delivery_and_the_reason() -> None:
    parked = record(b'{"id":"e1"}', ("worker-delivery", b"a"), ("worker-reason", b"http_503"))
    assert stored_delivery(parked) == Stored("e1", "a", "http_503")
    whole = record(b'{"id":"e1"}', ("worker-reason", b"unknown_customer"))
    assert stored_delivery(whole) == Stored("e1", None, "unknown_customer")


@pytest.mark.parametrize("value", [None, b"{", b"[]", b"{}", b'{"id":"e1"}'])
def test_what_is_no_stored_delivery_is_named_by_its_place(value: bytes | None) -> None:
    with pytest.raises(UnreadableRecordError, match=r"^t:3:7 is not a stored delivery"):
        stored_delivery(record(value))
