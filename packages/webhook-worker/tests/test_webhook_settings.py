"""The settings of webhooks: defaults, every refusal, and the table in the README."""

from ipaddress import ip_network
from pathlib import Path

import pytest

from app_worker.environment import describe, settings_table
from app_worker.errors import EnvironmentProblems
from webhook_worker.proxy import Proxy
from webhook_worker.settings import SETTINGS, EndpointsTopic, WebhookSettings, load_all, strangers

LEAST = {"KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:9092"}


def loaded(**environ: str) -> WebhookSettings:
    return load_all(LEAST | environ, need_endpoints=False).webhook


def refused(**environ: str) -> tuple[str, ...]:
    with pytest.raises(EnvironmentProblems) as caught:
        load_all(LEAST | environ, need_endpoints=False)
    return caught.value.problems


def test_the_defaults_are_those_of_the_contract() -> None:
    settings = loaded()
    assert settings.topic == "webhook"
    assert settings.endpoints is None
    assert settings.attempt_timeout_seconds == 15
    assert ",".join(settings.schedule.delays) == "5s,5m,30m,2h,5h,10h,14h,20h,24h"
    assert settings.dead_letter_topic == "webhook.dead-letter"
    assert settings.unknown_customer == "drop"
    policy = settings.egress_policy
    assert policy.ports == (range(80, 81), range(443, 444), range(1024, 65536))
    assert policy.schemes == {"https", "http"}
    assert policy.allow == ()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/etc/endpoints.yaml", "/etc/endpoints.yaml"),
        ("endpoints.json", "endpoints.json"),
        ("file:///etc/end%20points.yaml", "/etc/end points.yaml"),
        ("file://localhost/etc/e.yaml", "/etc/e.yaml"),
    ],
)
def test_the_endpoints_are_a_path_or_a_file_url(text: str, path: str) -> None:
    assert loaded(WEBHOOK_ENDPOINTS=text).endpoints == Path(path)


def test_every_variable_can_be_set() -> None:
    settings = loaded(
        WEBHOOK_TOPIC="hooks",
        WEBHOOK_ATTEMPT_TIMEOUT_SECONDS="2.5",
        WEBHOOK_RETRY_SCHEDULE="1s, 1s,2m",
        WEBHOOK_DEAD_LETTER_TOPIC="dead",
        WEBHOOK_UNKNOWN_CUSTOMER="dead-letter",
        WEBHOOK_EGRESS_PORTS="443,8000-8002",
        WEBHOOK_SCHEMES="HTTPS",
        WEBHOOK_EGRESS_ALLOW="10.0.0.0/8, fd00::/64",
        WEBHOOK_MAX_EVENT_BYTES="5000",
    )
    assert settings.attempt_timeout_seconds == 2.5
    assert settings.schedule.topics() == ("hooks.retry.1s", "hooks.retry.2m")
    assert settings.dead_letter_topic == "dead"
    assert settings.unknown_customer == "dead-letter"
    assert settings.egress_policy.ports == (range(443, 444), range(8000, 8003))
    assert settings.egress_policy.schemes == {"https"}
    assert settings.egress_policy.allow == (ip_network("10.0.0.0/8"), ip_network("fd00::/64"))
    assert settings.max_event_bytes == 5000


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WEBHOOK_TOPIC", "a:b"),
        ("WEBHOOK_TOPIC", "x" * 250),
        ("WEBHOOK_TOPIC", "x" * 240),
        ("WEBHOOK_TOPIC", ".."),
        ("WEBHOOK_ENDPOINTS", "file://elsewhere/e.yaml"),
        ("WEBHOOK_ENDPOINTS", "file:///etc/e%00.yaml"),
        ("WEBHOOK_ENDPOINTS", "file://[/e.yaml"),
        ("WEBHOOK_ATTEMPT_TIMEOUT_SECONDS", "0"),
        ("WEBHOOK_ATTEMPT_TIMEOUT_SECONDS", "20"),
        ("WEBHOOK_ATTEMPT_TIMEOUT_SECONDS", "soon"),
        ("WEBHOOK_RETRY_SCHEDULE", ","),
        ("WEBHOOK_RETRY_SCHEDULE", "5s,1.5h"),
        ("WEBHOOK_RETRY_SCHEDULE", "0s"),
        ("WEBHOOK_DEAD_LETTER_TOPIC", "webhook"),
        ("WEBHOOK_DEAD_LETTER_TOPIC", "webhook.retry.9m"),
        ("WEBHOOK_UNKNOWN_CUSTOMER", "ignore"),
        ("WEBHOOK_EGRESS_PORTS", "0"),
        ("WEBHOOK_EGRESS_PORTS", "65536"),
        ("WEBHOOK_EGRESS_PORTS", "9-8"),
        ("WEBHOOK_EGRESS_PORTS", "80-"),
        ("WEBHOOK_EGRESS_PORTS", "http"),
        ("WEBHOOK_SCHEMES", "ftp"),
        ("WEBHOOK_SCHEMES", ","),
        ("WEBHOOK_EGRESS_ALLOW", "10.1.2.3/8"),
        ("WEBHOOK_EGRESS_ALLOW", "intranet"),
        ("WEBHOOK_EGRESS_ALLOW", "::ffff:10.0.0.0/104"),
        ("WEBHOOK_EGRESS_ALLOW", "64:ff9b::a00:0/104"),
        ("WEBHOOK_ENDPOINTS", "http://example.com/endpoints.yaml"),
        ("WEBHOOK_MAX_EVENT_BYTES", "1000001"),
    ],
)
def test_a_wrong_value_is_one_sentence_with_name_value_and_what_is_allowed(
    name: str, value: str
) -> None:
    (problem,) = refused(**{name: value})
    assert problem.startswith(f"{name} is ")
    assert value[:100] in problem
    assert "must be" in problem


