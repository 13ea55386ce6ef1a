"""How the time of a drain is divided between the work and its commit."""

LONGEST_MARGIN_SECONDS = 2.0


def drain_margin(drain_seconds: float) -> float:
    """The seconds of a drain that are kept back for the last commit: a fifth, 2 s at most."""
    return min(LONGEST_MARGIN_SECONDS, drain_seconds / 5)
