"""The settings of a worker process, read from the environment, and what Kafka is told of them."""

import os
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from app_worker.budget import drain_margin
from app_worker.conversion import BeforeValidator, Bounds, SecretStr
from app_worker.environment import examine, news, sentence
from app_worker.errors import EnvironmentProblems
from app_worker.variables import Allowed, CommaList, Settings, Unit, setting, variable_of
from kafka_utils import Admin, ConfigurationError, ConsumerConfig, Problem, ProducerConfig, Security

RETRY_GROUP_SUFFIX = ".retry"
ORDERED_GROUP_SUFFIX = ".ordered"
"""Added to the group's id for the group that reads the delay topics."""

MAX_PORT = 65_535

LARGEST_REQUEST_BYTES = 8 * 1024 * 1024
"""What is parked is larger than its record was, by its headers: the brokers decide, not we."""

Milliseconds = Annotated[int, Unit("milliseconds")]
Seconds = Annotated[float, Unit("seconds"), Bounds(gt=0, le=3600)]
LogLevel = Annotated[Literal["debug", "info", "warning", "error"], BeforeValidator(str.lower)]

_NO_SECURITY = {
    "security_protocol": "PLAINTEXT",
    "ssl_cafile": None,
    "ssl_certfile": None,
    "ssl_keyfile": None,
    "sasl_mechanism": None,
    "sasl_username": None,
    "sasl_password": None,
}


class KafkaSettings(Settings):
    """How to reach Kafka and take part in a consumer group: ``KAFKA_*``.

    Numbers and combinations are checked by kafka_utils, as a part of the validation here.
    """

    env_prefix: ClassVar[str] = "KAFKA_"

    bootstrap_servers: Annotated[CommaList, Allowed("host:port, several separated by commas")] = (
        setting(description="Brokers to ask first; they name the others.")
    )
    group_id: str = setting(
        default="app-worker-webhook",
        description="The consumer group; the delay topics are read in `<group>.retry`, by a new "
        "group from their beginning.",
    )
    assignor: Annotated[
        CommaList, Allowed("names of known assignors, separated by commas, the preferred one first")
    ] = setting(
        default=("cooperative-sticky",),
        description="Who distributes the partitions. With `cooperative-sticky` alone, those that "
        "stay never stop in a rebalance; `range`, `roundrobin` and `sticky` are eager.",
    )
    group_instance_id: str | None = setting(
        default=None,
        description="Makes this a static member, as `<this>-<WORKER_PROCESS_INDEX>`; unset, it is "
        "a dynamic one. It must differ in every pod (its name, say): of two members with one "
        "id, the first ends with an error.",
    )
    client_id: str | None = setting(
        default=None,
        description="Our name in the brokers' logs and quotas; "
        "unset, it is `app-worker-<WORKER_PROCESS_INDEX>`.",
    )
    client_rack: str | None = setting(
        default=None,
        description="Our zone, as the brokers call it in `broker.rack`: read from the near one.",
    )
    session_timeout_ms: Milliseconds = setting(
        default=60_000, description="Without a heartbeat for so long, a member is out of the group."
    )
    heartbeat_interval_ms: Milliseconds = setting(
        default=3_000, description="Between two heartbeats; at most a third of the session timeout."
    )
    rebalance_timeout_ms: Milliseconds = setting(
        default=60_000, description="How long a rebalance waits for a member; longer than a drain."
    )
    request_timeout_ms: Annotated[Milliseconds, Bounds(ge=1_000)] = setting(
        default=30_000, description="How long any other request waits for its answer."
    )
    max_poll_interval_ms: Milliseconds = setting(
        default=600_000, description="Without a fetch for so long, a member leaves the group."
    )
    max_poll_records: Annotated[int, Unit("records"), Bounds(ge=1, le=100_000)] = setting(
        default=500, description="The most that one fetch hands on at a time."
    )
    auto_offset_reset: Literal["earliest", "latest"] = setting(
        default="earliest", description="Where to begin where the group has no offset yet."
    )
    isolation_level: Literal["read_committed", "read_uncommitted"] = setting(
        default="read_committed",
        description="Whether records of unfinished transactions are kept back.",
    )
    security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = setting(
        default="PLAINTEXT", description="How the brokers are talked to."
    )
    ssl_cafile: Path | None = setting(
        default=None, description="Certificate authorities to trust; unset, those of the system."
    )
    ssl_certfile: Path | None = setting(default=None, description="Our client certificate.")
    ssl_keyfile: Path | None = setting(
        default=None, description="The private key of our certificate."
    )
    sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] | None = setting(
        default=None, description="How we prove who we are; required by the two SASL protocols."
    )
    sasl_username: str | None = setting(default=None, description="Our name for SASL.")
    sasl_password: SecretStr | None = setting(default=None, description="Our password for SASL.")

    def consumer_config(
        self, group_suffix: str = "", *, process_index: int = 0, revoke_timeout_ms: int
    ) -> ConsumerConfig:
        """How to consume in the group ``<group_id><group_suffix>``.

        ``revoke_timeout_ms`` is the most that giving up partitions, a drain included, may take.
        Raises ConfigurationError in kafka_utils' words; ``refusals`` turns them into ours.
        """
        instance = self.group_instance_id
        return ConsumerConfig(
            bootstrap_servers=self.bootstrap_servers,
            group_id=self.group_id + group_suffix,
            assignors=self.assignor,
            group_instance_id=None if instance is None else f"{instance}-{process_index}",
            client_id=self.client_name(process_index),
            client_rack=self.client_rack,
            session_timeout_ms=self.session_timeout_ms,
            heartbeat_interval_ms=self.heartbeat_interval_ms,
            rebalance_timeout_ms=self.rebalance_timeout_ms,
            request_timeout_ms=self.request_timeout_ms,
            max_poll_interval_ms=self.max_poll_interval_ms,
            revoke_timeout_ms=revoke_timeout_ms,
            isolation_level=self.isolation_level,
            security=self.security(),
        )

    def producer_config(self, process_index: int = 0) -> ProducerConfig:
        """How to write to delay and dead-letter topics."""
        return ProducerConfig(
            bootstrap_servers=self.bootstrap_servers,
            client_id=self.client_name(process_index),
            request_timeout_ms=self.request_timeout_ms,
            max_request_bytes=LARGEST_REQUEST_BYTES,
            security=self.security(),
        )

    def admin(self, process_index: int = 0) -> Admin:
        """A client for questions about topics, not yet connected."""
        return Admin(
            bootstrap_servers=self.bootstrap_servers,
            client_id=self.client_name(process_index),
            request_timeout_ms=self.request_timeout_ms,
            security=self.security(),
        )

    def security(self) -> Security:
        """How connections are protected, and who we are."""
        password = self.sasl_password
        return Security(
            protocol=self.security_protocol,
            ca_file=self.ssl_cafile,
            cert_file=self.ssl_certfile,
            key_file=self.ssl_keyfile,
            sasl_mechanism=self.sasl_mechanism,
            sasl_username=self.sasl_username,
            sasl_password=None if password is None else password.get_secret_value(),
        )

    def client_name(self, process_index: int) -> str:
        """The client id that the brokers see."""
        return self.client_id or f"app-worker-{process_index}"

    def without_security(self) -> Self:
        """The same in the clear and as anybody, to check the rest by itself."""
        return self.with_values(_NO_SECURITY)

    def mistakes(self) -> Iterable[str]:
        """What kafka_utils refuses."""
        plain = self.without_security()
        found = refusals(
            self.security,
            lambda: plain.consumer_config(revoke_timeout_ms=1),
            plain.producer_config,
        )
        # What the drain demands is said when it is known, in ``mistakes_together``.
        yield from (text for text in found if _name_of("revoke_timeout_ms") not in text)


