"""The manifests against Kubernetes' schemas, and every number and name in them against the code."""

import re
import shutil
from collections.abc import Mapping
from configparser import ConfigParser
from ipaddress import ip_address, ip_network
from itertools import pairwise
from pathlib import Path

import jsonschema
import kubernetes_validate
import pytest
import trustme
import yaml

import webhook_worker
from app_worker import KafkaSettings, WorkerSettings
from app_worker.controller import LEAVE_SECONDS
from app_worker.ending import CLOSE_SECONDS, LINGER_SECONDS
from deploy.image.messages import TERMINATION_LOG
from deploy.image.pod_settings import PodSettings
from tests.harness.manifests import (
    BASE,
    IMAGE,
    KUBERNETES,
    WITHOUT_KUSTOMIZE,
    Manifest,
    builder,
    built,
    container_of,
    environment,
    image_environment,
    mounted,
    written,
)
from webhook_worker.commands.loading import load_for_run
from webhook_worker.egress import EgressPolicy
from webhook_worker.settings import WebhookSettings, strangers

KUBERNETES_VERSIONS = ("1.31", kubernetes_validate.latest_version())
OVERLAYS = ("development", "production")
MONITORING = KUBERNETES.with_name("monitoring")
FILES = sorted(file.name for file in BASE.glob("*.yaml") if file.stem != "kustomization")
PROCESSES = int(image_environment()["POD_PROCESSES"])
PORTS = [WorkerSettings().metrics_port + index for index in range(PROCESSES)]

needs_kustomize = pytest.mark.skipif(not builder(), reason=WITHOUT_KUSTOMIZE)


@pytest.mark.parametrize("version", KUBERNETES_VERSIONS)
@pytest.mark.parametrize("name", FILES)
def test_a_manifest_is_what_kubernetes_knows(name: str, version: str) -> None:
    kubernetes_validate.validate(written(name), version, strict=True)


def test_the_schemas_find_a_field_that_does_not_exist() -> None:
    stateful_set = written("statefulset.yaml")
    stateful_set["spec"]["podManagment"] = "Parallel"
    with pytest.raises(kubernetes_validate.ValidationError, match="podManagment"):
        kubernetes_validate.validate(stateful_set, KUBERNETES_VERSIONS[0], strict=True)


def test_the_image_is_the_version_of_webhook_worker() -> None:
    [image] = written("kustomization.yaml")["images"]
    assert image == {"name": "webhook-worker", "newTag": webhook_worker.__version__}


def test_whatever_an_end_consists_of_has_less_time_than_what_it_is_part_of() -> None:
    supervised = ConfigParser(interpolation=None)
    supervised.read(IMAGE / "supervisord.conf")
    worker = WorkerSettings()
    pod = written("statefulset.yaml")["spec"]["template"]["spec"]
    chain = {
        "an attempt": WebhookSettings.fields["attempt_timeout_seconds"].default,
        "a call of the handler": worker.handler_timeout_seconds,
        "a drain": worker.drain_timeout_seconds,
        "a drain and the leave": worker.drain_timeout_seconds + LEAVE_SECONDS,
        "all that may never end": worker.drain_timeout_seconds
        + LEAVE_SECONDS
        + CLOSE_SECONDS
        + LINGER_SECONDS,
        "the stop of a worker": supervised.getfloat("program:worker", "stopwaitsecs"),
        "the stop of a pod": pod["terminationGracePeriodSeconds"],
    }
    assert all(inner < outer for inner, outer in pairwise(chain.values())), chain
    # What is said beside the numbers is true.
    said = (BASE / "statefulset.yaml").read_text()
    attempt, _, drain, _, _, stop, _ = chain.values()
    assert f"An attempt {attempt:g} s < a drain {drain:g} s < supervisord's" in said
    assert f"stopwaitsecs {stop:g} s < this." in said
    # Nothing that routes has to be waited for.
    assert "lifecycle" not in container_of(written("statefulset.yaml"))


def test_a_static_member_has_its_session_for_longer_than_it_takes_to_stop() -> None:
    supervised = ConfigParser(interpolation=None)
    supervised.read(IMAGE / "supervisord.conf")
    session = KafkaSettings.fields["session_timeout_ms"].default / 1000
    assert supervised.getfloat("program:worker", "stopwaitsecs") < session


