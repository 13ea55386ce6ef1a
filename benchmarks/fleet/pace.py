"""How fast a backlog went down, from looks at it; pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import mean

from benchmarks.fleet.receiver import Taken

FIRST_SHARE, LAST_SHARE = 0.2, 0.95
"""Of the events, between which it is measured: connections are made before, and the last ones are
on few processes."""


_NOTHING = Taken()


@dataclass(frozen=True, slots=True)
class Look:
    """What was so at a moment."""

    at: float
    arrived: int
    workers_cpu: float
    """Seconds of CPU so far, of all processes together; so are the next two."""
    brokers_cpu: float
    customers_cpu: float
    customers_waited: float
    """Seconds that they were ready to run, and had no processor."""
    workers_woken: int = 0
    """How often they had nothing to do and then something again; so is the next."""
    customers_woken: int = 0
    taken: Taken = _NOTHING
    """What the customers were sent."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Between two looks."""

    per_second: float
    worker_us: float
    """CPU for each delivery; so are the next two."""
    broker_us: float
    customer_us: float
    customers_waited_share: float
    """Of the time, on the mean of the customers' processes; near 1, they are what is measured."""
    worker_us_in_all: float
    """CPU for each delivery from the first look to the last one: what a beginning costs, too."""
    worker_woken: float
    """Of all of them together, for each delivery; so are the next four."""
    customer_woken: float
    connections: float
    pieces: float
    size: float
    """In bytes."""


def pace(looks: Sequence[Look], events: int, customers: int) -> Pace | None:
    """None when too little came, or all at once."""
    began = next((x for x in looks if x.arrived >= FIRST_SHARE * events), None)
    ended = next((x for x in looks if x.arrived >= LAST_SHARE * events), looks[-1])
    if began is None or ended.at <= began.at or ended.arrived <= began.arrived:
        return None
    done, seconds = ended.arrived - began.arrived, ended.at - began.at
    return Pace(
        per_second=done / seconds,
        worker_us=(ended.workers_cpu - began.workers_cpu) / done * 1e6,
        broker_us=(ended.brokers_cpu - began.brokers_cpu) / done * 1e6,
        customer_us=(ended.customers_cpu - began.customers_cpu) / done * 1e6,
        customers_waited_share=(ended.customers_waited - began.customers_waited)
        / seconds
        / customers,
        worker_us_in_all=(looks[-1].workers_cpu - looks[0].workers_cpu) / looks[-1].arrived * 1e6,
        worker_woken=(ended.workers_woken - began.workers_woken) / done,
        customer_woken=(ended.customers_woken - began.customers_woken) / done,
        connections=(ended.taken.connections - began.taken.connections) / done,
        pieces=(ended.taken.pieces - began.taken.pieces) / done,
        size=(ended.taken.size - began.taken.size) / done,
    )


def unevenness(counts: Sequence[int]) -> float | None:
    """The most over the mean; None if there was nothing."""
    return max(counts) / mean(counts) if any(counts) else None
