"""What is written about topics and rights, and that these rights are all that is needed."""

import base64
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)
from prometheus_client import CollectorRegistry

from app_worker import KafkaSettings, WorkerSettings
from app_worker.environment import load
from app_worker.handover.needs import WhyNot
from app_worker.handover.words import handover_topic
from app_worker.handover_topic.kept import Asked, kept_words
from app_worker.observability.metrics import WorkerMetrics
from deploy.demo.pods import free_port_ranges
from deploy.image.not_ready import reason_of
from deploy.kubernetes.kafka_needs import (
    OPERATOR,
    WORKER,
    Grant,
    grants,
    grants_table,
    topics_table,
)
from deploy.local.broker_security import USERNAME
from deploy.local.brokers import Cluster
from kafka_utils import Admin, TopicSpec
from tests.conftest import VERSION
from tests.harness.command_line import printed
from tests.harness.container import container, pod_directory
from tests.harness.environment import COMMAND, without_settings
from tests.harness.manifests import KUBERNETES
from webhook_worker.settings import WebhookSettings

GROUP = KafkaSettings.fields["group_id"].default
AUTHORIZER = (
    "kafka.security.authorizer.AclAuthorizer"
    if VERSION.startswith("2.")
    else "org.apache.kafka.metadata.authorizer.StandardAuthorizer"
)
PATIENCE_SECONDS = 60
EVERYTHING = {
    "WEBHOOK_ENDPOINTS": "kafka:",
    "WEBHOOK_OPERATIONAL_EVENTS_TOPIC": "webhook.operational-events",
    "WEBHOOK_ATTEMPT_LOG_TOPIC": "webhook.attempt-log",
}
"""So that every topic is there."""
PRINCIPALS = {WORKER: USERNAME, OPERATOR: OPERATOR}
"""Who comes by a password, and who by a certificate."""


@pytest.mark.parametrize(
    ("name", "table"),
    [
        ("topics", topics_table(load(WebhookSettings, EVERYTHING))),
        ("grants", grants_table(load(WebhookSettings, EVERYTHING), GROUP)),
    ],
)
def test_the_readme_has_what_the_code_says(name: str, table: str) -> None:
    readme = (KUBERNETES / "README.md").read_text()
    [written] = re.findall(rf"<!-- {name} -->\n(.*?)<!-- /{name} -->", readme, re.DOTALL)
    assert written == table


def test_rights_follow_the_names_that_are_set() -> None:
    webhook = load(
        WebhookSettings, {"WEBHOOK_TOPIC": "events", "WEBHOOK_ENDPOINTS": "kafka:customers"}
    )
    named = {grant.name for grant in grants(webhook, "fleet") if grant.principal == WORKER}
    assert named == {
        "events",
        "events.retry.",
        "events.handover",
        "webhook.dead-letter",
        "events.endpoint-state",
        "customers",
        "fleet",
        "fleet.retry",
    }


def test_order_needs_rights_to_its_topic_and_its_group() -> None:
    with_order = load(WebhookSettings, {"WEBHOOK_ORDERED_TOPIC": "lines"})
    more = {*grants(with_order, "fleet")} - {*grants(load(WebhookSettings, {}), "fleet")}
    named = {(grant.principal, grant.resource, grant.name, grant.operations) for grant in more}
    assert named == {
        (WORKER, "topic", "lines", ("Read", "Write")),
        (WORKER, "group", "fleet.ordered", ("Read",)),
        (OPERATOR, "group", "fleet.ordered", ("Read",)),
    }


def test_a_right_is_written_as_kafkas_own_command_wants_it() -> None:
    [delays] = [
        grant
        for grant in grants(load(WebhookSettings, {}), GROUP)
        if grant.prefixed and grant.principal == WORKER
    ]
    assert " ".join(delays.options) == (
        "--allow-principal User:webhook-worker --operation Read --operation Write "
        "--topic webhook.retry. --resource-pattern-type prefixed"
    )


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """A broker that allows nobody anything, but who comes from inside."""
    extra = {
        "authorizer.class.name": AUTHORIZER,
        "super.users": "User:ANONYMOUS",
        "ssl.principal.mapping.rules": f"RULE:^.*$/{OPERATOR}/",
    }
    with Cluster(
        VERSION,
        directory=tmp_path_factory.mktemp("kafka"),
        brokers=1,
        secure=True,
        extra=extra,
    ) as cluster:
        yield cluster


