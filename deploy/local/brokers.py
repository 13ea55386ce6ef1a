"""Real Kafka brokers on this machine, for the demo, the tests and the benchmarks.

`python -m deploy.local.brokers up` keeps a cluster up until Ctrl-C.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

from deploy.local import broker_registration, broker_security, jars, kafka_tools
from deploy.local.broker_properties import ZOOKEEPER_TICK_MS, Layout, Properties, render
from deploy.local.errors import BrokersUnavailable
from deploy.local.guard import Guard
from deploy.local.java import java_command
from deploy.local.java_process import JavaProcess
from deploy.local.ports import free_ports, is_free

__all__ = ["DEFAULT_VERSION", "BrokersUnavailable", "Cluster"]

DEFAULT_VERSION = "2.8.1"
ZOOKEEPER_CLASS = "org.apache.zookeeper.server.quorum.QuorumPeerMain"
BROKERS = 3
POLL_SECONDS = 0.1
ORDERLY_STOP_SECONDS = 30.0
EXIT_UNAVAILABLE = 3


class Cluster:
    """Brokers 0, 1, 2 on loopback, at ports that they keep for their lives.

    `directory` takes data and logs, must be empty or absent, and is left as it is in the end.
    `ports`, one for each broker, are its ports without security, free ones by default.
    `secure` gives every broker the four listeners of `broker_security.PROTOCOLS`. The sizes are for
    quick tests; where rebalances are judged, use Kafka's own 50 offsets partitions and a delay of
    3000 ms. `broker_session_ms` is how long a dead broker counts as alive. `extra` are further
    broker properties. `guard`, if given, is the caller's to close.

    A context manager: started at its beginning, stopped at its end, once. One thread at a time.
    """

    def __init__(
        self,
        version: str = DEFAULT_VERSION,
        *,
        directory: Path,
        brokers: int = BROKERS,
        ports: Sequence[int] | None = None,
        secure: bool = False,
        offsets_partitions: int = 5,
        rebalance_delay_ms: int = 0,
        broker_session_ms: int = 6_000,
        extra: Mapping[str, str] | None = None,
        guard: Guard | None = None,
        start_timeout_seconds: float = 150.0,
    ) -> None:
        protocols = broker_security.PROTOCOLS if secure else ("PLAINTEXT",)
        chosen = iter(free_ports(brokers * (len(protocols) + 1)))
        by_protocol = {
            protocol: tuple(next(chosen) for _ in range(brokers)) for protocol in protocols
        }
        if ports:
            by_protocol["PLAINTEXT"] = tuple(ports)
        self._layout = Layout(
            version=version,
            directory=directory.resolve(),
            ports=by_protocol,
            quorum_ports=tuple(chosen),
            offsets_partitions=offsets_partitions,
            rebalance_delay_ms=rebalance_delay_ms,
            broker_session_ms=broker_session_ms,
            extra=extra or {},
        )
        self._secure = secure
        self._start_timeout_seconds = start_timeout_seconds
        self._guard = guard or Guard()
        self._owns_guard = guard is None
        self._credentials: broker_security.Credentials | None = None
        self._zookeeper: JavaProcess | None = None
        self._brokers: list[JavaProcess] = []
        self._killed_at: dict[int, float] = {}

    @property
    def version(self) -> str:
        """The version of Kafka."""
        return self._layout.version

    @property
    def bootstrap_servers(self) -> str:
        """The addresses that demand no security, separated by commas."""
        return self.listeners["PLAINTEXT"]

    @property
    def listeners(self) -> Mapping[str, str]:
        """For each security protocol the brokers' addresses, separated by commas."""
        return self._layout.listeners

    @property
    def credentials(self) -> broker_security.Credentials:
        """What opens the listeners of a secure cluster, from its start on."""
        if self._credentials is None:
            raise RuntimeError("only a started cluster made with secure=True has credentials")
        return self._credentials

    def start(self) -> None:
        """Start all, and return when every broker knows every other and a controller.

        The group coordinator comes later: with the first group Kafka creates the offsets topic, and
        answers 15 (COORDINATOR_NOT_AVAILABLE) until that is done. Raises BrokersUnavailable.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End every process at once, without ceremony: the data is not for another time."""
        for process in self._processes():
            process.kill()
        if self._owns_guard:
            self._guard.close()

    def kill(self, number: int) -> None:
        """End one broker with SIGKILL."""
        self._brokers[number].kill()
        self._killed_at[number] = time.monotonic()

    def stop_broker(self, number: int) -> None:
        """End one broker in order: it hands its leaderships to the others first.

        It is killed when that takes longer than 30 s, as it does without enough brokers left.
        """
        self._brokers[number].send(signal.SIGTERM)
        try:
            self._brokers[number].wait(ORDERLY_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill(number)

    def start_broker(self, number: int) -> None:
        """Start an ended broker again, with its data; returns when the cluster has it back.

        With ZooKeeper a killed broker is kept waiting until its earlier registration has expired,
        since it would refuse to start. Raises BrokersUnavailable.
        """
        killed_at = self._killed_at.pop(number, None)
        if killed_at is not None and self._layout.uses_zookeeper:
            expiry_ms = self._layout.broker_session_ms + 2 * ZOOKEEPER_TICK_MS
            time.sleep(max(0.0, killed_at + expiry_ms / 1000 - time.monotonic()))
        self._brokers[number].start()
        self._wait_for([number], f"broker {number} has not come back")

    def pause(self, number: int) -> None:
        """Stop one broker in its tracks (SIGSTOP): connected, and silent."""
        self._brokers[number].send(signal.SIGSTOP)

    def resume(self, number: int) -> None:
        """Let a paused broker go on (SIGCONT)."""
        self._brokers[number].send(signal.SIGCONT)

    def __enter__(self) -> "Cluster":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def _start(self) -> None:
        layout = self._layout
        taken = [port for port in layout.ports["PLAINTEXT"] if not is_free(port)]
        if taken:
            raise BrokersUnavailable(f"Brokers cannot listen on ports in use: {taken}.")
        class_path = jars.runtime(layout.version)
        layout.directory.mkdir(parents=True, exist_ok=True)
        security: Properties = {}
        if self._secure:
            self._credentials = broker_security.issue(layout.directory / "certificates")
            security = broker_security.listener_properties(self._credentials)
        files = [
            self._write(f"broker-{number}", security | layout.broker(number))
            for number in layout.numbers
        ]
        if layout.uses_zookeeper:
            file = self._write("zookeeper", layout.zookeeper())
            self._zookeeper = self._java("zookeeper", class_path, ZOOKEEPER_CLASS, file)
        else:
            users = broker_security.format_options(self._credentials) if self._credentials else []
            kafka_tools.format_storage(class_path, files, users)
        self._brokers = [self._java(file.stem, class_path, "kafka.Kafka", file) for file in files]
        for process in self._processes():
            process.start()
        self._wait_for(layout.numbers, "the brokers have not found each other")
        if self._credentials and layout.uses_zookeeper:
            options = broker_security.config_command_options(self._credentials)
            kafka_tools.change_configs(class_path, self.bootstrap_servers, options)

    def _processes(self) -> list[JavaProcess]:
        return [*([self._zookeeper] if self._zookeeper else []), *self._brokers]

    def _write(self, name: str, properties: Properties) -> Path:
        file = self._layout.directory / f"{name}.properties"
        file.write_text(render(properties))
        return file

    def _java(self, name: str, class_path: str, main_class: str, file: Path) -> JavaProcess:
        command = java_command(class_path, main_class, file)
        return JavaProcess(name, command, self._layout.directory / f"{name}.log", self._guard)

    def _knows_all(self, number: int) -> bool:
        running = {other for other in self._layout.numbers if self._brokers[other].running}
        try:
            view = broker_registration.ask(self._layout.ports["PLAINTEXT"][number])
        except OSError:
            return False
        return view.controller is not None and view.brokers >= running

    def _wait_for(self, starting: Sequence[int], problem: str) -> None:
        deadline = time.monotonic() + self._start_timeout_seconds
        needed = [self._brokers[number] for number in starting]
        if self._zookeeper:
            needed.append(self._zookeeper)
        while not all(self._knows_all(number) for number in starting):
            for process in needed:
                if not process.running:
                    raise self._failure(process, f"{process.name} ended while it was starting")
            if time.monotonic() > deadline:
                waited = f"{problem} within {self._start_timeout_seconds:g} s"
                raise self._failure(needed[0], waited)
            time.sleep(POLL_SECONDS)

    def _failure(self, process: JavaProcess, what: str) -> BrokersUnavailable:
        return BrokersUnavailable(
            f"Kafka {self.version} did not start: {what}. The end of {process.log}:\n"
            f"{process.log_tail()}"
        )


def _up(version: str, ports: Sequence[int] | None) -> None:
    with Guard() as guard:
        directory = Path(tempfile.mkdtemp(prefix="kafka-"))
        guard.remove(directory)
        with Cluster(version, directory=directory, ports=ports, guard=guard) as cluster:
            print(
                f"# Kafka {version}, logs in {directory}; Ctrl-C or SIGTERM ends it and removes all"
            )
            print(f"export KAFKA_BOOTSTRAP_SERVERS={cluster.bootstrap_servers}", flush=True)
            signal.pause()


def _ports(text: str) -> list[int]:
    ports = [int(port) for port in text.split(",") if port.isdecimal()]
    if len(set(ports)) != BROKERS or not all(0 < port < 65_536 for port in ports):
        raise argparse.ArgumentTypeError(
            f"{BROKERS} different ports between 1 and 65535, separated by commas, not {text!r}"
        )
    return ports


def main(arguments: Sequence[str] | None = None) -> int:
    """Keep three brokers up until Ctrl-C; exit status 3 when they cannot be had here."""
    parser = argparse.ArgumentParser(
        prog="python -m deploy.local.brokers", description=main.__doc__
    )
    up = parser.add_subparsers(required=True, metavar="up").add_parser("up", help=main.__doc__)
    up.add_argument("--version", default=os.environ.get("KAFKA_VERSION") or DEFAULT_VERSION)
    up.add_argument("--ports", type=_ports, help="as in 19092,29092,39092; else free ones")
    options = parser.parse_args(arguments)
    # SIGTERM is to end it as Ctrl-C does, from the first moment on.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        _up(options.version, options.ports)
    except BrokersUnavailable as error:
        print(error, file=sys.stderr)
        return EXIT_UNAVAILABLE
    except KeyboardInterrupt:
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
