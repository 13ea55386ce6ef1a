"""What was sent against what was received, is still parked, or was given up; pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from deploy.demo.receipts import Receipt

Delivery = tuple[str, str]
"""One event at one endpoint: (event id, endpoint id)."""


@dataclass(frozen=True, slots=True)
class Sent:
    """An event that the brokers acknowledged."""

    event_id: str
    partition: int
    produced_ns: int
    """When it was handed to the producer, in nanoseconds since 1970."""
    endpoints: tuple[str, ...]
    """Where it should arrive."""

    @property
    def deliveries(self) -> tuple[Delivery, ...]:
        """One for each endpoint."""
        return tuple((self.event_id, endpoint) for endpoint in self.endpoints)


@dataclass(frozen=True, slots=True)
class Stored:
    """A delivery that stands in a delay topic or in the dead-letter topic."""

    event_id: str
    endpoint: str | None
    """None: the whole event, at all its endpoints."""
    reason: str

    def covers(self, endpoints: Mapping[str, tuple[str, ...]]) -> tuple[Delivery, ...]:
        """The deliveries that it stands for, given the endpoints of each event."""
        if self.endpoint is not None:
            return ((self.event_id, self.endpoint),)
        return tuple((self.event_id, endpoint) for endpoint in endpoints.get(self.event_id, ()))


@dataclass(frozen=True, slots=True)
class Balance:
    """The account of a run, in deliveries."""

    sent: int
    delivered: int
    """Accepted requests, repeated ones included."""
    distinct: int
    duplicates: tuple[Delivery, ...]
    """Deliveries accepted again: one entry for each time beyond the first."""
    lost: tuple[Delivery, ...]
    """Sent, but neither delivered nor parked nor a dead letter."""
    parked: int
    dead_letters: Mapping[str, int]
    """Deliveries given up, by reason."""
    invalid: int
    """Requests whose signature did not verify."""
    unexpected: int
    """Accepted requests for a delivery that was never sent."""
    p50: float | None
    """Seconds from produce to receipt of deliveries accepted at their first attempt, or None."""
    p99: float | None


def balance(
    sent: Sequence[Sent],
    receipts: Sequence[Receipt],
    parked: Iterable[Stored],
    dead: Iterable[Stored],
) -> Balance:
    """Draw up the account. A delivery is lost when no column has it; it may well be in two."""
    endpoints = {event.event_id: event.endpoints for event in sent}
    due = {delivery for event in sent for delivery in event.deliveries}
    accepted = Counter((r.webhook_id, r.endpoint) for r in receipts if r.accepted)
    delivered = {delivery: times for delivery, times in accepted.items() if delivery in due}
    waiting = {delivery for stored in parked for delivery in stored.covers(endpoints)}
    given_up = {delivery: stored.reason for stored in dead for delivery in stored.covers(endpoints)}
    delays = sorted(first_attempt_delays(sent, receipts))
    return Balance(
        sent=len(due),
        delivered=sum(delivered.values()),
        distinct=len(delivered),
        duplicates=tuple(
            delivery for delivery, times in sorted(delivered.items()) for _ in range(times - 1)
        ),
        lost=tuple(sorted(due - delivered.keys() - waiting - given_up.keys())),
        parked=len(waiting & due),
        dead_letters=Counter(reason for delivery, reason in given_up.items() if delivery in due),
        invalid=sum(not receipt.valid for receipt in receipts),
        unexpected=accepted.total() - sum(delivered.values()),
        p50=percentile(delays, 50),
        p99=percentile(delays, 99),
    )


def first_receipts(receipts: Iterable[Receipt]) -> dict[Delivery, Receipt]:
    """The earliest request of each delivery, whatever its answer."""
    first: dict[Delivery, Receipt] = {}
    for receipt in sorted(receipts, key=lambda r: r.received_ns):
        first.setdefault((receipt.webhook_id, receipt.endpoint), receipt)
    return first


def first_attempt_delays(sent: Iterable[Sent], receipts: Iterable[Receipt]) -> list[float]:
    """Seconds from produce to receipt of each delivery whose first request was accepted."""
    first = first_receipts(receipts)
    return [
        (first[delivery].received_ns - event.produced_ns) / 1e9
        for event in sent
        for delivery in event.deliveries
        if delivery in first and first[delivery].accepted
    ]


def percentile(ascending: Sequence[float], percent: int) -> float | None:
    """The smallest value that ``percent`` of all do not exceed; None when there are none."""
    if not ascending:
        return None
    return ascending[max(0, -(-len(ascending) * percent // 100) - 1)]


@dataclass(frozen=True, slots=True)
class Silence:
    """A stretch in which events of a partition waited and none of them arrived anywhere."""

    partition: int
    began_ns: int
    seconds: float


def longest_silences(sent: Iterable[Sent], receipts: Iterable[Receipt]) -> dict[int, Silence]:
    """The longest silence of each partition.

    Only first requests count: a retry comes from a delay topic and says nothing about the
    partition. A silence begins when the partition's previous event arrived, or when the oldest of
    those still to arrive was produced if that is later: with nothing to do it is not silent.
    """
    first = first_receipts(receipts)
    arrivals: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for event in sent:
        for delivery in event.deliveries:
            if delivery in first:
                arrivals[event.partition].append((first[delivery].received_ns, event.produced_ns))
    return {
        partition: _longest_silence(partition, sorted(pairs))
        for partition, pairs in arrivals.items()
    }


def _longest_silence(partition: int, arrivals: list[tuple[int, int]]) -> Silence:
    """Of arrivals in order of time, each with the time its event was produced."""
    oldest_waiting: list[int] = []
    for _, produced in reversed(arrivals):
        oldest_waiting.append(min(produced, oldest_waiting[-1]) if oldest_waiting else produced)
    oldest_waiting.reverse()
    previous = 0
    longest = Silence(partition, oldest_waiting[0], 0.0)
    for (arrived, _), waiting_since in zip(arrivals, oldest_waiting, strict=True):
        began = max(previous, waiting_since)
        if (arrived - began) / 1e9 > longest.seconds:
            longest = Silence(partition, began, (arrived - began) / 1e9)
        previous = arrived
    return longest
