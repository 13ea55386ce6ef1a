"""Which record of a partition may start: generated runs of work, failures and giving up."""

from collections import defaultdict

from hypothesis import given
from hypothesis import strategies as st

from app_worker.arrival import Arrival
from app_worker.handler import DeadLetter
from app_worker.key_queues import KeyQueues
from app_worker.record import Origin, Record

Key = tuple[str, bytes]


def arrival(offset: int, delivery: str, key: bytes) -> Arrival:
    origin = Origin("t", 0, offset)
    return Arrival(Record("line", 0, offset, key, b"v", (), 0, origin, delivery))


def key_of(one: Arrival) -> Key:
    assert one.record.delivery is not None
    assert one.record.key is not None
    return one.record.delivery, one.record.key


def given_up(record: Record) -> DeadLetter:
    return DeadLetter(record.delivery, record.attempts, "order_overflow")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.sampled_from("ab"), st.sampled_from([b"1", b"2", b"3"])),
        st.tuples(st.just("start")),
        st.tuples(st.just("end"), st.integers(0, 5), st.booleans()),
        st.tuples(st.just("wait"), st.floats(0, 20)),
        st.tuples(st.just("give up"), st.sampled_from("ab")),
    ),
    max_size=80,
)


@given(STEPS)
def test_of_a_key_each_record_starts_after_all_before_it_have_their_outcome(
    steps: list[tuple[object, ...]],
) -> None:
    queues = KeyQueues()
    now, offset = 0.0, 0
    came: defaultdict[Key, list[int]] = defaultdict(list)
    over: defaultdict[Key, list[int]] = defaultdict(list)
    in_work: list[Arrival] = []
    due: dict[int, float] = {}
    for step in [*steps, *[("start",), ("end", 0, True), ("wait", 50.0)] * 3 * len(steps)]:
        match step:
            case ("add", str(delivery), bytes(key)):
                queues.add(arrival(offset, delivery, key))
                came[delivery, key].append(offset)
                offset += 1
            case ("start",):
                head = queues.head(now)
                if head is None:
                    assert len(in_work) == len({key_of(one) for one in in_work})
                elif due.get(head.record.offset, 0.0) <= now or head.unfit:
                    started = queues.start(now)
                    assert started is head
                    mine = key_of(started)
                    assert came[mine][len(over[mine])] == started.record.offset
                    assert mine not in map(key_of, in_work)
                    in_work.append(started)
                else:
                    assert queues.ready == 0
            case ("end", int(which), bool(well)) if in_work:
                ended = in_work.pop(which % len(in_work))
                if well or ended.unfit:
                    queues.complete(ended)
                    over[key_of(ended)].append(ended.record.offset)
                else:
                    due[ended.record.offset] = now + 7
                    queues.block(Arrival(ended.record), now + 7)
            case ("wait", float(seconds)):
                now += seconds
            case ("give up", str(delivery)):
                queues.give_up(delivery, given_up)
                waiting = queues.waiting[delivery]
                theirs = [key for key in came if key[0] == delivery]
                working = sum(key_of(one)[0] == delivery for one in in_work)
                assert waiting + working == sum(len(came[key]) - len(over[key]) for key in theirs)
        open_now = sum(map(len, came.values())) - sum(map(len, over.values()))
        assert queues.held == open_now
        assert queues.ready or in_work or not queues.leaving
        assert 0 <= queues.held_back <= queues.held
        assert queues.waiting.total() == open_now - len(in_work)
        assert {name for name, count in queues.waiting_bytes.items() if count} == {*queues.waiting}
        assert queues.blocked_keys == len(list(queues.blocked_heads()))
    assert over == came or not came
    assert not queues.waiting
    assert (queues.held, queues.held_back, queues.blocked_keys, queues.leaving) == (0, 0, 0, 0)