def test_a_hundred_processes_come_together_and_go_one_pod_at_a_time() -> None:
    spec = written("statefulset.yaml")["spec"]
    assert spec["replicas"] * PROCESSES == 100
    assert spec["podManagementPolicy"] == "Parallel"
    assert spec["updateStrategy"] == {"type": "RollingUpdate"}
    budget = written("disruption-budget.yaml")["spec"]
    assert budget["maxUnavailable"] == 1
    assert budget["selector"] == spec["selector"]
    assert spec["template"]["metadata"]["labels"].items() >= spec["selector"]["matchLabels"].items()
    assert spec["serviceName"] == written("service.yaml")["metadata"]["name"]
    spread = spec["template"]["spec"]["topologySpreadConstraints"]
    assert {each["topologyKey"] for each in spread} == {
        "topology.kubernetes.io/zone",
        "kubernetes.io/hostname",
    }
    assert {each["whenUnsatisfiable"] for each in spread} == {"ScheduleAnyway"}
    assert all(each["labelSelector"] == spec["selector"] for each in spread)


def test_nothing_kills_a_pod_for_what_its_workers_wait_for() -> None:
    container = container_of(written("statefulset.yaml"))
    assert "livenessProbe" not in container
    assert "startupProbe" not in container
    assert container.get("terminationMessagePath", TERMINATION_LOG) == TERMINATION_LOG
    [_, script] = container["readinessProbe"]["exec"]["command"]
    copied = re.search(r"(?m)^COPY (.* )deploy/image/ready\.sh .*?(\S+)$", _dockerfile())
    assert copied is not None
    assert script == f"{copied[2]}ready.sh"
    assert (IMAGE / "ready.sh").exists()


def test_a_pod_has_no_rights_and_one_place_to_write() -> None:
    pod = written("statefulset.yaml")["spec"]["template"]["spec"]
    container = container_of(written("statefulset.yaml"))
    user = re.search(r"(?m)^USER (\d+):(\d+)$", _dockerfile())
    assert user is not None
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["runAsUser"] == int(user[1]) > 0
    assert pod["securityContext"]["runAsGroup"] == int(user[2]) == pod["securityContext"]["fsGroup"]
    assert pod["automountServiceAccountToken"] is False
    # A service called "kafka" would set variables that look like ours.
    assert pod["enableServiceLinks"] is False
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    writable = [each["mountPath"] for each in container["volumeMounts"] if not each.get("readOnly")]
    assert writable == [image_environment()["POD_DIRECTORY"]]
    assert "cpu" not in container["resources"]["limits"]


def test_each_process_has_its_port_and_all_that_comes_in_goes_there() -> None:
    assert image_environment()["WORKER_METRICS_PORT"] == str(PORTS[0])
    container = container_of(written("statefulset.yaml"))
    names = {each["name"]: each["containerPort"] for each in container["ports"]}
    assert names == {f"metrics-{index}": port for index, port in enumerate(PORTS)}
    service = written("service.yaml")["spec"]
    assert service["clusterIP"] == "None"
    assert {each["targetPort"]: each["port"] for each in service["ports"]} == names
    assert f"EXPOSE {PORTS[0]}-{PORTS[-1]}" in _dockerfile()
    policy = written("network-policy.yaml")["spec"]
    [rule] = policy["ingress"]
    assert rule["ports"] == [{"protocol": "TCP", "port": PORTS[0], "endPort": PORTS[-1]}]


def test_what_goes_out_goes_to_names_brokers_and_endpoints_only() -> None:
    policy = written("network-policy.yaml")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    names, brokers, endpoints = policy["egress"]
    assert {(each["protocol"], each["port"]) for each in names["ports"]} == {
        ("UDP", 53),
        ("TCP", 53),
    }
    assert brokers["ports"] == [{"protocol": "TCP", "port": _broker_port(_literals())}]
    default = WebhookSettings.fields["egress_ports"].default
    written_ports = tuple(
        f"{each['port']}-{each['endPort']}" if "endPort" in each else str(each["port"])
        for each in endpoints["ports"]
    )
    assert written_ports == default


