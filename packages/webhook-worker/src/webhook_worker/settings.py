"""The settings of webhooks, read from the environment: ``WEBHOOK_*``."""

import re
import ssl
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple
from urllib.parse import unquote, urlsplit

from app_worker.conversion import AfterValidator, BeforeValidator, Bounds
from app_worker.delays import DelaySchedule, parse_duration
from app_worker.environment import examine, news, sentence, unknown_variables
from app_worker.errors import EnvironmentProblems
from app_worker.handover.words import handover_topic
from app_worker.settings import KafkaSettings, WorkerSettings, load_settings
from app_worker.variables import Allowed, CommaList, Settings, Unit, setting, variable_of
from webhook_worker.directory.plugged import plugged_names
from webhook_worker.egress import EgressPolicy
from webhook_worker.egress_settings import (
    EgressProxy,
    Networks,
    Ports,
    Schemes,
    at_least_one,
    port_range,
)
from webhook_worker.endpoint_state.judgement import Patience
from webhook_worker.tls import tls_context
from webhook_worker.topics import TopicNames

LONGEST_TOPIC_NAME = 249
REPLAYED_SUFFIX = ".replayed"
STATE_SUFFIX = ".endpoint-state"
ENDPOINTS_TOPIC = "webhook-endpoints"
LARGEST_EVENT_BYTES = 1_000_000
"""What fits, with a key and headers, into a record of Kafka's own default limit (1,048,588)."""

LONGEST_PATIENCE = 366 * 86_400.0
LEAST_FORGOTTEN_SECONDS = 86_400.0

_SOURCE = re.compile("[a-z][a-z0-9+.-]*")
_TOPIC = re.compile(rf"[A-Za-z0-9._-]{{1,{LONGEST_TOPIC_NAME}}}")


@dataclass(frozen=True, slots=True)
class PluggedSource:
    """The endpoints come from what an installed package has named; see directory.plugged."""

    name: str
    location: str = field(repr=False)
    """What follows the name and a colon. It can hold credentials."""

    def __str__(self) -> str:
        return f"{self.name}:******"


@dataclass(frozen=True, slots=True)
class EndpointsTopic:
    """The endpoints are in a compacted topic: ``kafka:`` and its name."""

    name: str

    def __str__(self) -> str:
        return f"kafka:{self.name}"


def _source_of(value: object) -> object:
    """What a text names: a path, be it as a file: URL, or a topic."""
    if not isinstance(value, str):
        return value
    if value.startswith("kafka:"):
        return EndpointsTopic(_topic(value.removeprefix("kafka:") or ENDPOINTS_TOPIC))
    if not value.startswith("file:"):
        return _plugged(value)
    url = urlsplit(value)
    if url.netloc not in ("", "localhost") or not url.path or url.query or url.fragment:
        raise ValueError("a file: URL looks like file:///etc/webhook/endpoints.yaml")
    path = unquote(url.path)
    if "\0" in path:
        raise ValueError("no path can hold a NUL, %00")
    return path


def _plugged(value: str) -> str | PluggedSource:
    name, colon, location = value.partition(":")
    if not colon or not _SOURCE.fullmatch(name):
        return value
    known = plugged_names()
    if name in known:
        return PluggedSource(name, location)
    if location.startswith("//"):
        raise ValueError(f"{name}: is not among {', '.join(('file', 'kafka', *known))}")
    return value


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError) and error.reason:
        return error.reason.lower().replace("_", " ")
    return error.strerror or str(error)


def _topic(name: str) -> str:
    if not _TOPIC.fullmatch(name) or name in (".", ".."):
        raise ValueError
    return name


def _too_long(variable: str, name: str, endings: Iterable[str]) -> Iterable[str]:
    """A sentence if no topic can have this name with an ending that it gets."""
    longest = max(endings, key=len)
    room = LONGEST_TOPIC_NAME - len(longest)
    if len(name) > room:
        yield sentence(
            variable, repr(name), f"at most {room} characters, so that {longest} can follow"
        )


def _durations(delays: tuple[str, ...]) -> tuple[str, ...]:
    for delay in at_least_one(delays):
        parse_duration(delay)
    return delays


TopicName = Annotated[
    str,
    AfterValidator(_topic),
    Allowed(f"a topic's name: 1 to {LONGEST_TOPIC_NAME} of A-Z a-z 0-9 . _ -"),
]
Durations = Annotated[
    CommaList,
    AfterValidator(_durations),
    Allowed("durations such as 5s, 30m, 2h or 1d, separated by commas"),
]