def bindings(grant: Grant) -> Iterator[AclBinding]:
    for operation in grant.operations:
        yield AclBinding(
            {
                "topic": ResourceType.TOPIC,
                "group": ResourceType.GROUP,
                "transactional-id": ResourceType.TRANSACTIONAL_ID,
                "cluster": ResourceType.BROKER,
            }[grant.resource],
            grant.name or "kafka-cluster",
            ResourcePatternType.PREFIXED if grant.prefixed else ResourcePatternType.LITERAL,
            f"User:{PRINCIPALS[grant.principal]}",
            "*",
            AclOperation[re.sub(r"\B([A-Z])", r"_\1", operation).upper()],
            AclPermissionType.ALLOW,
        )


class Answers(BaseHTTPRequestHandler):
    """204 at /good, 500 elsewhere."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(204 if self.path == "/good" else 500)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def receiver() -> Iterator[int]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join()


def until(reached: Callable[[], object], process: subprocess.Popen[bytes], log: Path) -> None:
    give_up = time.monotonic() + PATIENCE_SECONDS
    while not reached():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < give_up, log.read_text()
        time.sleep(0.05)


def sasl(cluster: Cluster) -> dict[str, str]:
    """How a worker comes to it, without its password."""
    return {
        "KAFKA_BOOTSTRAP_SERVERS": cluster.listeners["SASL_PLAINTEXT"],
        "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-512",
        "KAFKA_SASL_USERNAME": cluster.credentials.username,
    }


def test_a_wrong_password_is_what_the_probe_and_the_log_of_a_pod_say_and_never_shown(
    guarded: Cluster,
) -> None:
    with pod_directory() as directory:
        password = directory / "password"
        password.write_text("of-yesterday\n")
        password.chmod(0o644)
        environ = sasl(guarded) | {
            "KAFKA_SASL_PASSWORD_FILE": str(password),
            "WEBHOOK_ENDPOINTS": "kafka:",
            "WORKER_METRICS_PORT": str(free_port_ranges(1, 1)[0]),
            "POD_PROCESSES": "1",
        }
        with container(directory, environ) as pod:
            pod.until(lambda: pod.said("no broker can be reached"))
            said = reason_of(int(environ["WORKER_METRICS_PORT"]))
            pod.signal(signal.SIGTERM)
            assert pod.ended() == 0
    assert f"refused the user name or password of {guarded.credentials.username!r}" in said
    assert not pod.said("of-yesterday")
    assert "of-yesterday" not in said


# It starts a broker of its own, twice as long as others need.
@pytest.mark.timeout(240)
def test_these_rights_are_all_that_workers_and_those_who_look_after_them_need(
    guarded: Cluster, receiver: int, tmp_path: Path
) -> None:
    credentials = guarded.credentials
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    common = {
        **EVERYTHING,
        "WEBHOOK_RETRY_SCHEDULE": "1s",
        "WORKER_HANDOVER": "on",
        "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        "WORKER_METRICS_PORT": str(port),
    }
    by_password = common | sasl(guarded) | {"KAFKA_SASL_PASSWORD": credentials.password}
    by_certificate = common | {
        "KAFKA_BOOTSTRAP_SERVERS": guarded.listeners["SSL"],
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CAFILE": str(credentials.ca_file),
        "KAFKA_SSL_CERTFILE": str(credentials.client_cert_file),
        "KAFKA_SSL_KEYFILE": str(credentials.client_key_file),
    }

    _grant_all(guarded.bootstrap_servers)
    size = ["--partitions", "1", "--retry-partitions", "1", "--replication", "1"]
    printed(by_certificate, "topics", "create", *size)
    # Rights are asked for: what is the operator's is not the worker's.
    printed(by_password, "send", "--customer", "acme", "--type", "order.paid", status=1)
    _write_endpoints(guarded.bootstrap_servers, receiver)
    printed(by_certificate, "send", "--customer", "acme", "--type", "order.paid")

    log = tmp_path / "worker.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [COMMAND, "run"], env=without_settings() | by_password, stdout=output, stderr=output
        ) as worker,
    ):
        try:
            until(lambda: _dead_letters(port) >= 1, worker, log)
            assert 'worker_handover_mode{mode="on",reason=""} 1.0' in _metrics(port)
            letters = printed(by_certificate, "dead-letters", "list", "--json").splitlines()
            assert json.loads(letters[0])["reason"] == "exhausted"
            printed(by_certificate, "dead-letters", "replay", "--all", "--yes")
            until(lambda: _dead_letters(port) >= 2, worker, log)
            described = json.loads(printed(by_certificate, "group", "describe", "--json"))
            assert described["state"] == "Stable"
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(PATIENCE_SECONDS) == 0
        finally:
            worker.kill()
    said = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line for line in said if line["level"] in ("error", "critical")] == []


async def test_rights_on_a_topic_are_told_to_who_has_them(guarded: Cluster) -> None:
    topic = "lines-to-read"
    async with Admin((guarded.bootstrap_servers,)) as admin:
        await admin.create([TopicSpec(name=topic, partitions=1, replication=1)])
        assert (await admin.topic_rights())[topic] == {"Read", "Write"}
    _grant(guarded.bootstrap_servers, [Grant(WORKER, "topic", topic, ("Read",), "a test")])
    environ = sasl(guarded) | {"KAFKA_SASL_PASSWORD": guarded.credentials.password}
    async with load(KafkaSettings, environ).admin() as admin:
        assert (await admin.topic_rights())[topic] == {"Read"}


@pytest.mark.parametrize(
    ("rights", "why_not"),
    [
        (("Describe",), "no right DescribeConfigs"),
        (("Describe", "DescribeConfigs", "Read"), "no right Write"),
        (("DescribeConfigs", "Write"), "no right Read"),
    ],
)
async def test_a_right_on_the_topic_of_hand_over_that_is_missing_is_named(
    guarded: Cluster, rights: tuple[str, ...], why_not: str, caplog: pytest.LogCaptureFixture
) -> None:
    topic = f"events-{'-'.join(rights)}".lower()
    name = handover_topic(topic)
    kept = {"retention.ms": "-1"}
    async with Admin((guarded.bootstrap_servers,)) as admin:
        await admin.create([TopicSpec(name=name, partitions=1, replication=1, configs=kept)])
    _grant(guarded.bootstrap_servers, [Grant(WORKER, "topic", name, rights, "a test")])
    environ = sasl(guarded) | {"KAFKA_SASL_PASSWORD": guarded.credentials.password}
    asked = Asked(
        topic=topic,
        create_command="make-the-topics",
        kafka=load(KafkaSettings, environ),
        worker=load(WorkerSettings, environ),
    )
    async with kept_words(asked, WorkerMetrics(CollectorRegistry())) as words:
        assert words.mode.why_not is WhyNot.REFUSED
    assert f"{why_not} on topic {name}" in caplog.text


def _grant_all(servers: str) -> None:
    _grant(servers, grants(load(WebhookSettings, EVERYTHING), GROUP))


def _grant(servers: str, wanted_rights: Iterable[Grant]) -> None:
    wanted = [each for grant in wanted_rights for each in bindings(grant)]
    admin = AdminClient({"bootstrap.servers": servers, "log_level": 0})
    for granted in admin.create_acls(wanted).values():
        granted.result(PATIENCE_SECONDS)


def _write_endpoints(servers: str, port: int) -> None:
    producer = Producer({"bootstrap.servers": servers, "log_level": 0})
    secret = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    for name in ("good", "bad"):
        entry = {
            "id": name,
            "customer_id": "acme",
            "url": f"http://127.0.0.1:{port}/{name}",
            "secrets": [secret],
        }
        producer.produce("webhook-endpoints", key=name, value=json.dumps(entry))
    assert producer.flush(PATIENCE_SECONDS) == 0


def _metrics(port: int) -> str:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5) as connection:
            connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            return b"".join(iter(lambda: connection.recv(65_536), b"")).decode()
    except OSError:
        return ""


def _dead_letters(port: int) -> float:
    text = _metrics(port)
    found = re.search(r'(?m)^worker_dead_letters_total\{reason="exhausted"\} (\S+)$', text)
    return float(found[1]) if found else 0.0