def test_the_network_refuses_what_the_worker_refuses_and_nothing_else() -> None:
    [_, _, endpoints] = written("network-policy.yaml")["spec"]["egress"]
    blocks = [each["ipBlock"] for each in endpoints["to"]]
    open_ = [ip_network(block["cidr"]) for block in blocks]
    closed = [ip_network(text) for block in blocks for text in block.get("except", ())]

    def refused(address: str) -> bool:
        where = ip_address(address)
        return not any(where in each for each in open_) or any(where in each for each in closed)

    policy = EgressPolicy()
    edges = {str(edge) for each in closed for edge in (each[0], each[-1])}
    beside = {
        str(ip_address(int(edge) + step))
        for each in (*open_, *closed)
        for edge, step in ((each[0], -1), (each[-1], 1))
        if 0 < int(edge) + step < 2**each.max_prefixlen
        and int(edge) + step > 2**32 * (each.version == 6)
    }
    asked = edges | beside | {"1.1.1.1", "2606:4700::1111", "::1", "fd00::1", "fe80::1", "4000::1"}
    for address in sorted(asked):
        assert refused(address) == (policy.check_address(ip_address(address)) is not None), address


def test_every_variable_is_one_that_something_reads() -> None:
    pod_variables = set(re.findall(r"\bPOD_[A-Z_]+", "".join(_image_sources())))
    given = _literals() | image_environment()
    given |= {each["name"]: "" for each in container_of(written("statefulset.yaml"))["env"]}
    ours = {name: "value" for name in given if not name.startswith(("POD_", "PATH", "PYTHON"))}
    assert strangers(ours) == ()
    assert {name for name in given if name.startswith("POD_")} <= pod_variables
    conf = (IMAGE / "supervisord.conf").read_text()
    assert set(re.findall(r"ENV_(\w+)", conf)) <= pod_variables
    assert strangers(dict.fromkeys(re.findall(r"(?m)^environment=(\w+)", conf), "0")) == ()


def test_nothing_secret_is_written_down() -> None:
    for file in KUBERNETES.rglob("*.yaml"):
        text = file.read_text()
        assert not re.search(r"whs(ec|k)_|PRIVATE KEY|PASSWORD=", text), file
    assert not [kind for kind in map(written, FILES) if kind["kind"] == "Secret"]


@needs_kustomize
@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_of_an_overlay_finds_nothing_wrong_with_what_it_is_given(
    overlay: str, tmp_path: Path
) -> None:
    manifests = built(KUBERNETES / "overlays" / overlay)
    for manifest in manifests.values():
        for version in KUBERNETES_VERSIONS:
            kubernetes_validate.validate(manifest, version, strict=True)
    places = mounted(manifests["StatefulSet"], tmp_path)
    fill(places)
    environ = {
        name: _moved(value, places)
        for name, value in environment(manifests, "webhook-worker-24").items()
    }
    pod = PodSettings.from_environment(environ)
    assert pod.processes == PROCESSES
    assert pod.membership == "dynamic"
    last = environ | pod.for_workers | {"WORKER_PROCESS_INDEX": str(PROCESSES - 1)}
    settings, _ = load_for_run(last)
    assert settings.worker.port == PORTS[-1]
    assert settings.kafka.client_name(PROCESSES - 1) == "webhook-worker-24"
    ours = {name: value for name, value in last.items() if not name.startswith("POD_")}
    assert strangers(ours) == ()
    ports = manifests["NetworkPolicy"]["spec"]["egress"][1]["ports"]
    assert [each["port"] for each in ports] == [_broker_port(environ)]
    assert len({each["metadata"]["namespace"] for each in manifests.values()}) == 1


@needs_kustomize
@pytest.mark.parametrize(
    ("name", "value"),
    [("KAFKA_ASSIGNOR", "cooperative-sticky,roundrobin"), ("POD_MEMBERSHIP", "static")],
)
def test_changing_a_literal_rolls_the_pods(name: str, value: str, tmp_path: Path) -> None:
    changed = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, changed)
    kustomization = changed / "base" / "kustomization.yaml"
    text, found = re.subn(rf"(?m)- {name}=.*$", f"- {name}={value}", kustomization.read_text())
    assert found == 1
    kustomization.write_text(text)
    before = built(KUBERNETES / "overlays" / "production")
    after = built(changed / "overlays" / "production")
    assert after["ConfigMap"]["data"] == before["ConfigMap"]["data"] | {name: value}
    # Another name in the template of the pods: that is what rolls them.
    assert after["ConfigMap"]["metadata"]["name"] != before["ConfigMap"]["metadata"]["name"]
    assert after["StatefulSet"]["spec"]["template"] != before["StatefulSet"]["spec"]["template"]
    environ = environment(after, "webhook-worker-3")
    assert environ[name] == value
    if name == "POD_MEMBERSHIP":
        workers = PodSettings.from_environment(environ).for_workers
        assert workers["KAFKA_GROUP_INSTANCE_ID"] == "webhook-worker-3"


