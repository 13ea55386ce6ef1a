"""What may be in flight, and who is next."""

from collections import deque
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from app_worker.admission import Admission, Claimant, Slot, Source


def claimants(admission: Admission) -> tuple[Claimant, Claimant, list[Source]]:
    woken: list[Source] = []
    fresh = admission.claimant(Source.FRESH, lambda: woken.append(Source.FRESH))
    parked = admission.claimant(Source.PARKED, lambda: woken.append(Source.PARKED))
    return fresh, parked, woken


def take(claimant: Claimant, count: int, size: int = 1) -> list[Slot]:
    slots = [claimant.admit(size, 0.0) for _ in range(count)]
    return [slot for slot in slots if slot]


def test_no_more_than_the_limit_is_in_flight() -> None:
    admission = Admission(3, 1_000)
    fresh, _, woken = claimants(admission)
    slots = take(fresh, 9)
    assert len(slots) == admission.in_flight == 3
    assert not woken
    fresh.release(slots[0])
    assert woken == [Source.FRESH]
    assert len(take(fresh, 9)) == 1


def test_no_more_than_the_bytes_are_in_flight() -> None:
    admission = Admission(100, 1_000)
    fresh, _, _ = claimants(admission)
    assert len(take(fresh, 9, size=400)) == 2
    assert admission.bytes_in_flight == 800


def test_a_record_larger_than_the_limit_is_in_flight_alone() -> None:
    admission = Admission(100, 1_000)
    fresh, _, woken = claimants(admission)
    (small,) = take(fresh, 1)
    assert not take(fresh, 1, size=5_000)
    fresh.release(small)
    assert woken == [Source.FRESH]
    (large,) = take(fresh, 1, size=5_000)
    assert not take(fresh, 1)
    fresh.release(large)
    assert take(fresh, 1)


def test_a_large_record_is_not_overtaken_by_small_ones_of_the_other_source() -> None:
    admission = Admission(100, 1_000)
    fresh, parked, woken = claimants(admission)
    (small,) = take(fresh, 1)
    assert not take(parked, 1, size=5_000)
    assert not take(fresh, 1)
    fresh.release(small)
    assert woken[-1] == Source.PARKED
    assert not take(fresh, 1)
    assert take(parked, 1, size=5_000)


def test_one_source_alone_may_have_all_places() -> None:
    for source in Source:
        claimant = Admission(8, 1_000).claimant(source, lambda: None)
        assert len(take(claimant, 99)) == 8


def test_while_both_wait_a_quarter_is_for_parked_records() -> None:
    admission = Admission(100, 1_000)
    fresh, parked, _ = claimants(admission)
    running = {fresh: deque(take(fresh, 200)), parked: deque(take(parked, 200))}
    assert len(running[fresh]) == 100
    for _ in range(400):
        busiest = max(running, key=lambda one: len(running[one]))
        busiest.release(running[busiest].popleft())
        for claimant in (fresh, parked):
            running[claimant].extend(take(claimant, 1))
    assert (len(running[fresh]), len(running[parked])) == (75, 25)


def test_with_a_single_place_both_sources_take_turns() -> None:
    admission = Admission(1, 1_000)
    fresh, parked, _ = claimants(admission)
    order = []
    for _ in range(6):
        (slot,) = [slot for claimant in (fresh, parked) * 2 for slot in take(claimant, 1)]
        order.append(slot.source)
        admission.release(slot)
    assert set(pairwise(order)) == {
        (Source.FRESH, Source.PARKED),
        (Source.PARKED, Source.FRESH),
    }


def test_who_withdraws_stands_in_nobodys_way() -> None:
    admission = Admission(10, 1_000)
    fresh, parked, woken = claimants(admission)
    take(fresh, 1)
    assert not take(parked, 1, size=5_000)
    assert not take(fresh, 1)
    parked.withdraw()
    assert woken == [Source.FRESH]
    assert take(fresh, 1)


def test_what_is_being_stored_leaves_its_place_to_the_next_as_often_as_there_are_places() -> None:
    admission = Admission(3, 1_000)
    fresh, _, woken = claimants(admission)
    slots = take(fresh, 9)
    admission.store(slots[0])
    assert woken == [Source.FRESH]
    slots += take(fresh, 9)
    for slot in slots[1:]:
        admission.store(slot)
        slots += take(fresh, 9)
    assert len(slots) == admission.in_flight == admission.bytes_in_flight == 6
    for slot in slots:
        fresh.release(slot)
    assert admission.in_flight == admission.bytes_in_flight == 0
    assert len(take(fresh, 9)) == 3


def test_the_bytes_of_what_is_being_stored_count() -> None:
    admission = Admission(100, 1_000)
    fresh, _, _ = claimants(admission)
    (large,) = take(fresh, 1, size=900)
    admission.store(large)
    assert not take(fresh, 1, size=200)
    fresh.release(large)
    assert take(fresh, 1, size=5_000)


def test_the_oldest_record_in_flight_is_known() -> None:
    admission = Admission(10, 1_000)
    fresh, _, _ = claimants(admission)
    seen = [admission.oldest_since]
    slots = [slot for slot in (fresh.admit(1, 5.0), fresh.admit(1, 6.0)) if slot]
    for slot in slots:
        seen.append(admission.oldest_since)
        fresh.release(slot)
    assert seen == [None, 5.0, 6.0]


def test_the_oldest_record_may_be_stored_after_a_younger_one() -> None:
    admission = Admission(10, 1_000)
    fresh, _, _ = claimants(admission)
    slots = [slot for slot in (fresh.admit(1, 5.0), fresh.admit(1, 6.0)) if slot]
    for slot in reversed(slots):
        admission.store(slot)
    assert admission.oldest_since == 5.0


sizes = st.lists(st.integers(0, 30), max_size=30)


@settings(max_examples=300)
@given(
    st.integers(1, 6), st.integers(1, 20), sizes, sizes, sizes, st.randoms(use_true_random=False)
)
def test_everything_is_admitted_in_the_end_and_limits_hold(
    count: int,
    size: int,
    fresh_sizes: list[int],
    parked_sizes: list[int],
    ordered_sizes: list[int],
    random: object,
) -> None:
    admission = Admission(count, size)
    woken: set[Source] = set(Source)
    backlog = {Source.FRESH: deque(fresh_sizes), Source.PARKED: deque(parked_sizes)}
    backlog[Source.ORDERED] = deque(ordered_sizes)
    mine = {
        source: admission.claimant(source, lambda source=source: woken.add(source))  # type: ignore[misc]
        for source in Source
    }
    running: list[tuple[Claimant, Slot]] = []
    while any(backlog.values()) or running:
        while woken:
            source = random.choice(sorted(woken))  # type: ignore[attr-defined]
            woken.discard(source)
            while backlog[source]:
                slot = mine[source].admit(backlog[source][0], 0.0)
                if slot is None:
                    break
                backlog[source].popleft()
                running.append((mine[source], slot))
                assert admission.in_flight == len(running) <= count
                bytes_now = sum(slot.size for _, slot in running)
                assert bytes_now <= size or len(running) == 1
            else:
                mine[source].withdraw()
        assert running, "nothing runs, and nobody was woken: stuck"
        claimant, slot = running.pop(random.randrange(len(running)))  # type: ignore[attr-defined]
        claimant.release(slot)
