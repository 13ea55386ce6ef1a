"""What consumers and producers are made from: frozen values that check themselves."""

from dataclasses import dataclass, field
from os import PathLike

from kafka_utils.assignors import registry
from kafka_utils.certificates import client_context
from kafka_utils.errors import ConfigurationError, UnknownAssignorError
from kafka_utils.rules import HIDDEN, Inspection

PROTOCOLS = ("PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL")
SASL_MECHANISMS = ("PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512")
ISOLATION_LEVELS = ("read_committed", "read_uncommitted")
COMPRESSIONS = ("gzip", "snappy", "lz4", "zstd")


@dataclass(frozen=True, slots=True, kw_only=True)
class Security:
    """How brokers are talked to: in the clear or by TLS, as anybody or as somebody.

    Raises ConfigurationError, with every problem in it, when it is constructed. The certificate
    files are read then too, so that a wrong one is known before any connection.
    """

    protocol: str = "PLAINTEXT"
    """PLAINTEXT, SSL, SASL_PLAINTEXT or SASL_SSL, as the brokers' listener has it."""
    ca_file: PathLike[str] | None = None
    """PEM certificates of the authorities to trust; without it, the system's."""
    cert_file: PathLike[str] | None = None
    """Our own PEM certificate with its chain, for brokers that want one; needs ``key_file``."""
    key_file: PathLike[str] | None = None
    """The PEM key of ``cert_file``, without a passphrase."""
    sasl_mechanism: str | None = None
    """PLAIN, SCRAM-SHA-256 or SCRAM-SHA-512; for the two SASL protocols only."""
    sasl_username: str | None = None
    sasl_password: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        check = Inspection(self)
        check.one_of("protocol", PROTOCOLS)
        if check.sound("protocol"):
            self._check_files(check)
            self._check_sasl(check)
        check.conclude()

    @property
    def uses_tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.protocol in ("SSL", "SASL_SSL")

    @property
    def uses_sasl(self) -> bool:
        """Whether a user name and a password are sent."""
        return self.protocol in ("SASL_PLAINTEXT", "SASL_SSL")

    def _check_files(self, check: Inspection) -> None:
        files = {"ca_file": self.ca_file, "cert_file": self.cert_file, "key_file": self.key_file}
        given = [name for name, path in files.items() if path is not None]
        if not self.uses_tls:
            for name in given:
                check.report(
                    name, f"left out, because protocol {self.protocol} uses no certificates"
                )
            return
        for name in given:
            check.readable_file(name)
        if self.key_file is None and self.cert_file is not None:
            check.report("key_file", "the key of the certificate in cert_file")
        if self.cert_file is None and self.key_file is not None:
            check.report("cert_file", "the certificate of the key in key_file")
        if given and check.sound(*files):
            try:
                client_context(self.ca_file, self.cert_file, self.key_file)
            except ConfigurationError as error:
                check.problems.extend(error.problems)

    def _check_sasl(self, check: Inspection) -> None:
        if not self.uses_sasl:
            reason = f"left out, because protocol {self.protocol} does not authenticate by SASL"
            if self.sasl_mechanism is not None:
                check.report("sasl_mechanism", reason)
            if self.sasl_username is not None:
                check.report("sasl_username", reason)
            if self.sasl_password is not None:
                check.report("sasl_password", reason, HIDDEN)
            return
        check.one_of("sasl_mechanism", SASL_MECHANISMS)
        check.printable("sasl_username")
        check.printable("sasl_password", secret=True)


