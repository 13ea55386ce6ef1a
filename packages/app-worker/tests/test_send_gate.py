"""Whether a request about a record may still be sent."""

import pytest

from app_worker.record import Origin, Record
from app_worker.send_gate import GivenUpError, SendGate, since_boot


def record() -> Record:
    return Record("t", 0, 5, b"k", b"v", [("name", b"value")], 0, Origin("t", 0, 5))


def test_nothing_is_in_the_way_of_what_was_not_handed_over() -> None:
    gate = SendGate()
    assert gate.may_send(record())
    gate.check(record())


def test_the_very_record_that_was_handed_over_is_asked_about_and_no_other_of_its_place() -> None:
    now = 10.0
    gate = SendGate(lambda: now)
    handed_over, delivered_again = record(), record()
    gate.ask(handed_over, lambda moment: moment < 12.0)
    assert gate.may_send(handed_over)
    now = 12.0
    assert not gate.may_send(handed_over)
    assert gate.may_send(delivered_again)
    with pytest.raises(GivenUpError, match="t-0"):
        gate.check(handed_over)
    gate.forget(handed_over)
    gate.forget(handed_over)
    assert gate.may_send(handed_over)


def test_its_clock_never_goes_back() -> None:
    first = since_boot()
    assert since_boot() >= first > 0
