import io
import json
import logging
import sys
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app_worker.observability.logs import (
    LONGEST_LINE,
    JsonFormatter,
    RepeatFilter,
    configure_logging,
    error_text,
    frames,
)


class OurError(Exception):
    pass


def line(msg: object, *args: object, level: int = logging.INFO, **extra: object) -> str:
    record = logging.LogRecord("app_worker.x", level, "x.py", 1, msg, args, None)
    record.__dict__.update(extra)
    return JsonFormatter().format(record)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except type(error) as caught:
        return caught


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = (root.handlers[:], root.level)
    stream = io.StringIO()
    yield stream
    root.handlers[:], root.level = before
    logging.captureWarnings(False)
    for name in ("aiokafka", "chatty"):
        logging.getLogger(name).setLevel(logging.NOTSET)


def test_a_line_is_json_with_time_level_logger_message_and_extras() -> None:
    fields = json.loads(line("drained %d", 3, group="g", seconds=0.5, path=OurError))
    assert fields.pop("ts").endswith("Z")
    assert fields == {
        "level": "info",
        "logger": "app_worker.x",
        "msg": "drained 3",
        "group": "g",
        "seconds": 0.5,
        "path": str(OurError),
    }


def test_the_time_is_in_utc_with_milliseconds() -> None:
    assert json.loads(line("x", created=1.5))["ts"] == "1970-01-01T00:00:01.500Z"


@given(
    st.text(max_size=9_000),
    st.dictionaries(
        st.text(min_size=1).map("x".__add__),
        st.one_of(st.text(max_size=5_000), st.floats(), st.integers(), st.none()),
    ),
)
def test_a_line_is_always_short_valid_and_one_line(msg: str, extra: dict[str, Any]) -> None:
    text = line(msg.replace("%", ""), **extra)
    assert len(text.encode()) + 1 < LONGEST_LINE
    assert "\n" not in text
    assert json.loads(text, parse_constant=pytest.fail)["level"] == "info"


def test_too_many_fields_are_left_out() -> None:
    fields_given: dict[str, Any] = {f"field{n}": "y" * 100 for n in range(100)}
    fields = json.loads(line("x", **fields_given))
    assert fields["msg"] == "x"
    assert fields["cut"] is True
    assert "field1" not in fields


def test_the_text_of_an_exception_is_only_shown_for_our_own() -> None:
    for error, text in [
        (raised(KeyError("customer data")), "KeyError"),
        (raised(OurError("topic x is missing")), "OurError: topic x is missing"),
    ]:
        record = logging.makeLogRecord({"exc_info": (type(error), error, error.__traceback__)})
        fields = json.loads(JsonFormatter((OurError,)).format(record))
        assert fields["error"] == text
        assert fields["frames"].startswith("tests/test_logs.py:")
        assert "customer data" not in str(fields)


def test_causes_and_groups_of_exceptions_are_named_by_type() -> None:
    error = OurError()
    error.__cause__ = KeyError("k")
    assert error_text(error) == "OurError, after KeyError"
    group = raised(ExceptionGroup("all", [ValueError("a"), KeyError("b")]))
    assert error_text(group) == "ExceptionGroup of ValueError, KeyError"


def test_frames_name_the_innermost_place_first() -> None:
    def inner() -> None:
        raise KeyError("k")

    with pytest.raises(KeyError) as caught:
        inner()
    assert [frame.split()[-1] for frame in frames(caught.value)][:2] == [
        "inner",
        "test_frames_name_the_innermost_place_first",
    ]


def test_a_library_that_repeats_itself_is_let_through_once_in_five_seconds() -> None:
    now = 0.0
    gate = RepeatFilter(["noisy"], 5.0, lambda: now)

    def passes(name: str, msg: str, *args: object) -> logging.LogRecord | None:
        record = logging.LogRecord(name, logging.ERROR, "x.py", 1, msg, args, None)
        return record if gate.filter(record) else None

    assert passes("noisy.client", "no answer from %s", "a")
    assert not passes("noisy.client", "no answer from %s", "b")
    assert passes("noisy.client", "another")
    assert passes("noisy.other", "no answer from %s", "b")
    assert passes("ours", "same")
    assert passes("ours", "same")
    now = 4.9
    assert not passes("noisy.client", "no answer from %s", "c")
    now = 5.0
    again = passes("noisy.client", "no answer from %s", "d")
    assert again is not None
    assert again.__dict__["suppressed"] == 2


def test_information_about_two_groups_is_not_the_same_message() -> None:
    gate = RepeatFilter(["noisy"], 5.0, lambda: 0.0)
    passed = [
        gate.filter(
            logging.LogRecord("noisy", logging.INFO, "x.py", 1, "joined %s", (group,), None)
        )
        for group in ("a", "b", "a")
    ]
    assert passed == [True, True, False]


def test_the_filter_forgets_what_has_been_silent_for_long() -> None:
    now = 0.0
    gate = RepeatFilter(["noisy"], 5.0, lambda: now)
    for number in range(1_000):
        now = number * 10.0
        gate.filter(logging.LogRecord("noisy", logging.ERROR, "x.py", 1, str(number), None, None))
    assert len(gate._seen) < 100


def test_each_line_names_its_worker(lines: io.StringIO) -> None:
    configure_logging(worker=3, stream=lines)
    logging.getLogger("app_worker").info("seen")
    assert json.loads(lines.getvalue())["worker"] == 3


def test_everything_goes_to_the_stream_as_json(lines: io.StringIO) -> None:
    configure_logging("debug", quiet=("chatty",), stream=lines)
    logging.getLogger("app_worker").debug("seen")
    logging.getLogger("aiokafka.conn").debug("a request with a password")
    logging.getLogger("aiokafka.conn").info("seen too")
    logging.getLogger("chatty").info("unseen")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn("beware", stacklevel=1)
    written = [json.loads(text) for text in lines.getvalue().splitlines()]
    assert [fields["msg"] for fields in written[:2]] == ["seen", "seen too"]
    assert written[2]["logger"] == "py.warnings"
    assert "beware" in written[2]["msg"]
    assert len(written) == 3


def test_logging_goes_to_standard_error_by_default(
    lines: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", lines)
    configure_logging()
    logging.getLogger("x").warning("w")
    assert json.loads(lines.getvalue())["msg"] == "w"
