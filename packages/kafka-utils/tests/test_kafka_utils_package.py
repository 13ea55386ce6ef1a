"""The package as a whole: its version, its public names, its errors."""

import pickle
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