def test_an_ipv4_network_in_an_ipv6_form_is_refused_with_its_plain_form() -> None:
    (problem,) = refused(WEBHOOK_EGRESS_ALLOW="fd00::/64,::ffff:10.0.0.0/104")
    assert "(write ::ffff:10.0.0.0/104 as 10.0.0.0/8: it is judged as that)" in problem


@pytest.mark.parametrize(
    ("content", "reason"),
    [(None, "No such file or directory"), ("nothing\n", "no certificate or crl found")],
)
def test_a_file_without_authorities_is_refused_with_the_reason(
    tmp_path: Path, content: str | None, reason: str
) -> None:
    file = tmp_path / "authorities.pem"
    if content is not None:
        file.write_text(content)
    (problem,) = refused(WEBHOOK_TLS_CAFILE=str(file))
    assert problem == (
        f"WEBHOOK_TLS_CAFILE is {str(file)!r}, but must be a file of PEM certificates ({reason})."
    )


def test_the_egress_proxy_comes_from_the_environment_or_a_file(tmp_path: Path) -> None:
    assert loaded().egress_proxy is None
    file = tmp_path / "proxy"
    file.write_text("http://user:hunter2@squid:3128\n")
    settings = loaded(WEBHOOK_EGRESS_PROXY_FILE=str(file))
    assert settings.egress_proxy == Proxy("squid", 3128, None, b"Basic dXNlcjpodW50ZXIy")
    assert loaded(WEBHOOK_EGRESS_PROXY=file.read_text().strip()) == settings
    assert ("WEBHOOK_EGRESS_PROXY", "http://******@squid:3128") in describe(settings)
    assert "hunter2" not in repr(settings)
    assert "dXNlcjpodW50ZXIy" not in repr(settings)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (
            "http://user:hunter2@squid",
            "WEBHOOK_EGRESS_PROXY is ******, but must be http://[user:password@]host:port "
            "(has no port).",
        ),
        (
            "http://user:hunter2@169.254.169.254:80",
            "WEBHOOK_EGRESS_PROXY is http://******@169.254.169.254:80, but must be elsewhere "
            "(address 169.254.169.254 is link-local, where metadata services are "
            "(169.254.0.0/16)).",
        ),
    ],
)
def test_a_wrong_egress_proxy_is_refused_without_its_credentials(text: str, problem: str) -> None:
    assert refused(WEBHOOK_EGRESS_PROXY=text) == (problem,)


def test_a_topic_leaves_room_for_the_names_of_its_delay_topics() -> None:
    (problem,) = refused(WEBHOOK_TOPIC="x" * 240)
    assert "at most 234 characters, so that .endpoint-state can follow" in problem


