"""What a commit says of deliveries in flight at a former owner: written, read, and bounded."""

import base64
import zlib

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app_worker.holds import LONGEST_SECONDS, MOST_HOLDS, Holds, most_bytes, to_bytes
from app_worker.offset_map import (
    LONGEST,
    LONGEST_TEXT,
    MapTooLongError,
    OffsetMap,
    Runs,
    Scope,
    UnusableMapError,
    admits,
    decode,
    encode,
)
from app_worker.varints import LARGEST, MOST_BYTES, varint, varint_bytes

PLACE = Scope("cluster", "group").place(TopicPartition("t", 3))

nonces = st.integers(0, 2**64 - 1)
places = st.integers(0, 2**31 - 1)
times = st.integers(0, round(LONGEST_SECONDS * 100)).map(lambda units: units / 100)
gaps = st.one_of(st.integers(0, 3), st.integers(0, 2_000), st.integers(0, 2**40))


def held(*offsets: int, nonce: int = 7, seconds: float = 20.0) -> Holds:
    return Holds(nonce, 2, 1_000, seconds, offsets)


@st.composite
def a_map(draw: st.DrawFn, most: int = 60) -> tuple[int, Runs, list[Holds]]:
    """A base, and above it offsets that are done, held or neither."""
    base = offset = draw(st.integers(0, 2**50))
    done: list[tuple[int, int]] = []
    kept: dict[int, list[int]] = {}
    for gap, what in draw(
        st.lists(st.tuples(gaps, st.integers(-2, MOST_HOLDS - 1)), max_size=most)
    ):
        offset += gap
        if what >= 0:
            kept.setdefault(what, []).append(offset)
        elif what == -1 and offset > base:
            if done and done[-1][1] == offset:
                done[-1] = (done[-1][0], offset + 1)
            else:
                done.append((offset, offset + 1))
        offset += 1
    holds = [
        Holds(draw(nonces), draw(places), draw(st.integers(0, LARGEST)), draw(times), tuple(each))
        for each in kept.values()
    ]
    return base, done, holds


@given(st.integers(0, LARGEST))
def test_a_number_takes_as_many_bytes_as_is_said(number: int) -> None:
    assert len(varint(number)) == varint_bytes(number) <= MOST_BYTES


@given(a_map())
def test_what_is_done_and_what_is_held_are_read_as_they_were_written(
    said: tuple[int, Runs, list[Holds]],
) -> None:
    base, done, holds = said
    text = encode(PLACE, base, done, holds, whole=True)
    assert len(text) <= LONGEST_TEXT
    assert decode(text, PLACE, base) == OffsetMap(tuple(done), tuple(holds))


def test_time_is_rounded_up_to_the_next_hundredth_of_a_second() -> None:
    text = encode(PLACE, 5, (), [held(5, seconds=1.001)])
    assert decode(text, PLACE, 5).holds == (held(5, seconds=1.01),)


def test_a_hold_that_would_be_read_as_a_shorter_one_is_not_written() -> None:
    with pytest.raises(ValueError, match=r"600\.5 s"):
        encode(PLACE, 5, (), [held(5, seconds=600.5)])


@pytest.mark.parametrize("offsets", [(), (4,), (6, 5), (6, 6)])
def test_offsets_that_are_none_or_not_ascending_from_the_base_are_not_written(
    offsets: tuple[int, ...],
) -> None:
    with pytest.raises(ValueError, match=r"held"):
        encode(PLACE, 5, (), [held(*offsets)])


def test_a_longer_time_than_the_longest_is_cut_when_it_is_read() -> None:
    said = bytearray(to_bytes(held(5, seconds=LONGEST_SECONDS), 5))
    said[11:14] = varint(2**20)
    text = text_of(PLACE + varint(5) + bytes([3, len(said)]) + said)
    assert decode(text, PLACE, 5).holds == (held(5, seconds=LONGEST_SECONDS),)


