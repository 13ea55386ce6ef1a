"""The pages about images and clusters: what they tell to type is accepted."""

import re
import shlex
from configparser import ConfigParser
from pathlib import Path

import pytest

from app_worker import KafkaSettings
from app_worker.environment import load
from deploy.image.crash_loop import MOST_ENDS, WITHIN_SECONDS
from tests.harness.manifests import IMAGE, KUBERNETES, ROOT
from webhook_worker.cli import parser

PAGES = [IMAGE / "README.md", KUBERNETES / "README.md", KUBERNETES / "switch-assignor.md"]
NUMBERS = {3: "three", 5: "five", 6: "six"}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_commands_are_such_as_the_worker_has(page: Path) -> None:
    blocks = re.findall(r"(?ms)^ *```\n(.*?)```", page.read_text())
    for line in "".join(blocks).splitlines():
        _, found, arguments = line.partition("-- webhook-worker ")
        if found:
            assert parser().parse_args(shlex.split(arguments, comments=True)).command


def test_each_step_of_the_switch_is_an_assignor_that_is_known() -> None:
    page = (KUBERNETES / "switch-assignor.md").read_text()
    steps = re.findall(r"(?m)^ *- KAFKA_ASSIGNOR=(.*)$", page)
    told = [
        load(KafkaSettings, {"KAFKA_ASSIGNOR": step, "KAFKA_BOOTSTRAP_SERVERS": "a:1"}).assignor
        for step in steps
    ]
    assert told == [("cooperative-sticky", "roundrobin"), ("cooperative-sticky",)]


def test_the_pages_tell_when_a_pod_ends_by_itself() -> None:
    supervised = ConfigParser(interpolation=None)
    supervised.read(IMAGE / "supervisord.conf")
    tries = supervised.getint("program:worker", "startretries") + 1
    minutes = int(WITHIN_SECONDS / 60)
    said = " ".join((IMAGE / "README.md").read_text().split())
    assert f"could not be started in {NUMBERS[tries]} tries" in said
    assert f"ended {NUMBERS[MOST_ENDS]} times in {NUMBERS[minutes]} minutes" in said
