"""``webhook-worker group``: what is printed of a group, and when members are removed."""

import json
from dataclasses import replace
from types import TracebackType
from typing import Any

import pytest
from aiokafka import TopicPartition
from hypothesis import given
from hypothesis import strategies as st

from app_worker.settings import KafkaSettings
from kafka_utils.group import GroupDescription, MemberDescription, PartitionLag
from kafka_utils.group_questions import Removed
from kafka_utils.topics import Broker
from webhook_worker.cli import main
from webhook_worker.commands.group_report import as_json, member_lines, ranges, state_lines

ENVIRON = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "KAFKA_GROUP_ID": "webhooks"}


def lag(partition: int, committed: int | None, log_end: int | None) -> PartitionLag:
    return PartitionLag(TopicPartition("webhook", partition), committed, log_end)


ONE = MemberDescription(
    member_id="worker-0-5a",
    client_id="worker-0",
    host="10.0.0.1",
    instance_id="pod-1-0",
    topics=("webhook",),
    generation=6,
    partitions=(lag(0, 5, 8), lag(1, 7, 9), lag(3, None, 4)),
)
OTHER = MemberDescription(
    member_id="x-1",
    client_id="x\x1b[2J",
    host="10.0.0.22",
    topics=(),
    unreadable="too short",
)
GROUP = GroupDescription(
    group_id="webhooks",
    state="Stable",
    coordinator=Broker(node_id=2, host="b-2", port=9092, rack="az-2"),
    leaders={1: 33, 2: 34, 3: 33},
    protocol_type="consumer",
    assignor="cooperative-sticky",
    members=(ONE, OTHER),
    unowned=(lag(2, 1, 5),),
)
EMPTY = replace(GROUP, state="Empty", assignor=None, members=(), unowned=())
DEAD = replace(EMPTY, state="Dead", protocol_type="")

STATE = """\
group: webhooks
state: Stable
coordinator: broker 2 at b-2:9092, rack az-2; it leads 34 of all 100 partitions, \
broker 1 leads 33, broker 3 leads 33
assignor: cooperative-sticky, past generation 6
members: 2, 1 of them static; 0 to 3 partitions each
lag: 9 in 4 partitions, most in webhook 2 (4); unknown in 1
unowned: webhook 2
"""
MEMBERS = """\
CLIENT      HOST       INSTANCE  LAG  PARTITIONS  OWNED                    MEMBER
worker-0    10.0.0.1   pod-1-0     5           3  webhook 0-1,3            worker-0-5a
'x\\x1b[2J'  10.0.0.22  -           0           0  (unreadable: too short)  x-1
(nobody)    -          -           4           1  webhook 2                -
"""


class Cluster:
    """Stands for the admin: answers from values, and remembers what it was asked."""

    def __init__(self) -> None:
        self.group = GROUP
        self.removed = Removed(removed=(), unknown=())
        self.asked: list[Any] = []

    async def __aenter__(self) -> "Cluster":
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pass

    async def describe_group(self, group_id: str) -> GroupDescription:
        self.asked.append(group_id)
        return self.group

    async def remove_static_members(self, group_id: str, instance_ids: list[str]) -> Removed:
        self.asked.append((group_id, instance_ids))
        return self.removed


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    cluster = Cluster()
    monkeypatch.setattr(KafkaSettings, "admin", lambda _: cluster)
    return cluster


@pytest.mark.parametrize(
    ("options", "said"),
    [([], STATE + MEMBERS), (["--state"], STATE), (["--members"], MEMBERS)],
    ids=["all", "state", "members"],
)
def test_a_group_is_described_for_a_person(
    cluster: Cluster, options: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["group", "describe", *options], ENVIRON) == 0
    assert capsys.readouterr().out == said
    assert cluster.asked == ["webhooks"]


def test_another_group_can_be_named(cluster: Cluster) -> None:
    assert main(["group", "describe", "--group", "webhooks.retry"], ENVIRON) == 0
    assert cluster.asked == ["webhooks.retry"]


