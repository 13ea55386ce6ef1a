"""Endpoints by id that come and go one by one, kept as text and parsed when they are asked for."""

import json
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, NoReturn

from webhook_worker.directory import BrokenEndpoint, EndpointProblem
from webhook_worker.directory.entry import parse_endpoint
from webhook_worker.endpoint import Endpoint
from webhook_worker.errors import BadEndpointError, BadSecretError, FieldProblem

MOST_PARSED = 1024
"""Endpoints that are kept ready, about 2 KB each."""


class EndpointTable:
    """All endpoints of a source whose entries have a key each; a Directory.

    Every process holds all of them, and most belong to customers of other processes: so an entry is
    kept as its text, checked when something is due to it or by ``check``, and parsed again when it
    has not been asked for lately. What it answers is the same as if all had been checked.
    """

    def __init__(self) -> None:
        self._texts: dict[str, bytes] = {}
        self._unchecked: dict[str, None] = {}
        self._ids = _IdsByCustomer()
        self._broken: dict[str, BrokenEndpoint] = {}
        self._broken_ids = _IdsByCustomer()
        self._problems: list[EndpointProblem] = []
        self._parsed: dict[str, Endpoint] = {}
        self._enabled = 0

    @property
    def counts(self) -> dict[str, int]:
        """How many are enabled, disabled, and invalid as far as they have been checked."""
        disabled = len(self._texts) - self._enabled
        return {"enabled": self._enabled, "disabled": disabled, "invalid": len(self._broken)}

    @property
    def is_checked(self) -> bool:
        """Whether all entries have been checked and what is wrong with them has been told."""
        return not self._unchecked and not self._problems

    def put(self, key: str, text: bytes) -> None:
        """Take an entry in place of the one with this key.

        One that is wrong is off, as in a file, and the one before it does not stay in use.
        """
        self.delete(key)
        seen = _glance(key, text)
        if seen is None:
            self._refuse(key, text)
            return
        customer_id, enabled = seen
        self._texts[key] = text
        self._unchecked[key] = None
        self._ids.add(customer_id, key)
        self._enabled += enabled

    def delete(self, key: str) -> None:
        """Forget the entry with this key, if there is one."""
        broken = self._broken.pop(key, None)
        if broken is not None:
            self._broken_ids.remove(broken.customer_id, key)
        text = self._texts.pop(key, None)
        seen = None if text is None else _glance(key, text)
        if seen is not None:
            customer_id, enabled = seen
            self._ids.remove(customer_id, key)
            self._enabled -= enabled
        self._unchecked.pop(key, None)
        self._parsed.pop(key, None)

    def check(self, most: int) -> tuple[EndpointProblem, ...]:
        """Check up to ``most`` entries; what has been found to be wrong since the last call."""
        for key in list(islice(self._unchecked, most)):
            self._examine(key)
        if not self._unchecked:
            self._unchecked = {}  # The old one keeps its room.
        problems, self._problems = self._problems, []
        return tuple(problems)

    @property
    def endpoints(self) -> Iterator[Endpoint]:
        """All that are usable, disabled ones too, in the order in which they came."""
        for key in list(self._texts):
            endpoint = self.get(key)
            if endpoint is not None:
                yield endpoint

    @property
    def broken(self) -> tuple[BrokenEndpoint, ...]:
        """All entries that are wrong, as far as they have been checked."""
        return tuple(self._broken.values())

    def endpoints_for(self, customer_id: str, event_type: str) -> tuple[Endpoint, ...]:
        """See Directory."""
        known = [self.get(each) for each in self._ids.of(customer_id)]
        return tuple([each for each in known if each is not None and each.wants(event_type)])

    def broken_for(self, customer_id: str, event_type: str) -> tuple[str | None, ...]:
        """See Directory."""
        for each in self._ids.of(customer_id):
            self._examine(each)
        ids = self._broken_ids.of(customer_id)
        return tuple([each for each in ids if self._broken[each].may_want(event_type)])

    def get(self, endpoint_id: str) -> Endpoint | None:
        """See Directory."""
        self._examine(endpoint_id)
        text = self._texts.get(endpoint_id)
        if text is None:
            return None
        endpoint = self._parsed.get(endpoint_id)
        if endpoint is None:
            endpoint = _read(text)
        else:
            del self._parsed[endpoint_id]
        return self._keep(endpoint_id, endpoint)

    def is_broken(self, endpoint_id: str) -> bool:
        """See Directory."""
        self._examine(endpoint_id)
        return endpoint_id in self._broken

    def knows_customer(self, customer_id: str) -> bool:
        """See Directory."""
        return bool(self._ids.of(customer_id) or self._broken_ids.of(customer_id))

    def _examine(self, key: str) -> None:
        """Check an entry that has not been, and put it aside if it is wrong."""
        if key not in self._unchecked:
            return
        text = self._texts[key]
        try:
            read_entry(key, text)
        except BadEndpointError:
            self.delete(key)
            self._refuse(key, text)
        else:
            del self._unchecked[key]

    def _keep(self, key: str, endpoint: Endpoint) -> Endpoint:
        if len(self._parsed) >= MOST_PARSED:
            del self._parsed[next(iter(self._parsed))]
        self._parsed[key] = endpoint  # The last in the order: the first goes first.
        return endpoint

    def _refuse(self, key: str, text: bytes) -> None:
        try:
            read_entry(key, text)
        except BadEndpointError as error:
            self._broken[key] = BrokenEndpoint(
                key, error.customer_id, error.event_types, error.enabled
            )
            self._broken_ids.add(error.customer_id, key)
            self._problems += [
                EndpointProblem(None, problem.field, problem.message, key)
                for problem in error.problems
            ]


