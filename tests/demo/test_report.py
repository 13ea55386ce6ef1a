"""The demo's table and its verdict."""

from dataclasses import replace
from typing import Any

import pytest

from deploy.demo.ledger import Balance, Silence
from deploy.demo.report import KilledPod, Run, broken_promises, table, verdict

GOOD = Run(
    balance=Balance(
        sent=1200,
        delivered=1103,
        distinct=1100,
        duplicates=(("e1", "a"), ("e2", "a"), ("e3", "a")),
        lost=(),
        parked=0,
        dead_letters={"exhausted": 100},
        invalid=0,
        unexpected=0,
        p50=0.0123,
        p99=6.25,
    ),
    events=1000,
    refused=0,
    settled=True,
    kill=KilledPod("pod-1", frozenset({0, 1}), frozenset({0, 1, 2}), 6.5, 4.25),
    duplicates_elsewhere=0,
    silence_before=Silence(4, 1_000_000_000, 0.2),
    silence=Silence(3, 7_500_000_000, 2.75),
    began_ns=500_000_000,
    failed_stops=(),
)


def balance_of(**changes: Any) -> Run:
    return replace(GOOD, balance=replace(GOOD.balance, **changes))


def row(run: Run, label: str) -> str:
    rows: list[str] = []
    for line in table(run):
        if line.startswith(" " * 8):
            rows[-1] += " " + line.strip()
        else:
            rows.append(line.strip())
    [found] = [text for text in rows if text.startswith(label)]
    return found


def test_no_line_is_wider_than_a_terminal_of_100() -> None:
    lost = tuple((f"evt-12345678-{number:06d}", "acme-orders") for number in range(99))
    run = replace(balance_of(lost=lost), duplicates_elsewhere=2)
    assert all(len(line) < 100 for line in [*table(run), *verdict(run)])


def test_a_good_run_keeps_its_promise() -> None:
    assert broken_promises(GOOD) == []
    assert verdict(GOOD)[0].startswith("The promise held")


@pytest.mark.parametrize(
    ("run", "sentence"),
    [
        (balance_of(lost=(("e9", "a"),)), "1 deliveries are lost"),
        (balance_of(sent=0), "Nothing was sent"),
        (balance_of(invalid=2), "2 requests had a signature"),
        (balance_of(unexpected=1), "1 deliveries arrived where they were not due"),
        (replace(GOOD, settled=False), "did not come to its end"),
        (replace(GOOD, failed_stops=("pod-2 ended with 1",)), "pod-2 ended with 1"),
    ],
)
def test_each_broken_promise_is_named(run: Run, sentence: str) -> None:
    [broken] = broken_promises(run)
    assert sentence in broken
    assert verdict(run)[0] == "THE PROMISE DID NOT HOLD:"


def test_duplicates_and_dead_letters_break_no_promise_but_are_explained() -> None:
    assert "3 on pod-1's partitions: in flight at the kill" in row(GOOD, "duplicates")
    assert "100 (exhausted 100)" in row(GOOD, "dead letters")
    elsewhere = replace(GOOD, duplicates_elsewhere=2)
    assert "2 elsewhere" in row(elsewhere, "duplicates")
    assert "1 on pod-1's partitions" in row(elsewhere, "duplicates")


def test_what_is_lost_is_named_but_not_all_of_thousands() -> None:
    lost = tuple((f"e{number}", "a") for number in range(5000))
    shown = row(balance_of(lost=lost), "lost")
    assert "5,000: e0 at a, e1 at a" in shown
    assert shown.endswith("...")


def test_the_longest_silence_names_its_partition_and_when_it_began() -> None:
    assert "2.75 s" in row(GOOD, "longest silence")
    assert "(3, from 7.0 s on; before the kill 200 ms)" in row(GOOD, "longest silence")
    assert "every partition was pod-1's" in row(replace(GOOD, silence=None), "longest silence")


def test_partitions_that_moved_without_need_are_told_apart() -> None:
    assert "3 partitions: 2 that pod-1 owned, 1 others" in row(GOOD, "moved by the kill")


def test_without_an_accepted_delivery_there_are_no_delays() -> None:
    assert "nothing was accepted" in row(balance_of(p50=None, p99=None), "produce to receipt")


def test_events_that_the_brokers_refused_have_a_row_only_when_there_are_some() -> None:
    assert not [line for line in table(GOOD) if "not acknowledged" in line]
    assert "7 events" in row(replace(GOOD, refused=7), "not acknowledged")