def test_everything_is_told_as_json(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["group", "describe", "--json"], ENVIRON) == 0
    told = json.loads(capsys.readouterr().out)

    assert told == as_json(GROUP)
    assert (told["group"], told["exists"], told["state"]) == ("webhooks", True, "Stable")
    assert told["owners_told"] is True
    assert told["coordinator"] == {"node_id": 2, "host": "b-2", "port": 9092, "rack": "az-2"}
    assert told["leaders"] == {"1": 33, "2": 34, "3": 33}
    assert (told["protocol_type"], told["assignor"]) == ("consumer", "cooperative-sticky")
    assert (told["generation"], told["lag"]) == (6, 9)
    assert told["unowned"] == [
        {"topic": "webhook", "partition": 2, "committed": 1, "log_end": 5, "lag": 4}
    ]
    member, foreign = told["members"]
    assert {name: member[name] for name in ("member_id", "client_id", "host", "instance_id")} == {
        "member_id": "worker-0-5a",
        "client_id": "worker-0",
        "host": "10.0.0.1",
        "instance_id": "pod-1-0",
    }
    assert (member["topics"], member["generation"], member["lag"]) == (["webhook"], 6, 5)
    assert [here["lag"] for here in member["partitions"]] == [3, 2, None]
    assert member["unreadable"] is None
    assert foreign["unreadable"] == "too short"


@pytest.mark.parametrize("options", [[], ["--state"], ["--members"], ["--json"]])
def test_a_group_that_does_not_exist_is_found_to_be_wrong(
    cluster: Cluster, options: list[str]
) -> None:
    cluster.group = DEAD
    assert main(["group", "describe", *options], ENVIRON) == 1


def test_a_group_that_does_not_exist_is_said_to_be_none() -> None:
    assert "state: Dead: there is no such group" in state_lines(DEAD)
    assert member_lines(DEAD) == ["no members"]


def test_an_assignor_of_another_client_cannot_move_the_cursor() -> None:
    assert "assignor: 'a\\x1b'" in state_lines(replace(EMPTY, assignor="a\x1b"))


def test_offsets_of_what_is_no_classic_group_are_not_hidden() -> None:
    group = replace(DEAD, unowned=GROUP.unowned)

    assert "state: Dead: no group of the classic protocol, though it has offsets" in (
        state_lines(group)
    )


@pytest.mark.parametrize("state", ["PreparingRebalance", "CompletingRebalance"])
def test_what_is_not_told_during_a_rebalance_is_not_said_to_be_nobodys(state: str) -> None:
    waiting = replace(ONE, topics=(), generation=None, partitions=())
    group = replace(GROUP, state=state, assignor=None, members=(waiting,))

    assert state_lines(group)[3:] == [
        "assignor: -",
        "members: 1, 1 of them static; partitions not told",
        "lag: 4 in 1 partitions, most in webhook 2 (4)",
        "unowned: not told",
    ]
    assert member_lines(group)[2].startswith("(not told)  ")
    assert as_json(group)["owners_told"] is False


def test_an_empty_group_exists_and_has_lag(cluster: Cluster) -> None:
    cluster.group = replace(EMPTY, unowned=GROUP.unowned)

    assert main(["group", "describe"], ENVIRON) == 0
    assert state_lines(cluster.group)[3:] == [
        "assignor: -",
        "members: 0",
        "lag: 4 in 1 partitions, most in webhook 2 (4)",
        "unowned: webhook 2",
    ]


def test_a_group_without_offsets_lags_by_nothing() -> None:
    assert state_lines(EMPTY)[-2:] == ["lag: 0 in 0 partitions", "unowned: none"]


def test_a_coordinator_that_leads_nothing_says_so() -> None:
    alone = replace(GROUP, coordinator=Broker(node_id=7, host="b", port=1), leaders={7: 0})

    assert state_lines(alone)[2] == ("coordinator: broker 7 at b:1; it leads 0 of all 0 partitions")


REMOVE = ["group", "remove-members", "--instance-id", "pod-1-0", "--instance-id", "pod-2-0"]