class WebhookSettings(Settings):
    """What is sent, where to, how often and how patiently: ``WEBHOOK_*``."""

    env_prefix: ClassVar[str] = "WEBHOOK_"

    topic: TopicName = setting("webhook", description="Where the events are.")
    endpoints: Annotated[
        Path | EndpointsTopic | PluggedSource | None,
        BeforeValidator(_source_of),
        Allowed("a path, a file: URL, kafka:<topic> or <name>:<location> of an installed source"),
    ] = setting(
        None,
        description="The file of endpoints, YAML or JSON, which is read again by itself when it "
        "changes; or a compacted topic of them, `kafka:` for `kafka:webhook-endpoints`. "
        "Required by `run`.",
    )
    attempt_timeout_seconds: Annotated[float, Unit("seconds"), Bounds(gt=0, le=3600)] = setting(
        15.0,
        description="The most that one attempt may take, from resolving the name to the end of "
        "the answer; shorter than `WORKER_HANDLER_TIMEOUT_SECONDS`.",
    )
    endpoint_concurrency: Annotated[int, Unit("attempts"), Bounds(ge=0, le=100_000)] = setting(
        0,
        description="The most attempts at one time at one endpoint, in one process; its own "
        "`limits.concurrency` may be lower. 0 for as many as `WORKER_MAX_IN_FLIGHT`.",
    )
    retry_schedule: Durations = setting(
        ("5s", "5m", "30m", "2h", "5h", "10h", "14h", "20h", "24h"),
        description="How long to wait after each failed attempt; after one more, the delivery "
        "is a dead letter. Each has a topic, `<WEBHOOK_TOPIC>.retry.<delay>`.",
    )
    dead_letter_topic: TopicName = setting(
        "webhook.dead-letter", description="Where deliveries and records go that are given up."
    )
    failing_after_seconds: Annotated[float, Unit("seconds"), Bounds(gt=0, le=LONGEST_PATIENCE)] = (
        setting(
            3600.0,
            description="An endpoint of which nothing but failures are seen for so long is "
            "failing, which is announced.",
        )
    )
    disable_after_seconds: Annotated[float, Unit("seconds"), Bounds(ge=0, le=LONGEST_PATIENCE)] = (
        setting(
            432_000.0,
            description="And for so long, it is disabled until an operator enables it; 0 for "
            "never. Longer than `WEBHOOK_FAILING_AFTER_SECONDS`.",
        )
    )
    operational_events_topic: TopicName | None = setting(
        None,
        description="Where it is announced that an endpoint was disabled, is failing or has "
        "recovered, and that a delivery was given up. These are events: it may be `WEBHOOK_TOPIC`. "
        "Unset, they are only logged.",
    )
    attempt_log_topic: TopicName | None = setting(
        None, description="Where a line for each attempt is written; unset, nowhere."
    )
    ordered_topic: TopicName | None = setting(
        None,
        description="Where the deliveries of endpoints with `ordered` go, to be made one after "
        "the other for each key. Unset, `ordered` does nothing, and costs nothing.",
    )
    unknown_customer: Literal["drop", "dead-letter"] = setting(
        "drop",
        description="What becomes of an event whose customer has no endpoint at all; "
        "either way it is counted.",
    )
    tls_cafile: Path | None = setting(
        None,
        description="Certificate authorities, in PEM, to trust besides those of the system.",
    )
    egress_ports: Ports = setting(
        ("80", "443", "1024-65535"), description="The ports that may be sent to."
    )
    schemes: Schemes = setting(("https", "http"), description="The schemes that may be sent to.")
    egress_allow: Networks = setting(
        (),
        description="Networks that may be sent to although they are private, loopback, "
        "link-local or otherwise not for the public.",
    )
    egress_proxy: EgressProxy = setting(
        None,
        description="The HTTP proxy that every attempt goes through, by CONNECT. It then resolves "
        "the endpoints' names and judges their addresses; its own may be private.",
    )
    max_event_bytes: Annotated[int, Unit("bytes"), Bounds(ge=1, le=LARGEST_EVENT_BYTES)] = setting(
        LARGEST_EVENT_BYTES,
        description="A record with a larger value is a dead letter, `too_large`.",
    )

    @property
    def schedule(self) -> DelaySchedule:
        """The delays and their topics."""
        return DelaySchedule(topic=self.topic, delays=self.retry_schedule)

    @property
    def topic_names(self) -> TopicNames:
        """The topics beside the source and its delays."""
        source = self.endpoints
        return TopicNames(
            dead_letters=self.dead_letter_topic,
            replayed=f"{self.dead_letter_topic}{REPLAYED_SUFFIX}",
            endpoint_state=f"{self.topic}{STATE_SUFFIX}",
            endpoints=source.name if isinstance(source, EndpointsTopic) else None,
            operational_events=self.operational_events_topic,
            attempt_log=self.attempt_log_topic,
            ordered=self.ordered_topic,
        )

    @property
    def patience(self) -> Patience:
        """How long an endpoint may fail.

        Twice the longest delay without a failure ends a row of them, so that the attempts of one
        delivery are one row; and twice the time until it is failing, so that it comes to that.
        """
        schedule = self.schedule
        longest = max(schedule.seconds(delay) for delay in schedule.delays)
        disable_after = self.disable_after_seconds
        return Patience(
            failing_after_ms=round(self.failing_after_seconds * 1000),
            disable_after_ms=round(disable_after * 1000) if disable_after else None,
            forget_after_ms=round(
                max(LEAST_FORGOTTEN_SECONDS, 2 * longest, 2 * self.failing_after_seconds) * 1000
            ),
        )

    @property
    def egress_policy(self) -> EgressPolicy:
        """Where may be sent to."""
        return EgressPolicy(
            allow=tuple(ip_network(text) for text in self.egress_allow),
            ports=tuple(port_range(text) for text in self.egress_ports),
            schemes=frozenset(self.schemes),
        )

    def mistakes(self) -> Iterable[str]:
        """A file without certificates, and names of topics that do not fit together."""
        if self.tls_cafile is not None:
            try:
                tls_context(self.tls_cafile)
            except OSError as error:
                yield sentence(
                    "WEBHOOK_TLS_CAFILE",
                    repr(str(self.tls_cafile)),
                    f"a file of PEM certificates ({_reason(error)})",
                )
        if self.egress_proxy is not None and self.egress_proxy.address is not None:
            blocked = self.egress_policy.for_proxy().check_address(self.egress_proxy.address)
            if blocked is not None:
                shown = str(self.egress_proxy)
                yield sentence("WEBHOOK_EGRESS_PROXY", shown, "elsewhere", str(blocked))
        if 0 < self.disable_after_seconds <= self.failing_after_seconds:
            yield sentence(
                "WEBHOOK_DISABLE_AFTER_SECONDS",
                f"{self.disable_after_seconds:g}",
                f"0, or longer than WEBHOOK_FAILING_AFTER_SECONDS ({self.failing_after_seconds:g})",
            )
        yield from self._mistakes_of_topics()

    def _mistakes_of_topics(self) -> Iterable[str]:
        endings = [topic.removeprefix(self.topic) for topic in self.schedule.topics()]
        yield from _too_long("WEBHOOK_TOPIC", self.topic, [*endings, STATE_SUFFIX])
        yield from _too_long("WEBHOOK_DEAD_LETTER_TOPIC", self.dead_letter_topic, [REPLAYED_SUFFIX])
        names = self.topic_names
        told = handover_topic(self.topic)
        ours = (self.topic, *self.schedule.topics(), names.endpoint_state, told)
        taken = dict.fromkeys(ours, "WEBHOOK_TOPIC")
        events = None if names.operational_events == self.topic else names.operational_events
        for variable, shown, name in (
            ("WEBHOOK_DEAD_LETTER_TOPIC", names.dead_letters, names.dead_letters),
            ("WEBHOOK_DEAD_LETTER_TOPIC", names.dead_letters, names.replayed),
            ("WEBHOOK_ENDPOINTS", self.endpoints, names.endpoints),
            ("WEBHOOK_OPERATIONAL_EVENTS_TOPIC", events, events),
            ("WEBHOOK_ATTEMPT_LOG_TOPIC", names.attempt_log, names.attempt_log),
            ("WEBHOOK_ORDERED_TOPIC", names.ordered, names.ordered),
        ):
            if name is None:
                continue
            other = "WEBHOOK_TOPIC" if self.schedule.among([name]) else taken.get(name)
            if other is not None:
                yield sentence(variable, repr(str(shown)), f"another topic than those of {other}")
            taken[name] = variable