def test_endpoints_are_demanded_where_they_are_needed() -> None:
    with pytest.raises(EnvironmentProblems) as caught:
        load_all(LEAST, need_endpoints=True)
    expected = (
        "WEBHOOK_ENDPOINTS is not set, but must be a path, a file: URL, kafka:<topic> "
        "or <name>:<location> of an installed source."
    )
    assert caught.value.problems == (expected,)


def test_mistakes_of_all_three_layers_are_told_at_once() -> None:
    problems = refused(
        KAFKA_ASSIGNOR="best", WORKER_MAX_IN_FLIGHT="none", WEBHOOK_UNKNOWN_CUSTOMER="maybe"
    )
    assert {problem.split(" ")[0] for problem in problems} == {
        "WORKER_MAX_IN_FLIGHT",
        "KAFKA_ASSIGNOR",
        "WEBHOOK_UNKNOWN_CUSTOMER",
    }


def test_an_unknown_variable_is_a_warning_only() -> None:
    (warning,) = strangers(LEAST | {"WEBHOOK_ENDPOINT": "/etc/e.yaml"})
    assert warning.startswith("WEBHOOK_ENDPOINT ")
    assert "WEBHOOK_ENDPOINTS" in warning


def test_the_readme_has_the_table_of_settings() -> None:
    readme = (Path(__file__).parents[1] / "README.md").read_text()
    assert settings_table(SETTINGS) in readme


@pytest.mark.parametrize(
    ("text", "name"), [("kafka:", "webhook-endpoints"), ("kafka:mine.1", "mine.1")]
)
def test_endpoints_can_come_from_a_topic(text: str, name: str) -> None:
    source = loaded(WEBHOOK_ENDPOINTS=text).endpoints
    assert source == EndpointsTopic(name)
    assert str(source) == f"kafka:{name}"


def test_each_topic_is_another_one() -> None:
    (problem,) = refused(WEBHOOK_ATTEMPT_LOG_TOPIC="webhook.dead-letter")
    assert "another topic than those of WEBHOOK_DEAD_LETTER_TOPIC" in problem
    (problem,) = refused(
        WEBHOOK_OPERATIONAL_EVENTS_TOPIC="webhook.x", WEBHOOK_ATTEMPT_LOG_TOPIC="webhook.x"
    )
    assert "another topic than those of WEBHOOK_OPERATIONAL_EVENTS_TOPIC" in problem
    for name in ("webhook.endpoint-state", "webhook.handover"):
        (problem,) = refused(WEBHOOK_ATTEMPT_LOG_TOPIC=name)
        assert "another topic than those of WEBHOOK_TOPIC" in problem


def test_operational_events_may_be_delivered_like_others() -> None:
    webhook = loaded(WEBHOOK_OPERATIONAL_EVENTS_TOPIC="webhook")
    assert webhook.topic_names.operational_events == "webhook"


def test_an_endpoint_is_disabled_later_than_it_is_failing_or_never() -> None:
    (problem,) = refused(WEBHOOK_FAILING_AFTER_SECONDS="60", WEBHOOK_DISABLE_AFTER_SECONDS="60")
    assert "0, or longer than WEBHOOK_FAILING_AFTER_SECONDS (60)" in problem
    assert loaded(WEBHOOK_DISABLE_AFTER_SECONDS="0").patience.disable_after_ms is None


def test_the_attempts_of_one_delivery_are_one_row_of_failures() -> None:
    assert loaded().patience.forget_after_ms == 48 * 3_600_000
    webhook = loaded(WEBHOOK_RETRY_SCHEDULE="1s")
    assert webhook.patience.forget_after_ms == 24 * 3_600_000


def test_a_source_that_is_not_installed_is_named_with_those_that_are() -> None:
    (problem,) = refused(WEBHOOK_ENDPOINTS="postgres://user:secret@db/endpoints")
    assert "postgres: is not among file, kafka" in problem
    assert "secret" not in problem
    assert "postgres://******@db/endpoints" in problem


@pytest.mark.parametrize(
    "text", ["kafka:a b", "kafka:/x", "kafka:webhook", "kafka:webhook.retry.5s", "kafka://host/t"]
)
def test_a_topic_of_endpoints_has_a_name_of_its_own(text: str) -> None:
    with pytest.raises(EnvironmentProblems, match=f"WEBHOOK_ENDPOINTS is '{text}', but must be"):
        loaded(WEBHOOK_ENDPOINTS=text)