def check_client(check: Inspection) -> None:
    """Check the fields that everything which talks to brokers has in common."""
    check.servers("bootstrap_servers")
    check.legal_name("client_id")
    check.whole_number("request_timeout_ms", "milliseconds")
    check.instance("security", Security)


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsumerConfig:
    """What a member of a consumer group is made from.

    Raises ConfigurationError, with every problem in it, when it is constructed
    (UnknownAssignorError if unknown assignors are all that is wrong). Bounds that only the brokers
    know, such as those of their ``group.min.session.timeout.ms``, are left to the brokers.
    """

    bootstrap_servers: tuple[str, ...]
    """Each ``host:port``; one that answers is enough to find the others."""
    group_id: str
    assignors: tuple[str, ...] = ("cooperative-sticky",)
    """Names of assignors in order of preference; see ``assignors.registry.names()``.

    The member is cooperative (KIP-429) if all of them are.
    """
    group_instance_id: str | None = None
    """Makes this a static member (KIP-345), unique in its group; None is a dynamic member."""
    client_id: str = "kafka-utils"
    client_rack: str | None = None
    """Where this process runs, as ``broker.rack`` spells it, to fetch from nearby (KIP-392)."""
    session_timeout_ms: int = 60_000
    """The brokers give a member up that has not sent a heartbeat for so long."""
    heartbeat_interval_ms: int = 3_000
    """How often a heartbeat is sent; its answer is how a member learns of a rebalance."""
    rebalance_timeout_ms: int = 60_000
    """How long the brokers wait in a rebalance for every member to join again."""
    request_timeout_ms: int = 30_000
    """How long a request to a broker may take. Joins have a connection of their own, and take up
    to the rebalance timeout and 5 s more if that is longer."""
    max_poll_interval_ms: int = 600_000
    """A member that has not asked for records for so long leaves its group."""
    revoke_timeout_ms: int = 30_000
    """The most that a revoke callback (the drain of what is in flight) may take."""
    isolation_level: str = "read_committed"
    """read_committed leaves out open and aborted transactions; read_uncommitted does not."""
    fetch_max_wait_ms: int = 500
    """How long a broker may hold back the answer to a fetch while there are no records; 10 s where
    nothing has happened for a second."""
    max_partition_fetch_bytes: int = 1_048_576
    """The most that one fetch brings of one partition; a single larger record still comes."""
    metadata_max_age_ms: int = 300_000
    """How often the brokers are asked for new topics and partitions, if nothing else is amiss."""
    security: Security = Security()

    def __post_init__(self) -> None:
        check = Inspection(self)
        check_client(check)
        check.printable("group_id")
        if self.group_instance_id is not None:
            check.legal_name("group_instance_id")
        if self.client_rack is not None:
            check.printable("client_rack")
        for name in (
            "session_timeout_ms",
            "heartbeat_interval_ms",
            "rebalance_timeout_ms",
            "max_poll_interval_ms",
            "revoke_timeout_ms",
            "fetch_max_wait_ms",
            "metadata_max_age_ms",
        ):
            check.whole_number(name, "milliseconds")
        check.whole_number("max_partition_fetch_bytes", "bytes")
        check.one_of("isolation_level", ISOLATION_LEVELS)
        self._check_times_together(check)
        self._check_assignors(check)
        check.conclude()

    def _check_times_together(self, check: Inspection) -> None:
        if check.sound("session_timeout_ms", "heartbeat_interval_ms") and (
            self.heartbeat_interval_ms * 3 > self.session_timeout_ms
        ):
            check.report(
                "heartbeat_interval_ms",
                f"at most a third of session_timeout_ms ({self.session_timeout_ms}), "
                "so that one lost heartbeat does not end the session",
            )
        check.longer_than(
            "rebalance_timeout_ms",
            "revoke_timeout_ms",
            "or the brokers give up a member that still drains",
            # A member begins to drain when it learns of the rebalance, by its next heartbeat.
            plus="heartbeat_interval_ms",
        )
        check.longer_than(
            "max_poll_interval_ms",
            "revoke_timeout_ms",
            "or a member leaves its group because it drains",
        )
        check.longer_than(
            "request_timeout_ms",
            "fetch_max_wait_ms",
            "or every fetch fails that finds no records",
        )

    def _check_assignors(self, check: Inspection) -> None:
        check.distinct("assignors")
        if not check.sound("assignors"):
            return
        unknown = registry.unknown(self.assignors)
        if unknown and not check.problems:
            raise UnknownAssignorError(unknown)
        check.problems.extend(unknown)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProducerConfig:
    """What an idempotent producer is made from.

    Raises ConfigurationError, with every problem in it, when it is constructed.
    """

    bootstrap_servers: tuple[str, ...]
    """Each ``host:port``; one that answers is enough to find the others."""
    client_id: str = "kafka-utils"
    request_timeout_ms: int = 30_000
    """How long a request may take, and how long records wait for a partition that has no leader."""
    max_request_bytes: int = 1_048_576
    """The most that one request carries, so the largest record; topics have their own limits."""
    compression: str | None = None
    """gzip, snappy, lz4, zstd, or None."""
    linger_ms: int = 0
    """How long records wait for others that could travel in the same request."""
    transactional_id: str | None = None
    """Whose transactions these are (KIP-98). To start a second producer with it ends the first."""
    security: Security = Security()

    def __post_init__(self) -> None:
        check = Inspection(self)
        check_client(check)
        check.whole_number("max_request_bytes", "bytes")
        check.whole_number("linger_ms", "milliseconds", least=0)
        if self.compression is not None:
            check.one_of("compression", COMPRESSIONS)
        if self.transactional_id is not None:
            check.printable("transactional_id")
        check.longer_than(
            "request_timeout_ms", "linger_ms", "or records give up while they wait for others"
        )
        check.conclude()
