"""The package as a whole: its version, its public names, its errors."""

import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import kafka_utils
from kafka_utils import (
    ConfigurationError,
    KafkaUtilsError,
    Problem,
    TopicCreationError,
    UnknownAssignorError,
    UnreachableError,
)

ROOT = Path(__file__).parents[1]


def test_the_version_is_that_of_the_distribution() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    assert kafka_utils.__version__ == project["version"]
    assert f"\n## {kafka_utils.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_every_public_name_is_there() -> None:
    assert all(hasattr(kafka_utils, name) for name in kafka_utils.__all__)


@pytest.mark.parametrize(
    "error",
    [
        ConfigurationError([Problem("group_id", "''", "not blank")]),
        UnknownAssignorError([Problem("assignors", "'x'", "one of range")]),
        UnreachableError({"localhost:9092": "did not answer in time"}),
        TopicCreationError({"webhook": "no room"}, ("a",), ("b",)),
    ],
)
def test_an_error_survives_a_process_boundary(error: KafkaUtilsError) -> None:
    copy = pickle.loads(pickle.dumps(error))

    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_public_name_can_be_imported_and_no_other() -> None:
    for name in kafka_utils.__all__:
        assert getattr(kafka_utils, name) is not None
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = kafka_utils.Nothing


def loaded_by(program: str) -> set[str]:
    words = [sys.executable, "-c", f"import sys; {program}; print(*sys.modules)"]
    return set(subprocess.run(words, capture_output=True, text=True, check=True).stdout.split())


def test_who_only_consumes_loads_nothing_but_a_member() -> None:
    config = "ConsumerConfig(bootstrap_servers=('broker:9092',), group_id='g')"
    loaded = loaded_by(
        "from kafka_utils import ConsumerConfig, create_consumer;"
        "from kafka_utils.assignors import registry;"
        f"registry.resolve({config}.assignors[0])"
    )
    assert {"kafka_utils.consumer", "kafka_utils.assignors.cooperative_sticky"} <= loaded
    kafka_utils_own = {"admin", "group", "producer", "reader", "testing"}
    assignors = {"cooperative_plan", "claims", "general_balance", "eager", "plugins"}
    of_aiokafka = {"admin", "coordinator.assignors.sticky", "coordinator.assignors.range"}
    assert not loaded & {f"kafka_utils.{name}" for name in kafka_utils_own}
    assert not loaded & {f"kafka_utils.assignors.{name}" for name in assignors}
    assert not loaded & {f"aiokafka.{name}" for name in of_aiokafka}
    assert not loaded & {"pathlib", "ipaddress"} - loaded_by("import aiokafka")
