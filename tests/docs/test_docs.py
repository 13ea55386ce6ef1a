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
WRITTEN = sorted(each for each in DOCS.glob("*.md") if each != PAGE)
FOLDERS = ("benchmarks", "deploy", "docs", "packages")
PAGES = sorted([*ROOT.glob("*.md"), *(p for name in FOLDERS for p in (ROOT / name).rglob("*.md"))])
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


def anchors(page: Path) -> set[str]:
    """What a link may name after `#`, as it is made from headings where pages are shown."""
    text = re.sub(r"(?ms)^ *```.*?^ *```", "", page.read_text())
    headings = re.findall(r"(?m)^#+ (.*)$", re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text))
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(path: Path) -> None:
    astray = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        name, _, anchor = link.partition("#")
        page = path.parent / name if name else path
        if ":" not in name and not (page.exists() and (not anchor or anchor in anchors(page))):
            astray.append(link)
    assert astray == []


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