# Of the operator's PodMonitor v1 that what is used here; anything else would be a slip of the pen.
POD_MONITOR = {
    "type": "object",
    "additionalProperties": False,
    "required": ["selector", "podMetricsEndpoints"],
    "properties": {
        "selector": {
            "type": "object",
            "additionalProperties": False,
            "required": ["matchLabels"],
            "properties": {"matchLabels": {"additionalProperties": {"type": "string"}}},
        },
        "jobLabel": {"type": "string"},
        "podMetricsEndpoints": {
            "type": "array",
            "items": {
                "type": "object",
                "additionalProperties": False,
                "required": ["port"],
                "properties": {
                    "port": {"type": "string"},
                    "interval": {"type": "string", "pattern": "^[0-9]+(ms|s|m)$"},
                    "relabelings": {
                        "type": "array",
                        "items": {
                            "type": "object",
                            "additionalProperties": False,
                            "properties": {
                                "sourceLabels": {"type": "array", "items": {"type": "string"}},
                                "separator": {"type": "string"},
                                "targetLabel": {"type": "string"},
                            },
                        },
                    },
                },
            },
        },
    },
}


@needs_kustomize
def test_with_the_operator_of_prometheus_each_process_is_a_target_as_without_it(
    tmp_path: Path,
) -> None:
    changed = tmp_path / "kubernetes"
    shutil.copytree(KUBERNETES, changed)
    kustomization = changed / "overlays" / "production" / "kustomization.yaml"
    assert (KUBERNETES / "components" / "pod-monitor").is_dir()
    kustomization.write_text(
        kustomization.read_text() + "components: [../../components/pod-monitor]\n"
    )
    manifests = built(changed / "overlays" / "production")
    monitor, fleet = manifests["PodMonitor"], manifests["StatefulSet"]
    assert monitor["apiVersion"] == "monitoring.coreos.com/v1"
    assert monitor["metadata"]["namespace"] == fleet["metadata"]["namespace"]
    spec = monitor["spec"]
    jsonschema.validate(spec, POD_MONITOR)
    assert spec["selector"] == fleet["spec"]["selector"]
    ports = [each["name"] for each in container_of(fleet)["ports"]]
    assert [each["port"] for each in spec["podMetricsEndpoints"]] == ports
    # The labels that alerts and boards rely on are what scrape.yaml makes.
    job = yaml.safe_load((MONITORING / "scrape.yaml").read_text())["scrape_configs"][0]
    assert fleet["spec"]["template"]["metadata"]["labels"][spec["jobLabel"]] == job["job_name"]
    [named] = [each for each in job["relabel_configs"] if each.get("target_label") == "instance"]
    for each in spec["podMetricsEndpoints"]:
        assert each["interval"] == job["scrape_interval"]
        assert each["relabelings"] == [
            {
                "sourceLabels": named["source_labels"],
                "separator": named["separator"],
                "targetLabel": named["target_label"],
            }
        ]


def fill(places: Mapping[str, Path]) -> None:
    """Write the files that people have to bring."""
    (places["/etc/webhook/endpoints"] / "endpoints.yaml").write_text("endpoints: []\n")
    if kafka := places.get("/etc/webhook/kafka"):
        assert sorted(file.name for file in kafka.iterdir()) == ["ca.crt", "password"]
        (kafka / "password").write_text("throwaway\n")
        trustme.CA().cert_pem.write_to_path(kafka / "ca.crt")


def _moved(value: str, places: Mapping[str, Path]) -> str:
    for inside, outside in places.items():
        if value == inside or value.startswith(f"{inside}/"):
            return str(outside) + value.removeprefix(inside)
    return value


def _dockerfile() -> str:
    return (IMAGE / "Dockerfile").read_text().rpartition("COPY deploy/__init__.py")[2]


def _image_sources() -> list[str]:
    return [file.read_text() for file in IMAGE.glob("*.py")]


def _literals() -> dict[str, str]:
    kustomization: Manifest = yaml.safe_load((BASE / "kustomization.yaml").read_text())
    [generator] = kustomization["configMapGenerator"]
    return dict(literal.split("=", 1) for literal in generator["literals"])


def _broker_port(environ: Mapping[str, str]) -> int:
    return int(environ["KAFKA_BOOTSTRAP_SERVERS"].rpartition(":")[2])
