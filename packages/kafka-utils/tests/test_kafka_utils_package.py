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


def test_who_only_consumes_does_not_load_what_asks_questions() -> None:
    program = "import kafka_utils, sys; kafka_utils.create_consumer; print(*sys.modules)"
    words = [sys.executable, "-c", program]
    loaded = subprocess.run(words, capture_output=True, text=True, check=True).stdout.split()
    assert "kafka_utils.consumer" in loaded
    assert not {"aiokafka.admin", "kafka_utils.admin", "kafka_utils.group"} & set(loaded)
