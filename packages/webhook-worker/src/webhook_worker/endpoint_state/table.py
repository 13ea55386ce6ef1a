"""What the topic of endpoint states says, by endpoint."""

import logging
from collections import Counter
from collections.abc import Callable

from webhook_worker.endpoint_state.state import Disabled, EndpointState, NotStateError, read

STATES = ("suspected", "failing", "disabled")

_log = logging.getLogger(__name__)


class StateTable:
    """A Table of the compacted topic. What cannot be read says nothing, and is logged."""

    def __init__(self, cleared: Callable[[str], object] = lambda _: None) -> None:
        """``cleared`` is told of each endpoint of which nothing is known any more."""
        self.states: dict[str, EndpointState] = {}
        self._cleared = cleared

    @property
    def counts(self) -> dict[str, int]:
        """How many endpoints there are in each state."""
        found = Counter(word_for(state) for state in self.states.values())
        return {word: found[word] for word in STATES}

    def put(self, key: str, value: bytes, /) -> None:
        """See Table."""
        try:
            self.states[key] = read(value)
        except NotStateError as error:
            self.states.pop(key, None)
            _log.warning(
                "an endpoint's state cannot be read, so it is taken for none",
                extra={"endpoint": key, "why": str(error)},
            )

    def delete(self, key: str, /) -> None:
        """See Table."""
        self.states.pop(key, None)
        self._cleared(key)


def word_for(state: EndpointState) -> str:
    """One of STATES."""
    if isinstance(state, Disabled):
        return "disabled"
    return "failing" if state.announced else "suspected"
