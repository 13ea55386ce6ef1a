"""What can go wrong in this package, as one tree.

    KafkaUtilsError
    |-- ConfigurationError (ValueError)          a value cannot work; lists every problem in it
    |   |-- UnknownAssignorError                 no assignor has that name; lists the known ones
    |   `-- AssignorPluginError                  a plugged-in assignor cannot be used; whose it is
    |-- UnreachableError (KafkaConnectionError)  no broker could be talked to; why, server by server
    |-- TopicCreationError                       the brokers refused topics; why, topic by topic
    `-- GroupError (KafkaError)                  the group cannot be taken part in, for good
        |-- FencedError                          another member has its instance id
        |-- InconsistentAssignorsError           it has no assignor in common with the others
        `-- BrokerTooOldError                    the coordinator lacks a request; which Kafka has it

Everything else that the brokers answer travels as aiokafka's own ``KafkaError``.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from aiokafka.errors import KafkaConnectionError, KafkaError


class KafkaUtilsError(Exception):
    """The root of this package's errors."""


class Problem(NamedTuple):
    """One mistake in a configuration."""

    field: str
    """The name of the field, as the configuration value spells it."""
    value: str
    """What was given, fit to be shown: shortened where long, hidden where secret."""
    allowed: str
    """What is allowed instead, worded to follow "must be"."""

    def __str__(self) -> str:
        return f"{self.field} is {self.value}, but must be {self.allowed}"


class ConfigurationError(KafkaUtilsError, ValueError):
    """A configuration value cannot work; ``problems`` has one entry for each mistake in it."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(self.problems)

    def __str__(self) -> str:
        return "; ".join(map(str, self.problems))


class UnknownAssignorError(ConfigurationError):
    """No assignor is registered under a name that was asked for."""


class AssignorPluginError(ConfigurationError):
    """An assignor is registered by another distribution but cannot be used."""


class UnreachableError(KafkaUtilsError, KafkaConnectionError):
    """None of the bootstrap servers could be talked to.

    ``reasons`` says for each server, as ``host:port``, what became of the attempt.
    """

    def __init__(self, reasons: Mapping[str, str]) -> None:
        self.reasons = dict(reasons)
        super().__init__(self.reasons)

    def __str__(self) -> str:
        attempts = "; ".join(f"{server} {reason}" for server, reason in self.reasons.items())
        return f"no broker can be reached: {attempts}"


class TopicCreationError(KafkaUtilsError):
    """The brokers refused to create topics.

    ``failures`` has the reason for each refused topic; ``created`` and ``existing`` name the topics
    of the same call that are there nevertheless.
    """

    def __init__(
        self,
        failures: Mapping[str, str],
        created: tuple[str, ...] = (),
        existing: tuple[str, ...] = (),
    ) -> None:
        self.failures = dict(failures)
        self.created = created
        self.existing = existing
        super().__init__(self.failures, created, existing)

    def __str__(self) -> str:
        return "; ".join(
            f"topic {topic!r} was not created: {reason}" for topic, reason in self.failures.items()
        )


class GroupError(KafkaUtilsError, KafkaError):
    """A consumer cannot take part in its group, and trying again will not help.

    It is raised by ``start``, ``getone``, ``getmany`` and ``commit`` from then on.
    """

    def __str__(self) -> str:
        return Exception.__str__(self)


class FencedError(GroupError):
    """Another member has joined with this one's ``group_instance_id`` (KIP-345)."""


class InconsistentAssignorsError(GroupError):
    """The members of the group and this one have no assignor in common."""


class BrokerTooOldError(GroupError):
    """The coordinator does not know a request in the version that is needed."""