class AllSettings(NamedTuple):
    """Everything that the environment says, checked by itself and together."""

    kafka: KafkaSettings
    worker: WorkerSettings
    webhook: WebhookSettings


SETTINGS: tuple[type[Settings], ...] = (KafkaSettings, WorkerSettings, WebhookSettings)


def load_all(environ: Mapping[str, str], *, need_endpoints: bool) -> AllSettings:
    """Read all settings. Raises EnvironmentProblems with every mistake in them."""
    problems: list[str] = []
    kafka = worker = None
    try:
        kafka, worker = load_settings(environ)
    except EnvironmentProblems as error:
        problems += error.problems
    webhook, more = examine(WebhookSettings, environ)
    problems += more
    if webhook is not None:
        probable, _ = examine(WorkerSettings, environ)
        problems += news(problems, _mistakes_together(webhook, probable, need_endpoints))
    if kafka is None or worker is None or webhook is None or problems:
        raise EnvironmentProblems(tuple(problems))
    return AllSettings(kafka, worker, webhook)


def endpoints_source(
    environ: Mapping[str, str],
) -> Path | EndpointsTopic | PluggedSource | None:
    """Where the endpoints are, also if other variables are wrong; None if that is not known."""
    webhook, _ = examine(WebhookSettings, environ)
    return None if webhook is None else webhook.endpoints


def strangers(environ: Mapping[str, str]) -> tuple[str, ...]:
    """A warning for each variable that looks like ours and is not."""
    return unknown_variables(SETTINGS, environ)


def _mistakes_together(
    webhook: WebhookSettings, worker: WorkerSettings | None, need_endpoints: bool
) -> Iterable[str]:
    if need_endpoints and webhook.endpoints is None:
        variable = variable_of(WebhookSettings, "endpoints")
        yield sentence(variable.name, "not set", variable.allowed)
    if worker and webhook.attempt_timeout_seconds >= worker.handler_timeout_seconds:
        yield sentence(
            "WEBHOOK_ATTEMPT_TIMEOUT_SECONDS",
            f"{webhook.attempt_timeout_seconds:g}",
            f"shorter than WORKER_HANDLER_TIMEOUT_SECONDS ({worker.handler_timeout_seconds:g})",
        )