class WorkerSettings(Settings):
    """What one worker process allows itself: ``WORKER_*``."""

    env_prefix: ClassVar[str] = "WORKER_"

    max_in_flight: Annotated[int, Unit("records"), Bounds(ge=1, le=100_000)] = setting(
        default=100,
        description="Records in work at a time; one of several partitions gets half of it at most. "
        "As many again may be waiting to be parked.",
    )
    max_in_flight_bytes: Annotated[int, Unit("bytes"), Bounds(ge=1)] = setting(
        default=32 * 1024 * 1024, description="Bytes of key, value and headers in work at a time."
    )
    handler_timeout_seconds: Seconds = setting(
        default=20.0, description="The most that a handler may work on one record."
    )
    drain_timeout_seconds: Seconds = setting(
        default=25.0,
        description="The most that finishing what is in work may take, on a revoke and at the end; "
        "longer than the handler's time, shorter than `KAFKA_REBALANCE_TIMEOUT_MS`.",
    )
    handover: Annotated[Literal["on", "off"], BeforeValidator(str.lower)] = setting(
        default="on",
        description="Whether a partition that goes to another member goes at once, with what is in "
        "work finished here (`on`, where there is the topic `<topic>.handover`), or after that.",
    )
    watchdog_seconds: Annotated[float, Unit("seconds"), Bounds(ge=5, le=3600)] = setting(
        default=30.0,
        description="A process whose event loop stands still for so long is ended, after it has "
        "shown where.",
    )
    metrics_port: Annotated[int, Bounds(ge=0, le=MAX_PORT)] = setting(
        default=9100,
        description="Port of `/metrics`, `/livez`, `/readyz` and `/debug/state`, on all "
        "interfaces; `WORKER_PROCESS_INDEX` is added to it. 0 takes any free one.",
    )
    process_index: Annotated[int, Bounds(ge=0, le=9_999)] = setting(
        default=0, description="Which of the processes of one pod this is."
    )
    ready_dir: Annotated[Path | None, Allowed("a directory that can be written")] = setting(
        default=None,
        description="Where `ready.<WORKER_PROCESS_INDEX>` is touched every 5 s while ready.",
    )
    log_level: LogLevel = setting(
        default="info", description="The least that is logged; of libraries never less than `info`."
    )

    @property
    def port(self) -> int:
        """The port of this process; 0 for any free one."""
        return self.metrics_port and self.metrics_port + self.process_index

    @property
    def drain_timeout_ms(self) -> int:
        """The same in the unit that Kafka's times have."""
        return round(self.drain_timeout_seconds * 1000)

    def mistakes(self) -> Iterable[str]:
        """Times, ports and directories that do not fit."""
        margin = drain_margin(self.drain_timeout_seconds)
        if self.handler_timeout_seconds >= self.drain_timeout_seconds - margin:
            yield sentence(
                "WORKER_DRAIN_TIMEOUT_SECONDS",
                f"{self.drain_timeout_seconds:g}",
                f"longer than WORKER_HANDLER_TIMEOUT_SECONDS ({self.handler_timeout_seconds:g}) "
                f"by more than {margin:g} s, which the last commit may take",
            )
        if self.port > MAX_PORT:
            yield sentence(
                "WORKER_METRICS_PORT",
                str(self.metrics_port),
                f"at most {MAX_PORT} with WORKER_PROCESS_INDEX ({self.process_index}) added",
            )
        if self.ready_dir and not (self.ready_dir.is_dir() and os.access(self.ready_dir, os.W_OK)):
            allowed = variable_of(WorkerSettings, "ready_dir").allowed
            yield sentence("WORKER_READY_DIR", repr(str(self.ready_dir)), allowed)


