"""What is asked of brokers is what a real one tells, through the exporter and the rules for it."""

import asyncio
import os
import re
import urllib.request
from pathlib import Path

import pytest
import yaml
from aiokafka import AIOKafkaConsumer

from deploy.local import jars
from deploy.local.brokers import Cluster
from deploy.local.ports import free_ports
from kafka_utils import Admin, TopicSpec

RULES = Path(__file__).resolve().parents[2] / "deploy" / "monitoring" / "broker-jmx.yaml"
AGENT = jars.Jar.pinned(
    "io.prometheus.jmx:jmx_prometheus_javaagent:1.0.1",
    "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1",
)
VERSION = "4.1.0"
"""One process, broker and controller, so that one port suffices for the agent."""
SAMPLE = re.compile(r"^(kafka_broker_\w+)(?:\{(.*)\})? ", re.MULTILINE)


async def take_part_once(servers: str) -> None:
    """Make a topic, and be a member of a group for a moment."""
    async with Admin((servers,)) as admin:
        await admin.create([TopicSpec(name="t", partitions=1, replication=1)])
    async with AIOKafkaConsumer("t", bootstrap_servers=servers, group_id="g") as consumer:
        await consumer.getmany(timeout_ms=10)


def test_every_rule_of_the_exporter_finds_its_figures_on_a_broker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = jars.cache_directory("jmx")
    directory.mkdir(parents=True, exist_ok=True)
    repository = os.environ.get("MAVEN_REPOSITORY") or jars.MAVEN_CENTRAL
    agent = jars.ensure(AGENT, directory=directory, repository=repository)
    (port,) = free_ports(1)
    monkeypatch.setenv("JAVA_TOOL_OPTIONS", f"-javaagent:{agent}={port}:{RULES}")
    with Cluster(VERSION, directory=tmp_path / "kafka", brokers=1) as cluster:
        asyncio.run(take_part_once(cluster.bootstrap_servers))
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            told = answer.read().decode()
    found = {name: set(re.findall(r"(\w+)=", labels)) for name, labels in SAMPLE.findall(told)}
    wanted = yaml.safe_load(RULES.read_text())["rules"]
    assert found == {each["name"]: set(each.get("labels", ())) for each in wanted}
    assert re.search(
        r'kafka_broker_requests_total\{request="JoinGroup",version="\d+"\} [1-9]', told
    )
