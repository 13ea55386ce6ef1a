"""The brokers that tests run against; where they cannot be had a test fails, and says why."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiokafka.conn import AIOKafkaConnection
from hypothesis import HealthCheck, settings

from deploy.local.brokers import DEFAULT_VERSION, BrokersUnavailable, Cluster
from deploy.local.guard import Guard
from deploy.local.scratch import roomy_memory

Tell = Callable[[Mapping[str, object]], None]
ACCOUNT = "ledger"

VERSION = os.environ.get("KAFKA_VERSION") or DEFAULT_VERSION


def pytest_configure() -> None:
    # pytest-asyncio asks for the current loop before it sets its own; on Python 3.11 that makes a
    # loop which nobody closes, unless it was said before that there is none.
    asyncio.set_event_loop(None)
    # How long an example takes, to make or to run, says how busy the machine is.
    late = [HealthCheck.too_slow]
    settings.register_profile("fleet", deadline=None, suppress_health_check=late)
    settings.load_profile("fleet")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what the tests have told; several processes may run them, so none prints by itself."""
    ended = terminalreporter.getreports("passed") + terminalreporter.getreports("failed")
    told = [
        (report.nodeid.rpartition("::")[2], account)
        for report in ended
        if report.when == "call"
        for name, account in report.user_properties
        if name == ACCOUNT
    ]
    if told:
        terminalreporter.section("ledgers")
    for test, account in told:
        terminalreporter.line(f"{test}: {account}")


@pytest.fixture
def tell(record_property: Callable[[str, object], None]) -> Tell:
    """Have the ledger of a test printed at the end of the run."""
    return lambda ledger: record_property(ACCOUNT, str(ledger))


@dataclass(frozen=True, slots=True)
class ExistingCluster:
    """The cluster that KAFKA_BOOTSTRAP_SERVERS names: somebody else keeps it."""

    bootstrap_servers: str


def running(cluster: Cluster) -> Iterator[Cluster]:
    """Start it for the tests, and stop it after them."""
    try:
        cluster.start()
    except BrokersUnavailable as error:
        raise pytest.fail.Exception(str(error), pytrace=False) from None
    yield cluster
    cluster.stop()


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster | ExistingCluster]:
    """Three brokers that all tests share: kill none, and give topics names of their own."""
    existing = os.environ.get("KAFKA_BOOTSTRAP_SERVERS")
    if existing:
        yield ExistingCluster(existing)
        return
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="kafka-", dir=roomy_memory()))
        guard.remove(directory)
        yield from running(Cluster(VERSION, directory=directory, guard=guard))


@pytest.fixture
async def ended_connections(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """Wait for the end of what aiokafka has closed: over TLS a broker says so too, in its time.

    aiokafka itself does not wait for it where it found the brokers, or was refused.
    """
    ends: list[asyncio.Future[None]] = []
    close: Callable[..., asyncio.Future[None] | None] = AIOKafkaConnection.close

    def noted(
        connection: AIOKafkaConnection, *why: object, **named: object
    ) -> asyncio.Future[None] | None:
        end = close(connection, *why, **named)
        if end is not None:
            ends.append(end)
        return end

    monkeypatch.setattr(AIOKafkaConnection, "close", noted)
    yield
    await asyncio.gather(*ends)


@pytest.fixture
def own_cluster(tmp_path: Path) -> Iterator[Cluster]:
    """Three brokers for one test, which may kill, pause and restart them."""
    yield from running(Cluster(VERSION, directory=tmp_path / "kafka"))


@pytest.fixture(scope="session")
def secure_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One broker with a listener for each security protocol, shared by all tests."""
    directory = tmp_path_factory.mktemp("secure-kafka")
    yield from running(Cluster(VERSION, directory=directory, brokers=1, secure=True))
