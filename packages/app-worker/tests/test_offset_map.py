"""What a commit says of complete records above its offset, written, read, and damaged."""

import base64

import pytest
from aiokafka import TopicPartition
from hypothesis import assume, given
from hypothesis import strategies as st

from app_worker.holds import LONGEST_SECONDS
from app_worker.offset_map import (
    ADMISSIBLE,
    LONGEST,
    LONGEST_TEXT,
    SURE_HELD,
    SURE_SPAN,
    Runs,
    Scope,
    UnusableMapError,
    admits,
    decode,
    encode,
)
from app_worker.varints import LARGEST

HERE = TopicPartition("t", 3)
PLACE = Scope("cluster", "group").place(HERE)

bases = st.integers(0, 2**50)
gaps = st.one_of(st.integers(1, 3), st.integers(1, 2_000), st.integers(1, 2**40))


@st.composite
def what_is_done(draw: st.DrawFn, most: int = 300) -> tuple[int, Runs]:
    base = end = draw(bases)
    runs = []
    for gap, length in draw(st.lists(st.tuples(gaps, gaps), max_size=most)):
        runs.append((end + gap, end + gap + length))
        end += gap + length
    return base, runs


def covered(runs: Runs) -> int:
    return sum(end - start for start, end in runs)


@given(what_is_done(most=100))
def test_what_is_written_is_read_again(done: tuple[int, Runs]) -> None:
    base, runs = done
    assert list(decode(encode(PLACE, base, runs), PLACE, base).done) == list(runs)


@given(what_is_done(most=3_000))
def test_no_map_is_longer_than_brokers_take_and_none_says_too_much(done: tuple[int, Runs]) -> None:
    base, runs = done
    text = encode(PLACE, base, runs)
    assert len(text) <= LONGEST_TEXT
    read = decode(text, PLACE, base).done
    known = iter(runs)
    for start, end in read:
        assert any(first <= start and end <= last for first, last in known)


def test_a_map_that_is_too_long_loses_its_end_and_keeps_as_much_as_it_can() -> None:
    wide = [(2**40 * n, 2**40 * n + 2**39) for n in range(1, 1_000)]
    read = decode(encode(PLACE, 0, wide), PLACE, 0).done
    assert list(read) == wide[: len(read)]
    assert 200 < len(read) < 1_000


def test_every_second_of_twenty_thousand_offsets_fits() -> None:
    runs = [(offset, offset + 1) for offset in range(1, 20_000, 2)]
    assert list(decode(encode(PLACE, 0, runs), PLACE, 0).done) == runs


def test_few_runs_make_a_short_text() -> None:
    assert encode(PLACE, 10**9, []) == ""
    assert len(encode(PLACE, 10**9, [(10**9 + 1, 10**9 + 5_000)])) <= 40


@given(what_is_done(most=20), st.data())
def test_damage_is_noticed_whatever_it_is(done: tuple[int, Runs], data: st.DataObject) -> None:
    base, runs = done
    assume(runs)
    whole = bytearray(base64.b64decode(encode(PLACE, base, runs)))
    where = data.draw(st.integers(0, len(whole) - 1))
    whole[where] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UnusableMapError):
        decode(base64.b64encode(whole).decode(), PLACE, base)


@given(what_is_done(most=20), st.data())
def test_what_was_cut_short_is_noticed(done: tuple[int, Runs], data: st.DataObject) -> None:
    base, runs = done
    assume(runs)
    text = encode(PLACE, base, runs)
    with pytest.raises(UnusableMapError):
        decode(text[: data.draw(st.integers(1, len(text) - 1))], PLACE, base)


@given(st.text(min_size=1))
def test_foreign_metadata_is_told_from_ours(text: str) -> None:
    with pytest.raises(UnusableMapError, match="foreign"):
        decode(text, PLACE, 0)


@given(st.binary(max_size=60))
def test_whatever_follows_a_right_checksum_is_read_or_refused(said: bytes) -> None:
    import zlib

    body = PLACE + b"\x05" + said
    whole = b"am\x01" + zlib.crc32(body).to_bytes(4) + body
    try:
        said_so = decode(base64.b64encode(whole).decode(), PLACE, 5)
    except UnusableMapError:
        return
    assert all(5 <= start < end <= LARGEST for start, end in said_so.done)
    for holds in said_so.holds:
        assert holds.offsets
        assert all(5 <= offset < LARGEST for offset in holds.offsets)
        assert 0 <= holds.seconds <= LONGEST_SECONDS


def test_a_later_version_is_not_believed() -> None:
    whole = bytearray(base64.b64decode(encode(PLACE, 0, [(1, 2)])))
    whole[2] = 2
    with pytest.raises(UnusableMapError, match="version"):
        decode(base64.b64encode(whole).decode(), PLACE, 0)


def test_a_part_of_a_kind_that_is_not_known_is_passed_over() -> None:
    import zlib

    body = base64.b64decode(encode(PLACE, 5, [(7, 9)]))[7:] + b"\x63\x02xx"
    whole = b"am\x01" + zlib.crc32(body).to_bytes(4) + body
    assert list(decode(base64.b64encode(whole).decode(), PLACE, 5).done) == [(7, 9)]


def test_a_map_copied_to_another_offset_group_cluster_or_partition_is_not_believed() -> None:
    text = encode(PLACE, 5, [(7, 9)])
    with pytest.raises(UnusableMapError, match="base"):
        decode(text, PLACE, 6)
    for other in (
        Scope("mirror", "group").place(HERE),
        Scope("cluster", "other").place(HERE),
        Scope("cluster", "group").place(TopicPartition("t", 4)),
        Scope("cluster", "group").place(TopicPartition("u", 3)),
    ):
        with pytest.raises(UnusableMapError, match="place"):
            decode(text, other, 5)


@given(bases, st.lists(st.tuples(gaps, st.booleans()), max_size=2_000))
def test_whatever_order_admitted_records_end_in_their_map_is_at_most_three_quarters(
    base: int, records: list[tuple[int, bool]]
) -> None:
    offset, still_open = base, 1
    runs: list[tuple[int, int]] = []
    for gap, ends in records:
        offset += gap
        if not admits(base, offset, still_open + 1):
            break
        if not ends:
            still_open += 1
        elif runs and runs[-1][1] == offset:
            runs[-1] = (runs[-1][0], offset + 1)
        else:
            runs.append((offset, offset + 1))
    size = len(base64.b64decode(encode(PLACE, base, runs)))
    assert size <= LONGEST * 3 // 4
    assert list(decode(encode(PLACE, base, runs), PLACE, base).done) == runs


def test_eighteen_thousand_dense_offsets_are_admitted_and_a_hundred_in_any_log() -> None:
    assert admits(0, 8 * ADMISSIBLE - 1, 10_000)
    assert not admits(0, 8 * ADMISSIBLE, 10_000)
    assert admits(0, 2**62, 100)


def test_what_is_sure_to_fit_fits_however_many_parts_it_has_and_if_all_of_it_is_held() -> None:
    for offset in range(SURE_SPAN):
        held = min(SURE_HELD, offset + 1)
        assert admits(0, offset, 10_000, held, 1)
