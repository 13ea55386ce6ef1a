"""Expressions that panels share. ``$job`` and ``$group`` are chosen at the top of a board."""

from deploy.monitoring.panels import Query

OF_JOB = 'job="$job"'
OF_GROUP = 'job="$job", group="$group"'
TOP = 10
"""So many processes are shown where the worst are looked for."""


def rate(metric: str, matchers: str) -> str:
    """How much a counter grows in a second."""
    return f"rate({metric}{{{matchers}}}[$__rate_interval])"


def a_second(metric: str, matchers: str, *by: str) -> str:
    """The same, of all processes together."""
    return f"sum by ({', '.join(by)}) ({rate(metric, matchers)})"


def a_minute(metric: str, matchers: str, *by: str) -> str:
    """How much a counter grows in a minute, of all processes together."""
    return f"{a_second(metric, matchers, *by)} * 60"


def quantile(share: float, histogram: str, matchers: str, *by: str) -> str:
    """What ``share`` of the observations stay below, estimated from the buckets."""
    return f"histogram_quantile({share}, {a_second(f'{histogram}_bucket', matchers, *by, 'le')})"


def quantiles(shares: tuple[float, ...], histogram: str, matchers: str) -> tuple[Query, ...]:
    """One series for each share, called p50 and the like."""
    return tuple(
        Query(quantile(share, histogram, matchers), f"p{share * 100:.0f}") for share in shares
    )


def most(expr: str, legend: str = "{{instance}}") -> Query:
    """The series of the greatest values."""
    return Query(f"topk({TOP}, {expr})", legend)


def extremes(expr: str) -> tuple[Query, ...]:
    """The greatest, the average and the smallest of what processes have."""
    return tuple(Query(f"{each}({expr})", each) for each in ("max", "avg", "min"))
