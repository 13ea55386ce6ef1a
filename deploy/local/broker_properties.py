"""What ZooKeeper and each broker are told: small for one machine, strict as production."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from deploy.local.ports import LOOPBACK

Properties = dict[str, str]
ZOOKEEPER_TICK_MS = 500


def render(properties: Mapping[str, str]) -> str:
    """The text of a Java properties file."""
    lines = (f"{name}={value}" for name, value in properties.items())
    return "".join(line.replace("\\", "\\\\").replace("\n", "\\n") + "\n" for line in lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """One cluster on loopback: where each part listens and keeps its data, and how big it is.

    `ports` has for each security protocol one port per broker; `quorum_ports` has the controllers'
    ports, or ZooKeeper's alone. Times are in milliseconds.
    """

    version: str
    directory: Path
    ports: Mapping[str, tuple[int, ...]]
    quorum_ports: tuple[int, ...]
    offsets_partitions: int
    rebalance_delay_ms: int
    broker_session_ms: int
    extra: Mapping[str, str]

    @property
    def numbers(self) -> range:
        """The brokers' ids: 0, 1, 2."""
        return range(len(self.ports["PLAINTEXT"]))

    @property
    def uses_zookeeper(self) -> bool:
        """Whether it needs ZooKeeper: 2.x does, 3.3 and later need not (KIP-833)."""
        return self.version.startswith("2.")

    @property
    def listeners(self) -> Mapping[str, str]:
        """For each security protocol the brokers' addresses, separated by commas."""
        return {
            protocol: ",".join(f"{LOOPBACK}:{port}" for port in ports)
            for protocol, ports in self.ports.items()
        }

    def zookeeper(self) -> Properties:
        """What ZooKeeper is told."""
        return {
            "dataDir": str(self.directory / "zookeeper-data"),
            "clientPort": str(self.quorum_ports[0]),
            "clientPortAddress": LOOPBACK,
            "tickTime": str(ZOOKEEPER_TICK_MS),
            "maxClientCnxns": "0",
            "admin.enableServer": "false",
        }

    def broker(self, number: int) -> Properties:
        """What one broker is told."""
        mode = self._with_zookeeper(number) if self.uses_zookeeper else self._with_kraft(number)
        return self._shared(number) | mode | dict(self.extra)

    def _advertised(self, number: int) -> str:
        return ",".join(
            f"{protocol}://{LOOPBACK}:{ports[number]}" for protocol, ports in self.ports.items()
        )

    def _shared(self, number: int) -> Properties:
        replication = str(min(3, len(self.numbers)))
        in_sync = str(min(2, len(self.numbers)))
        return {
            "log.dirs": str(self.directory / f"broker-{number}-data"),
            "listeners": self._advertised(number),
            "advertised.listeners": self._advertised(number),
            "inter.broker.listener.name": "PLAINTEXT",
            "broker.rack": f"az-{number}",
            "num.network.threads": "2",
            "num.io.threads": "4",
            "log.cleaner.dedupe.buffer.size": "2097152",
            "auto.create.topics.enable": "false",
            "default.replication.factor": replication,
            "min.insync.replicas": in_sync,
            "offsets.topic.replication.factor": replication,
            "offsets.topic.num.partitions": str(self.offsets_partitions),
            "transaction.state.log.replication.factor": replication,
            "transaction.state.log.min.isr": in_sync,
            "transaction.state.log.num.partitions": str(self.offsets_partitions),
            "group.initial.rebalance.delay.ms": str(self.rebalance_delay_ms),
        }

    def _with_zookeeper(self, number: int) -> Properties:
        return {
            "broker.id": str(number),
            "zookeeper.connect": f"{LOOPBACK}:{self.quorum_ports[0]}",
            "zookeeper.session.timeout.ms": str(self.broker_session_ms),
            # ZooKeeper starts at the same time as the brokers: they wait for it.
            "zookeeper.connection.timeout.ms": "30000",
        }

    def _with_kraft(self, number: int) -> Properties:
        controllers = enumerate(self.quorum_ports)
        own = f"CONTROLLER://{LOOPBACK}:{self.quorum_ports[number]}"
        return {
            "node.id": str(number),
            "process.roles": "broker,controller",
            "listeners": f"{self._advertised(number)},{own}",
            "controller.listener.names": "CONTROLLER",
            "controller.quorum.voters": ",".join(
                f"{voter}@{LOOPBACK}:{port}" for voter, port in controllers
            ),
            "listener.security.protocol.map": ",".join(
                ["CONTROLLER:PLAINTEXT", *(f"{protocol}:{protocol}" for protocol in self.ports)]
            ),
            "broker.session.timeout.ms": str(self.broker_session_ms),
            "broker.heartbeat.interval.ms": str(self.broker_session_ms // 6),
        }
