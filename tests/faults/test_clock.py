"""A node whose clock is wrong: it can be seen, and costs no event."""

import json
import re
import secrets
import time
import uuid
from pathlib import Path
from typing import Protocol

from deploy.demo.customers import new_secret
from deploy.demo.receipts import Receipt, ReceiptTail
from deploy.demo.stage import start_receiver
from deploy.local.guard import Guard
from tests.harness.command_line import printed
from tests.harness.worker_process import Worker, running

HOUR_SECONDS = 3_600
WORKER = """
import sys, time
real = time.time
time.time = lambda: real() + {wrong_by}
from webhook_worker.cli import main
sys.exit(main(["run"]))
"""


class Brokers(Protocol):
    @property
    def bootstrap_servers(self) -> str: ...


def clock_of(worker: Worker) -> float:
    found = re.search(r"^worker_clock_seconds (\S+)$", worker.get("/metrics")[1], re.MULTILINE)
    return float(found[1]) if found else 0.0


def test_what_a_clock_that_is_an_hour_fast_has_refused_is_delivered_when_it_is_right(
    cluster: Brokers, tmp_path: Path
) -> None:
    name, secret = f"clock.{uuid.uuid4().hex[:8]}", new_secret(secrets.token_bytes(32))
    keys, ledger = tmp_path / "secrets.json", tmp_path / "ledger"
    keys.write_text(json.dumps({"acme": [secret]}))
    endpoints = tmp_path / "endpoints.json"
    with Guard() as guard:
        words = ("deploy.demo.receiver", "--secrets", str(keys), "--ledger", str(ledger))
        port = start_receiver(guard, tmp_path, words)
        entry = {
            "id": "acme",
            "customer_id": "acme",
            "url": f"http://127.0.0.1:{port}/ok/acme",
            "secrets": [secret],
        }
        endpoints.write_text(json.dumps({"endpoints": [entry]}))
        settings = {
            "KAFKA_BOOTSTRAP_SERVERS": cluster.bootstrap_servers,
            "KAFKA_GROUP_ID": name,
            "WEBHOOK_TOPIC": name,
            "WEBHOOK_DEAD_LETTER_TOPIC": f"{name}.dead-letter",
            "WEBHOOK_RETRY_SCHEDULE": "2s,2s,2s,2s,2s",
            "WEBHOOK_ENDPOINTS": str(endpoints),
            "WEBHOOK_EGRESS_ALLOW": "127.0.0.0/8",
        }
        printed(settings, "topics", "create", "--partitions", "1", "--retry-partitions", "1")
        tail, received = ReceiptTail(ledger), list[Receipt]()

        def arrived() -> list[Receipt]:
            received.extend(tail.read_new())
            return received

        with running(tmp_path, program=WORKER.format(wrong_by=HOUR_SECONDS), **settings) as fast:
            fast.wait_until(fast.ready)
            assert abs(clock_of(fast) - time.time() - HOUR_SECONDS) < HOUR_SECONDS / 60
            printed(settings, "send", "--customer", "acme", "--type", "order.paid")
            fast.wait_until(arrived)
            assert fast.stop()[0] == 0
        assert {each.status for each in received} == {401}
        with running(tmp_path, program=WORKER.format(wrong_by=0), **settings) as right:
            right.wait_until(lambda: any(each.accepted for each in arrived()))
            assert right.stop()[0] == 0
    assert [each.status for each in received].count(200) == 1