def load_settings(environ: Mapping[str, str]) -> tuple[KafkaSettings, WorkerSettings]:
    """Read both and check that they fit together. Raises EnvironmentProblems with all mistakes."""
    kafka, problems = examine(KafkaSettings, environ)
    worker, more = examine(WorkerSettings, environ)
    problems += more
    if kafka is not None and worker is not None:
        problems += tuple(news(problems, mistakes_together(kafka, worker)))
        if not problems:
            return kafka, worker
    raise EnvironmentProblems(problems)


def mistakes_together(kafka: KafkaSettings, worker: WorkerSettings) -> Iterable[str]:
    """Where the worker's times and names do not fit Kafka's, in sentences."""
    plain = kafka.without_security()
    return refusals(
        *(
            lambda suffix=suffix: plain.consumer_config(
                suffix,
                process_index=worker.process_index,
                revoke_timeout_ms=worker.drain_timeout_ms,
            )
            for suffix in ("", RETRY_GROUP_SUFFIX, ORDERED_GROUP_SUFFIX)
        )
    )


def refusals(*builders: Callable[[], object]) -> list[str]:
    """What kafka_utils refuses when each is built, in the words of our variables."""
    found: dict[str, None] = {}
    for build in builders:
        try:
            build()
        except ConfigurationError as error:
            found.update(dict.fromkeys(_in_variables(error.problems)))
    return list(found)


def _in_variables(problems: Iterable[Problem]) -> Iterable[str]:
    for problem in problems:
        yield sentence(_name_of(problem.field), problem.value, _with_names(problem.allowed))


_OTHER_NAMES = {
    "assignors": "KAFKA_ASSIGNOR",
    "protocol": "KAFKA_SECURITY_PROTOCOL",
    "ca_file": "KAFKA_SSL_CAFILE",
    "cert_file": "KAFKA_SSL_CERTFILE",
    "key_file": "KAFKA_SSL_KEYFILE",
    "revoke_timeout_ms": "WORKER_DRAIN_TIMEOUT_SECONDS",
}
"""The fields of kafka_utils whose variable is not simply KAFKA_ and the field's name."""


def _name_of(field: str) -> str:
    return _OTHER_NAMES.get(field) or variable_of(KafkaSettings, field).name


def _with_names(text: str) -> str:
    """The text with each field of kafka_utils in it replaced by our variable."""
    text = re.sub(r"revoke_timeout_ms \((\d+)\)", r"revoke_timeout_ms (in ms: \1)", text)
    fields = [*_OTHER_NAMES, *KafkaSettings.fields]
    return re.sub(rf"\b({'|'.join(fields)})\b", lambda found: _name_of(found[0]), text)
