"""The worker processes of one run: started, ended in order, and what each of them said last."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.handover.shape import ATTEMPT_SECONDS, CUSTOMERS, IN_FLIGHT, url
from benchmarks.our_worker import COMMAND, SECRET
from benchmarks.rebalance.fleet import ROOT, FleetError
from benchmarks.rebalance.shape import Shape
from deploy.local.guard import Guard

STOP_SECONDS = 45.0
KINDS = ("hand-over", "drain", "careful")


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """Where a run is."""

    servers: str
    guard: Guard
    directory: Path
    topic: str
    port: int
    """Of the receiver."""
    partitions: int


@dataclass(slots=True)
class Workers:
    """Processes of one kind, by name."""

    site: Site
    kind: str
    running: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict)

    def start(self, name: str) -> None:
        """Start one."""
        with (self.site.directory / f"{name}.log").open("ab") as log:
            command, environ = self._how(name)
            self.running[name] = self.site.guard.spawn(command, output=log, cwd=ROOT, env=environ)

    async def stop(self, name: str) -> None:
        """End one in order. Raises FleetError if it does not end so."""
        process = self.running[name]
        process.terminate()
        try:
            await asyncio.to_thread(process.wait, STOP_SECONDS)
        except subprocess.TimeoutExpired:
            raise FleetError(f"{name} has not ended {STOP_SECONDS:g} s after SIGTERM") from None
        del self.running[name]
        self.site.guard.release(process.pid)
        if process.returncode != 0:
            raise FleetError(f"{name} ended with {process.returncode}: {self._last(name)}")

    def check(self) -> None:
        """Raises FleetError if one has ended by itself."""
        for name, process in self.running.items():
            if process.poll() is not None:
                raise FleetError(f"{name} ended by itself: {self._last(name)}")

    async def close(self) -> None:
        """End all, at once."""
        for process in self.running.values():
            process.kill()
            await asyncio.to_thread(process.wait)

    def _last(self, name: str) -> str:
        return (self.site.directory / f"{name}.log").read_text(errors="replace")[-1_500:]

    def _how(self, name: str) -> tuple[Sequence[str | Path], Mapping[str, str]]:
        site = self.site
        if self.kind == "careful":
            words = (site.servers, site.topic, site.topic, name, str(site.port))
            return [sys.executable, "-m", "benchmarks.handover.careful", *words], os.environ
        handover = {"WORKER_HANDOVER": "on" if self.kind == "hand-over" else "off"}
        return [COMMAND, "run"], our_environment(site) | handover | {"KAFKA_CLIENT_ID": name}


def our_environment(site: Site) -> dict[str, str]:
    """What our worker is told, but for its name and how it gives partitions up."""
    endpoints = site.directory / "endpoints.json"
    entries = [
        {
            "id": f"e-{customer}",
            "customer_id": str(customer),
            "url": url(customer, site.port),
            "secrets": [SECRET],
        }
        for customer in range(CUSTOMERS)
    ]
    endpoints.write_text(json.dumps({"endpoints": entries}))
    shape = Shape()
    return os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": site.servers,
        "KAFKA_GROUP_ID": site.topic,
        "KAFKA_SESSION_TIMEOUT_MS": str(shape.session_ms),
        "KAFKA_HEARTBEAT_INTERVAL_MS": str(shape.heartbeat_ms),
        "KAFKA_REBALANCE_TIMEOUT_MS": str(shape.rebalance_ms),
        "WORKER_METRICS_PORT": "0",
        "WORKER_LOG_LEVEL": "info",
        "WORKER_MAX_IN_FLIGHT": str(IN_FLIGHT),
        "WEBHOOK_TOPIC": site.topic,
        "WEBHOOK_DEAD_LETTER_TOPIC": f"{site.topic}.dead",
        "WEBHOOK_RETRY_SCHEDULE": "1m",
        "WEBHOOK_ENDPOINTS": str(endpoints),
        "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        "WEBHOOK_ATTEMPT_TIMEOUT_SECONDS": f"{ATTEMPT_SECONDS:g}",
    }


def create_topics(site: Site) -> None:
    """The topic of events and what our worker needs beside it."""
    size = ("--partitions", str(site.partitions), "--retry-partitions", "4")
    command = [str(COMMAND), "topics", "create", *size]
    subprocess.run(command, env=our_environment(site), check=True, capture_output=True)  # noqa: S603
