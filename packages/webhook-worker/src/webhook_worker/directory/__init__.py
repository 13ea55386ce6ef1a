"""Who receives what: the Protocol of every source of endpoints, and the value most of them hold."""

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from webhook_worker.endpoint import Endpoint


class Directory(Protocol):
    """Answers from memory, at once: it is asked for every record and for every parked delivery."""

    def endpoints_for(self, customer_id: str, event_type: str) -> tuple[Endpoint, ...]:
        """The enabled endpoints of a customer that receive this type, in the source's order."""
        ...

    def broken_for(self, customer_id: str, event_type: str) -> tuple[str | None, ...]:
        """The ids of those whose entry is wrong and that may receive it once repaired, in no order.

        None, at most once and last, stands for entries that have no id of their own.
        """
        ...

    def get(self, endpoint_id: str) -> Endpoint | None:
        """The endpoint with this id, enabled or not; None if there is none or it is wrong.

        An id can come to belong to another customer: compare ``customer_id`` before sending.
        """
        ...

    def is_broken(self, endpoint_id: str) -> bool:
        """Whether there is an entry with this id and it is wrong."""
        ...

    def knows_customer(self, customer_id: str) -> bool:
        """Whether any entry, be it disabled or wrong, belongs to this customer."""
        ...


@dataclass(frozen=True, slots=True)
class EndpointProblem:
    """One mistake in one entry of a source."""

    line: int | None
    """Counted from 1; None for a source without lines."""
    field: str
    """The field as people write it (``limits.rate``); empty if it is about the whole entry."""
    message: str
    endpoint_id: str | None = None

    def __str__(self) -> str:
        where = [
            f"line {self.line}" if self.line is not None else "",
            f"endpoint {self.endpoint_id}" if self.endpoint_id is not None else "",
        ]
        subject = self.field or "the entry"
        return ", ".join([*filter(None, where), f"{subject} {self.message}"])


@dataclass(frozen=True, slots=True)
class BrokenEndpoint:
    """What could be read of a wrong entry: which deliveries have to wait until it is repaired."""

    id: str | None
    """None: it has no id, or that of an entry before, so nothing can be kept for it."""
    customer_id: str | None
    event_types: frozenset[str] | None
    """None stands for all, also where they could not be read."""
    enabled: bool

    def may_want(self, event_type: str) -> bool:
        """Whether it may receive events of this type once it is repaired."""
        return self.enabled and (self.event_types is None or event_type in self.event_types)


class Snapshot:
    """All endpoints of a source at one time. It does not change; a reload makes another."""

    def __init__(
        self,
        endpoints: Iterable[Endpoint] = (),
        broken: Iterable[BrokenEndpoint] = (),
        problems: Iterable[EndpointProblem] = (),
    ) -> None:
        """Ids must differ."""
        self.problems = tuple(problems)
        self.broken = tuple(broken)
        """All entries that are wrong."""
        self._by_id = {endpoint.id: endpoint for endpoint in endpoints}
        self._broken_ids = frozenset(entry.id for entry in self.broken)
        self._by_customer = _grouped(self._by_id.values())
        self._broken_by_customer = _grouped(self.broken)

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """All usable endpoints, disabled ones too, in the source's order."""
        return tuple(self._by_id.values())

    def endpoints_for(self, customer_id: str, event_type: str) -> tuple[Endpoint, ...]:
        """See Directory."""
        known = self._by_customer.get(customer_id, ())
        for endpoint in known:
            if not endpoint.wants(event_type):
                return tuple([each for each in known if each.wants(event_type)])
        return known

    def broken_for(self, customer_id: str, event_type: str) -> tuple[str | None, ...]:
        """See Directory."""
        known = self._broken_by_customer.get(customer_id)
        if not known:
            return ()
        ids = [entry.id for entry in known if entry.may_want(event_type)]
        named = tuple(each for each in ids if each is not None)
        return named if len(named) == len(ids) else (*named, None)

    def get(self, endpoint_id: str) -> Endpoint | None:
        """See Directory."""
        return self._by_id.get(endpoint_id)

    def is_broken(self, endpoint_id: str) -> bool:
        """See Directory."""
        return endpoint_id in self._broken_ids

    def knows_customer(self, customer_id: str) -> bool:
        """See Directory."""
        return customer_id in self._by_customer or customer_id in self._broken_by_customer


class _OfCustomer(Protocol):
    @property
    def customer_id(self) -> str | None: ...


_Entry = TypeVar("_Entry", bound=_OfCustomer)


def _grouped(entries: Iterable[_Entry]) -> dict[str | None, tuple[_Entry, ...]]:
    groups: defaultdict[str | None, list[_Entry]] = defaultdict(list)
    for entry in entries:
        groups[entry.customer_id].append(entry)
    return {customer: tuple(group) for customer, group in groups.items()}
