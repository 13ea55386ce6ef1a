"""Why a group cannot be joined, in words that say what to do."""

import pytest
from aiokafka import errors
from aiokafka.errors import KafkaError

from kafka_utils.coordinator.refusals import explain
from kafka_utils.errors import (
    BrokerTooOldError,
    FencedError,
    GroupError,
    InconsistentAssignorsError,
    KafkaUtilsError,
)
from kafka_utils.requests import FencedInstanceIdError, GroupMaxSizeReachedError


def said(
    error: KafkaError,
    instance_id: str | None = None,
    assignors: tuple[str, ...] = ("cooperative-sticky",),
    agreed: str | None = None,
) -> GroupError:
    return explain(error, "fleet", instance_id, assignors, agreed)


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (FencedInstanceIdError(), FencedError, "group_instance_id 'pod-1', which must be unique"),
        (
            errors.InconsistentGroupProtocolError(),
            InconsistentAssignorsError,
            "no assignor in common with ours (cooperative-sticky)",
        ),
        (
            errors.IncompatibleBrokerVersion("LeaveGroup"),
            BrokerTooOldError,
            "Kafka 2.4 or later is needed (IncompatibleBrokerVersion: LeaveGroup)",
        ),
        (GroupMaxSizeReachedError(), GroupError, "group.max.size allows no more members"),
        (errors.GroupAuthorizationFailedError(), GroupError, "the brokers refuse READ on it"),
        (
            errors.InvalidSessionTimeoutError(),
            GroupError,
            "session_timeout_ms is not between the brokers' group.min.session.timeout.ms",
        ),
        (
            errors.InvalidGroupIdError(),
            GroupError,
            "cannot be joined: [Error 24] InvalidGroupIdError",
        ),
        (
            errors.UnsupportedVersionError("what the broker said"),
            GroupError,
            "what the broker said",
        ),
    ],
)
def test_each_refusal_names_the_group_and_says_why(
    error: KafkaError, kind: type[GroupError], words: str
) -> None:
    reason = said(error, instance_id="pod-1")

    assert type(reason) is kind
    (sentence,) = reason.args
    assert sentence.startswith("group 'fleet'")
    assert words in sentence


def test_a_skipped_bounce_is_named_with_what_to_do() -> None:
    reason = said(errors.InconsistentGroupProtocolError(), agreed="range")

    assert reason.args == (
        "group 'fleet' uses the assignor range, which is not among ours (cooperative-sticky): "
        "a bounce was skipped. First restart every member with cooperative-sticky,range, "
        "and when all run so, with cooperative-sticky",
    )


def test_several_assignors_are_named_in_their_order() -> None:
    reason = said(
        errors.InconsistentGroupProtocolError(), assignors=("sticky", "range"), agreed="roundrobin"
    )

    assert "with sticky,range,roundrobin, and when all run so, with sticky,range" in str(reason)


def test_every_refusal_is_an_error_of_this_package_and_of_aiokafka() -> None:
    reason = said(GroupMaxSizeReachedError())

    assert isinstance(reason, KafkaUtilsError)
    assert isinstance(reason, KafkaError)
    assert not reason.retriable