def test_what_is_held_is_never_left_out_for_want_of_room() -> None:
    wide = range(0, 500 * 2**50, 2**50)
    with pytest.raises(MapTooLongError):
        encode(PLACE, 0, (), [held(*wide)])
    with pytest.raises(MapTooLongError):
        encode(PLACE, 0, (), [held(0, nonce=n) for n in range(MOST_HOLDS + 1)])


def test_a_periodic_commit_shortens_what_is_done_and_a_release_refuses_to() -> None:
    done = [(2**40 * n, 2**40 * n + 2**39) for n in range(1, 200)]
    holds = [held(*range(1_200))]
    said = decode(encode(PLACE, 0, done, holds), PLACE, 0)
    assert said.holds == tuple(holds)
    assert list(said.done) == done[: len(said.done)]
    assert 100 < len(said.done) < 199
    with pytest.raises(MapTooLongError):
        encode(PLACE, 0, done, holds, whole=True)


def test_who_knows_nothing_of_holds_takes_what_is_held_for_open_and_nothing_for_done() -> None:
    # So a reader of maps without holds passes over their section, and repeats what is held.
    whole = base64.b64decode(encode(PLACE, 5, [(7, 9), (12, 13)], [held(5, 9)]))
    said = to_bytes(held(5, 9), 5)
    known, unknown = (bytes([kind, len(said)]) + said for kind in (3, 99))
    body = whole[7:].replace(known, unknown)
    assert body != whole[7:]
    assert decode(text_of(body), PLACE, 5) == OffsetMap(((7, 9), (12, 13)), ())


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"1234567",
        b"12345678\x02\x05",
        b"12345678\x02\x05\x09",
        b"12345678\x02\x05\x09\x80",
        b"12345678\x02\x05\x09" + varint(LARGEST),
    ],
)
def test_holds_that_end_too_soon_or_hold_no_record_make_the_map_damaged(said: bytes) -> None:
    text = text_of(PLACE + varint(5) + bytes([3, len(said)]) + said)
    with pytest.raises(UnusableMapError, match="damaged"):
        decode(text, PLACE, 5)


@given(a_map())
def test_no_holds_take_more_bytes_than_were_reckoned_with(
    said: tuple[int, Runs, list[Holds]],
) -> None:
    base, _, holds = said
    if not holds:
        return
    offsets = sum(len(each.offsets) for each in holds)
    span = max(each.offsets[-1] for each in holds) + 1 - base
    taken = sum(len(to_bytes(each, base)) for each in holds)
    assert taken <= most_bytes(offsets, len(holds), span)


@given(
    st.integers(0, 2**50),
    st.lists(st.tuples(gaps, st.booleans()), max_size=1_500),
    st.integers(1, MOST_HOLDS),
)
def test_whatever_admitted_records_are_in_flight_at_a_release_all_is_said(
    base: int, records: list[tuple[int, bool]], releases: int
) -> None:
    offset, kept = base, [base]
    done: list[tuple[int, int]] = []
    for gap, ends in records:
        offset += gap + 1
        if not admits(base, offset, len(kept) + 1, len(kept) + 1, releases):
            break
        if not ends:
            kept.append(offset)
        elif done and done[-1][1] == offset:
            done[-1] = (done[-1][0], offset + 1)
        else:
            done.append((offset, offset + 1))
    holds = [
        Holds(2**64 - 1, 2**31 - 1, LARGEST, LONGEST_SECONDS, tuple(kept[n::releases]))
        for n in range(min(releases, len(kept)))
    ]
    text = encode(PLACE, base, done, holds, whole=True)
    assert len(base64.b64decode(text)) <= LONGEST


def test_the_usual_work_of_a_partition_is_admitted_whoever_holds_it() -> None:
    # Five thousand offsets behind an open record, 200 of them in work, after seven releases.
    assert admits(0, 4_999, 200, 200, MOST_HOLDS)
    assert admits(0, 1_000, 1_000, 1_000, 1)


def text_of(body: bytes) -> str:
    return base64.b64encode(b"am\x01" + zlib.crc32(body).to_bytes(4) + body).decode()
