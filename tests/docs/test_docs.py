"""The pages name only what there is: modules, files, variables, metrics and commands."""

import re
import shlex
from pathlib import Path

import pytest

from app_worker.observability.metrics import WORKER_METRICS
from app_worker.variables import variables
from tests.harness.module_map import PAGE, ROOT, page, sentence
from webhook_worker.cli import parser
from webhook_worker.metrics import WEBHOOK_METRICS
from webhook_worker.settings import SETTINGS

DOCS = ROOT / "docs"
POD_SETTINGS = ROOT / "deploy" / "image" / "pod_settings.py"
PAGES = sorted(DOCS.glob("*.md"))
WRITTEN = [each for each in PAGES if each != PAGE]
MODULES = [
    file
    for folder in ("packages", "deploy", "benchmarks")
    for file in (ROOT / folder).rglob("*.py")
    if "tests" not in file.parts and file.read_text().strip()
]


def test_the_architecture_page_is_what_the_modules_say_of_themselves() -> None:
    assert PAGE.read_text() == page(), "python -m tests.harness.module_map writes it anew"


def test_every_module_says_what_it_is_for() -> None:
    assert [str(file) for file in MODULES if not sentence(file)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", path.read_text())
    assert [link for link in links if not (path.parent / link).exists()] == []


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_variables_are_such_as_there_are(path: Path) -> None:
    known = {each.name for settings in SETTINGS for each in variables(settings)}
    known |= set(re.findall(r'"(POD_[A-Z]+)"', POD_SETTINGS.read_text()))
    named = set(re.findall(r"\b(?:KAFKA|WORKER|WEBHOOK|POD)_[A-Z_]*[A-Z]\b", path.read_text()))
    assert named - known == set()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_metrics_are_such_as_there_are(path: Path) -> None:
    known = {each.name for each in (*WORKER_METRICS, *WEBHOOK_METRICS)}
    named = set(re.findall(r"`((?:worker|webhook)_[a-z_]+)[`{]", path.read_text()))
    assert named - known - {"webhook_worker", "app_worker"} == set()


@pytest.mark.parametrize("path", WRITTEN, ids=lambda path: path.name)
def test_commands_are_such_as_there_are(path: Path) -> None:
    text = path.read_text()
    commands = re.findall(r"webhook-worker ((?:[a-z-]+)(?: [^`|\n]*)?)[`|\n]", text)
    for command in commands:
        arguments = shlex.split(command, comments=True)
        assert parser().parse_args(arguments).command, command