def test_nobody_is_removed_unless_it_is_meant(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(REMOVE, ENVIRON) == 2
    out, err = capsys.readouterr()
    assert not out
    assert err == (
        "webhook-worker group remove-members: would remove from group webhooks: "
        "pod-1-0, pod-2-0; --yes does it\n"
    )
    assert cluster.asked == []


def test_removed_members_are_named(cluster: Cluster, capsys: pytest.CaptureFixture[str]) -> None:
    cluster.removed = Removed(removed=("pod-1-0", "pod-2-0"), unknown=())

    assert main([*REMOVE, "--yes", "--group", "g"], ENVIRON) == 0
    assert capsys.readouterr() == ("pod-1-0: removed\npod-2-0: removed\n", "")
    assert cluster.asked == [("g", ["pod-1-0", "pod-2-0"])]


def test_a_member_that_is_unknown_is_a_failure(
    cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    cluster.removed = Removed(removed=("pod-1-0",), unknown=("pod-2-0",))

    assert main([*REMOVE, "--yes"], ENVIRON) == 1
    assert capsys.readouterr() == (
        "pod-1-0: removed\n",
        "pod-2-0: unknown to group webhooks\n",
    )


@pytest.mark.parametrize(
    "argv",
    [
        ["group"],
        ["group", "remove-members"],
        ["group", "remove-members", "--yes"],
        ["group", "remove-members", "--yes", "--instance-id", ""],
        ["group", "remove-members", "--yes", "--instance-id", "\udcff"],
        ["group", "remove-members", "--yes", "--instance-id", "x" * 32_768],
        ["group", "describe", "--group", ""],
        ["group", "describe", "--json", "--members"],
        ["group", "describe", "--state", "--members"],
    ],
)
def test_wrong_arguments_end_with_2(cluster: Cluster, argv: list[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(argv, ENVIRON)
    assert cluster.asked == []


@pytest.mark.parametrize("argv", [["group", "describe"], [*REMOVE, "--yes"]])
def test_without_brokers_it_fails_with_one_sentence(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, ENVIRON | {"KAFKA_REQUEST_TIMEOUT_MS": "1000"}) == 1
    out, err = capsys.readouterr()
    assert not out
    assert "127.0.0.1:1" in err
    assert len(err.splitlines()) == 1


@pytest.mark.parametrize("argv", [["group", "describe"], REMOVE])
def test_a_wrong_environment_ends_with_2(
    argv: list[str], cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv, {"KAFKA_BOOTSTRAP_SERVERS": "nowhere"}) == 2
    assert capsys.readouterr().err.startswith("KAFKA_BOOTSTRAP_SERVERS is ")
    assert cluster.asked == []


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([], ""),
        ([4], "t 4"),
        ([2, 1, 0], "t 0-2"),
        ([9, 1, 2, 5, 11, 10], "t 1-2,5,9-11"),
    ],
)
def test_partitions_in_a_row_are_shortened(numbers: list[int], said: str) -> None:
    assert ranges(TopicPartition("t", number) for number in numbers) == said


def test_partitions_of_several_topics_are_told_apart() -> None:
    assert ranges([TopicPartition("b", 1), TopicPartition("a", 0), TopicPartition("b", 0)]) == (
        "a 0 b 0-1"
    )


@given(st.sets(st.integers(0, 40)))
def test_a_shortened_list_loses_no_partition(numbers: set[int]) -> None:
    said = ranges(TopicPartition("t", number) for number in numbers)
    read: set[int] = set()
    for run in said.removeprefix("t ").split(",") if said else []:
        first, _, last = run.partition("-")
        read.update(range(int(first), int(last or first) + 1))
    assert read == numbers


@given(st.text(max_size=8), st.text(max_size=8))
def test_every_member_is_one_line_whatever_it_calls_itself(client_id: str, host: str) -> None:
    members = (replace(ONE, client_id=client_id, host=host), ONE)
    lines = member_lines(replace(GROUP, members=members, unowned=()))

    assert len("\n".join(lines).splitlines()) == 3
    assert all(line.isprintable() for line in lines)