class _IdsByCustomer:
    """Which ids a customer has. Most have one, which is kept without a tuple around it."""

    def __init__(self) -> None:
        self._ids: dict[str, str | tuple[str, ...]] = {}

    def of(self, customer_id: str) -> tuple[str, ...]:
        found = self._ids.get(customer_id, ())
        return (found,) if isinstance(found, str) else found

    def add(self, customer_id: str | None, key: str) -> None:
        if customer_id is not None:
            self._set(customer_id, (*self.of(customer_id), key))

    def remove(self, customer_id: str | None, key: str) -> None:
        if customer_id is not None:
            self._set(customer_id, tuple(each for each in self.of(customer_id) if each != key))

    def _set(self, customer_id: str, ids: tuple[str, ...]) -> None:
        if not ids:
            del self._ids[customer_id]
        else:
            self._ids[customer_id] = ids[0] if len(ids) == 1 else ids


def read_entry(key: str, text: bytes) -> Endpoint:
    """The endpoint of an entry and its key. Raises BadEndpointError."""
    repeated: dict[str, None] = {}

    def members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for name, value in pairs:
            if name in values:
                repeated[name] = None
            values[name] = value
        return values

    try:
        entry = json.loads(
            text.decode(), object_pairs_hook=members, parse_constant=_refuse_constant
        )
    except (ValueError, RecursionError):
        raise BadEndpointError(
            (FieldProblem((), "is not JSON in UTF-8"),), endpoint_id=key
        ) from None
    known = [FieldProblem((name,), "stands there more than once") for name in repeated]
    if isinstance(entry, dict) and "id" in entry and entry["id"] != key:
        known.append(FieldProblem(("id",), "must be the same as the key of its record"))
    return parse_endpoint(entry, _no_files, known)


def _read(text: bytes) -> Endpoint:
    """The endpoint of an entry that has been checked."""
    return parse_endpoint(json.loads(text), _no_files)


def _glance(key: str, text: bytes) -> tuple[str, bool] | None:
    """Whose the entry is and whether it is enabled; None if it is wrong in that already."""
    try:
        entry = json.loads(text.decode())
    except (ValueError, RecursionError):
        return None
    if not isinstance(entry, dict) or entry.get("id") != key:
        return None
    customer_id = entry.get("customer_id")
    return (
        (customer_id, entry.get("enabled") is not False) if isinstance(customer_id, str) else None
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _no_files(_: str) -> Sequence[str]:
    raise BadSecretError("belongs into a file of endpoints: give secrets here")
