"""Java's consumer in a process of its own: Kafka's ``VerifiableConsumer`` of a broker's version.

It commits after each poll, and writes a line for what is assigned, revoked and consumed. What it
has lost it reports as revoked.
"""

import time
from pathlib import Path
from typing import Any

from deploy.local import jars
from deploy.local.java import java_command
from tests.harness.group_account import Line
from tests.interop.foreign_process import ForeignProcess, arguments

MAIN_CLASS = "org.apache.kafka.tools.VerifiableConsumer"
STRATEGY = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor"
REBALANCE_MS = 20_000
LOGGED = "-Dorg.slf4j.simpleLogger.log.org.apache.kafka.clients.consumer.internals=info"


class JavaProcess(ForeignProcess):
    """One Java member."""

    leads_by = "Finished assignment for group"

    def __init__(self, name: str, version: str, directory: Path) -> None:
        super().__init__(name)
        self._version = version
        self._directory = directory

    async def start(self, **options: Any) -> None:
        """Start it; the options are those of ``group_member`` that every member needs."""
        properties = self._directory / f"{self.name}.properties"
        properties.write_text(
            f"client.id={self.members[0]}\n"
            f"heartbeat.interval.ms={options['heartbeat_ms']}\n"
            # It is Java's rebalance timeout too.
            f"max.poll.interval.ms={REBALANCE_MS}\n"
        )
        given = arguments(
            {
                "bootstrap_server": options["servers"],
                "topic": options["topics"],
                "group_id": options["group"],
                "session_timeout": options["session_ms"],
                "assignment_strategy": STRATEGY,
            }
        )
        class_path = jars.runtime(self._version, tools=True)
        java, *rest = java_command(class_path, MAIN_CLASS, *given, "--consumer.config", properties)
        await self.run([java, LOGGED, *rest])

    def translate(self, said: dict[str, Any]) -> list[Line]:
        """Return what it said in the form of ``group_member``."""
        # It tells the time of day in milliseconds.
        at = said["timestamp"] / 1000 + time.monotonic() - time.time()
        line = {"at": at, "member": self.members[0], "partitions": []}
        match said["name"]:
            case "partitions_assigned" | "partitions_revoked":
                partitions = sorted(each["partition"] for each in said["partitions"])
                what = said["name"].removeprefix("partitions_")
                return [{**line, "what": what, "partitions": partitions}]
            case "records_consumed":
                return [
                    {
                        **line,
                        "what": "read",
                        "partitions": [each["partition"]],
                        "first": each["minOffset"],
                        "last": each["maxOffset"],
                    }
                    for each in said["partitions"]
                ]
            case "offsets_committed" if not said["success"]:
                partitions = sorted(each["partition"] for each in said["offsets"])
                error = said.get("error")
                return [{**line, "what": "uncommitted", "partitions": partitions, "error": error}]
            case other:
                return [{**line, "what": other}]
