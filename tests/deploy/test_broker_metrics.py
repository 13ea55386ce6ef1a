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
from deploy.local.brokers import DEFAULT_VERSION, Cluster
from deploy.local.java import java_executable
from deploy.local.ports import free_ports
from kafka_utils import Admin, TopicSpec

RULES = Path(__file__).resolve().parents[2] / "deploy" / "monitoring" / "broker-jmx.yaml"
AGENT = jars.Jar.pinned(
    "io.prometheus.jmx:jmx_prometheus_javaagent:1.0.1",
    "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1",
)
VERSION = os.environ.get("KAFKA_VERSION") or DEFAULT_VERSION
JAVA = """#!/bin/sh
case "$*" in
    *" kafka.Kafka "*) exec {java} -javaagent:{agent} "$@" ;;
    *) exec {java} "$@" ;;
esac
"""
"""A Java that brings the agent into a broker, and not into what else a cluster needs."""
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
    home = tmp_path / "java" / "bin"
    home.mkdir(parents=True)
    java = home / "java"
    java.write_text(JAVA.format(java=java_executable(), agent=f"{agent}={port}:{RULES}"))
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(home.parent))
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
