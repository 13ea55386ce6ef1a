"""The bookkeeping of idle connections, also against a simple model."""

from hypothesis import given
from hypothesis import strategies as st

from webhook_worker.sending.idle import IdleConnections

A = ("http", "a.example", 80)
B = ("https", "b.example", 443)


def test_the_connection_used_last_is_taken_first() -> None:
    idle = IdleConnections[str](most=10, seconds=30)
    idle.put(A, "one", 0)
    idle.put(A, "two", 1)
    assert [idle.take(A), idle.take(A), idle.take(A)] == ["two", "one", None]


def test_a_connection_serves_its_origin_only() -> None:
    idle = IdleConnections[str](most=10, seconds=30)
    idle.put(A, "one", 0)
    assert idle.take(B) is None
    assert idle.take(("http", "a.example", 81)) is None
    assert idle.take(A) == "one"


def test_beyond_the_limit_the_one_idle_for_longest_goes() -> None:
    idle = IdleConnections[str](most=2, seconds=30)
    assert idle.put(A, "one", 0) == []
    assert idle.put(B, "two", 1) == []
    assert idle.put(B, "three", 2) == ["one"]
    assert idle.take(A) is None


def test_what_is_too_old_goes_with_the_next_one_that_comes() -> None:
    idle = IdleConnections[str](most=10, seconds=30)
    idle.put(A, "one", 0)
    idle.put(B, "two", 5)
    assert idle.put(A, "three", 34) == ["one"]
    assert idle.put(A, "four", 100) == ["two", "three"]
    assert len(idle) == 1


def test_clear_returns_them_all() -> None:
    idle = IdleConnections[str](most=10, seconds=30)
    idle.put(A, "one", 0)
    idle.put(B, "two", 0)
    assert idle.clear() == ["one", "two"]
    assert (len(idle), idle.take(A)) == (0, None)


@given(st.lists(st.sampled_from([A, B, None])), st.integers(1, 4))
def test_none_is_lost_and_none_is_there_twice(
    steps: list[tuple[str, str, int] | None], most: int
) -> None:
    idle = IdleConnections[int](most=most, seconds=10)
    model: list[tuple[tuple[str, str, int], int]] = []
    for number, origin in enumerate(steps):
        if origin is None:
            ours = [c for o, c in model if o == A]
            expected = ours[-1] if ours else None
            assert idle.take(A) == expected
            model = [entry for entry in model if entry[1] != expected]
        else:
            surplus = idle.put(origin, number, 0.0)
            model.append((origin, number))
            assert surplus == [c for _, c in model[: max(0, len(model) - most)]]
            model = model[-most:]
        assert len(idle) == len(model)
