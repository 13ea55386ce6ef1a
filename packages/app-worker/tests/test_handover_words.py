"""Words of a hand-over, written, read, and told from what is none."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.handover.words import (
    MOST_BYTES,
    MOST_SETTLED,
    Kind,
    UnusableWordError,
    Word,
    handover_topic,
    read_word,
    write_word,
)
from app_worker.varints import LARGEST

names = st.text(min_size=1, max_size=20)
numbers = st.integers(0, LARGEST)
WORD = Word(Kind.SETTLED, "g", 0xABC, "t", ((3, 17), (4, 0)))


def said(**other: object) -> bytes:
    return json.dumps(json.loads(write_word(WORD)) | other).encode()


@given(
    st.builds(
        Word,
        st.sampled_from(Kind),
        names,
        st.integers(0, 2**64 - 1),
        names,
        st.lists(st.tuples(numbers, numbers), max_size=5).map(tuple),
    )
)
def test_what_is_written_is_read_again(word: Word) -> None:
    assert read_word(write_word(word)) == word


def test_a_person_can_read_it() -> None:
    assert write_word(WORD) == (
        b'{"version":1,"kind":"settled","group":"g","nonce":"0000000000000abc",'
        b'"topic":"t","settled":[[3,17],[4,0]]}'
    )
    assert handover_topic("t") == "t.handover"


def test_the_longest_word_is_one_that_is_read_and_a_longer_one_is_not_written() -> None:
    longest = Word(Kind.SETTLED, "g" * 255, 1, "t" * 249, ((LARGEST, LARGEST),) * MOST_SETTLED)
    assert len(write_word(longest)) < MOST_BYTES
    assert read_word(write_word(longest)) == longest
    longer = Word(Kind.SETTLED, "g", 1, "t", ((0, 0),) * (MOST_SETTLED + 1))
    with pytest.raises(ValueError, match="1001 records"):
        write_word(longer)


def test_fields_of_later_writers_are_passed_over() -> None:
    assert read_word(said(since="0.3.0")) == WORD


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (None, "foreign"),
        (b"", "foreign"),
        (b"\xff\xfe", "foreign"),
        (b"[1]", "foreign"),
        (b"{}", "foreign"),
        (b"[" * 100_000, "foreign"),
        (b"1" * 100_000, "foreign"),
        (b" " * (MOST_BYTES + 1), "foreign"),
        (said(version=2), "version"),
        (said(version=None), "version"),
        (said(kind="closed"), "damaged"),
        (said(kind=["settled"]), "damaged"),
        (said(group=1), "damaged"),
        (said(topic=None), "damaged"),
        (said(nonce="abc"), "damaged"),
        (said(nonce="000000000000000g"), "damaged"),
        (said(nonce=7), "damaged"),
        (said(settled=None), "damaged"),
        (said(settled=[[1]]), "damaged"),
        (said(settled=[[1, 2, 3]]), "damaged"),
        (said(settled=[[1, "2"]]), "damaged"),
        (said(settled=[[True, 2]]), "damaged"),
        (said(settled=[[1, -2]]), "damaged"),
        (said(settled=[[1, 2**63]]), "damaged"),
        (said(settled=[7]), "damaged"),
    ],
)
def test_what_is_no_word_says_nothing(value: bytes | None, reason: str) -> None:
    with pytest.raises(UnusableWordError, match=reason):
        read_word(value)


@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_nothing_else_comes_of_whatever_stands_there(value: bytes) -> None:
    with pytest.raises(UnusableWordError):
        read_word(value)
