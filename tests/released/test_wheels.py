"""The wheels by themselves: what a user installs, with nothing of this workspace beside it."""

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from deploy.release.packages import NAMES
from deploy.release.wheels import (
    ROOT,
    UV,
    WHOLE,
    CommandError,
    build,
    environment,
    export_locked,
    install,
    run,
    run_tests,
)

PLUGGED_IN = """
[project.entry-points."kafka_utils.assignors"]
patched = "kafka_utils.assignors.cooperative_sticky:CooperativeStickyAssignor"
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of each package."""
    dist = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--wheel", "--all-packages", "--out-dir", dist, cwd=ROOT)
    return {name: next(dist.glob(f"{name.replace('-', '_')}-*.whl")) for name in NAMES}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock, so that what is tested is what is shipped."""
    return export_locked(tmp_path_factory.mktemp("lock") / "constraints.txt")


@pytest.mark.timeout(600)  # A whole suite of tests, on a machine that may be busy.
@pytest.mark.parametrize("package", NAMES)
def test_a_package_passes_its_tests_with_only_what_it_declares(
    package: str, wheels: dict[str, Path], locked: Path, tmp_path: Path
) -> None:
    needed = [wheels[name] for name in NAMES[: NAMES.index(package) + 1]]
    python = environment(tmp_path / "venv", needed, locked)
    # All of them have run elsewhere; here it is asked what they import.
    every = 1 if os.environ.get(WHOLE) else 5
    run_tests(python, ROOT / "packages" / package, locked, tmp_path, every=every)


def test_the_installed_command_shows_its_version(
    wheels: dict[str, Path], locked: Path, tmp_path: Path
) -> None:
    python = environment(tmp_path / "venv", list(wheels.values()), locked)
    printed = run(python.parent / "webhook-worker", "--version", cwd=tmp_path)
    assert printed.startswith("webhook-worker 0.")


def test_what_the_lock_has_hashes_of_suffices_for_the_wheels(
    wheels: dict[str, Path], tmp_path: Path
) -> None:
    exported = run(
        UV, "export", "--quiet", "--frozen", "--no-dev", "--package", "webhook-worker",
        "--no-emit-workspace", cwd=ROOT,
    )  # fmt: skip
    hashed = tmp_path / "requirements.txt"
    hashed.write_text(exported)
    run(UV, "venv", "--quiet", "venv", cwd=tmp_path)
    python = tmp_path / "venv" / "bin" / "python"
    install(python, "--require-hashes", "-r", hashed)
    install(python, "--no-index", *wheels.values())
    run(UV, "pip", "check", "--quiet", "--python", python, cwd=tmp_path)


def digests(python: Path, *packages: str) -> dict[str, str]:
    """Of all that is installed of packages, by file."""
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    return {
        str(file.relative_to(site)): hashlib.sha256(file.read_bytes()).hexdigest()
        for package in packages
        for file in site.glob(f"{package.replace('-', '_')}*/**/*")
        if file.is_file() and file.suffix != ".pyc"
    }


def test_a_patch_of_kafka_utils_reaches_a_webhook_worker_with_nothing_rebuilt_above_it(
    wheels: dict[str, Path], locked: Path, tmp_path: Path
) -> None:
    python = environment(tmp_path / "venv", list(wheels.values()), locked)
    above = digests(python, "app-worker", "webhook-worker")
    check = (
        *("env", "KAFKA_BOOTSTRAP_SERVERS=localhost:9092", "KAFKA_ASSIGNOR=patched"),
        *(f"WEBHOOK_ENDPOINTS={tmp_path / 'endpoints.yaml'}",),
        *(python.parent / "webhook-worker", "check-config"),
    )
    (tmp_path / "endpoints.yaml").write_text("endpoints: []\n")
    with pytest.raises(CommandError, match="patched"):
        run(*check, cwd=tmp_path)

    patched = tmp_path / "kafka-utils"
    shutil.copytree(ROOT / "packages" / "kafka-utils", patched)
    project = patched / "pyproject.toml"
    project.write_text(project.read_text() + PLUGGED_IN)
    run(UV, "version", "--quiet", "--frozen", "--bump", "patch", "--project", patched, cwd=patched)
    wheel = build(patched, tmp_path / "dist")
    install(
        python,
        "--no-index",
        "--find-links",
        wheel.parent,
        "--upgrade-package",
        "kafka-utils",
        "webhook-worker",
    )

    run(UV, "pip", "check", "--quiet", "--python", python, cwd=tmp_path)
    there = json.loads(run(UV, "pip", "list", "--format", "json", "--python", python, cwd=tmp_path))
    versions = {each["name"]: each["version"] for each in there}
    assert wheel.name.startswith(f"kafka_utils-{versions['kafka-utils']}-")
    assert versions["kafka-utils"] != wheels["kafka-utils"].name.split("-")[1]
    assert "KAFKA_ASSIGNOR=patched" in run(*check, cwd=tmp_path)
    assert above
    assert digests(python, "app-worker", "webhook-worker") == above
