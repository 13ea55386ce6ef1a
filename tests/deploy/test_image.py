"""The image itself, where there is something that can build and run it.

PYTHON_IMAGE names another base than the pinned one, such as a mirror's.
"""

import json
import os
import shutil
import subprocess
import uuid
from collections.abc import Iterator

import pytest

from tests.harness.manifests import ROOT, image_environment

ENGINES = ("docker", "podman")
BUILD_SECONDS = 900
MOST_BYTES = 200 * 1000 * 1000
TOOLS = "pip pip3 uv gcc cc g++ make hatchling"


def engine() -> str:
    """What answers for containers; a client alone does not."""
    for name in filter(shutil.which, ENGINES):
        asked = subprocess.run([name, "info"], capture_output=True, check=False, timeout=30)
        if asked.returncode == 0:
            return name
    return ""


ENGINE = engine()
pytestmark = [
    pytest.mark.skipif(not ENGINE, reason="no docker or podman works here: no image was built"),
    pytest.mark.timeout(BUILD_SECONDS),
]


def run(*arguments: str, status: int = 0) -> str:
    done = subprocess.run([ENGINE, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == status, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def image() -> Iterator[str]:
    name = f"webhook-worker-test-{uuid.uuid4().hex[:8]}"
    base = os.environ.get("PYTHON_IMAGE")
    other = ["--build-arg", f"PYTHON={base}"] if base else []
    run("build", "--file", "deploy/image/Dockerfile", "--tag", name, *other, str(ROOT))
    yield name
    run("image", "rm", "--force", name)


def test_it_is_small_and_runs_as_nobody(image: str) -> None:
    [inspected] = json.loads(run("image", "inspect", image))
    assert inspected["Size"] < MOST_BYTES
    assert inspected["Config"]["User"] == "10001:10001"
    told = dict(pair.split("=", 1) for pair in inspected["Config"]["Env"])
    assert told.items() >= image_environment().items()


def test_nothing_in_it_installs_or_builds(image: str) -> None:
    look = f"for tool in {TOOLS}; do command -v $tool; done; id -u"
    assert run("run", "--rm", "--entrypoint", "sh", image, "-c", look) == "10001\n"


def test_on_a_root_that_cannot_be_written_it_says_what_is_missing(image: str) -> None:
    directory = image_environment()["POD_DIRECTORY"]
    where = ["--read-only", "--network", "none", "--tmpfs", f"{directory}:mode=0777"]
    lines = run("run", "--rm", *where, image, status=2).splitlines()
    said = [json.loads(line)["msg"].split()[0] for line in lines]
    assert said == ["KAFKA_BOOTSTRAP_SERVERS", "WEBHOOK_ENDPOINTS"]
