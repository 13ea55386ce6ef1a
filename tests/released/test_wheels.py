"""The wheels by themselves: what a user installs, with nothing of this workspace beside it."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".tools" / "bin" / "uv"
PACKAGES = ("kafka-utils", "app-worker", "webhook-worker")
"""Each needs those before it."""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this process's Python settings; fail with what it printed."""
    private = ("PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
    environ = {name: value for name, value in os.environ.items() if name not in private}
    done = subprocess.run(
        command, check=False, cwd=cwd, env=environ, capture_output=True, text=True
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A wheel of each package."""
    dist = tmp_path_factory.mktemp("dist")
    run(UV, "build", "--quiet", "--wheel", "--all-packages", "--out-dir", dist, cwd=ROOT)
    return {name: next(dist.glob(f"{name.replace('-', '_')}-*.whl")) for name in PACKAGES}


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The versions of the lock, so that what is tested is what is shipped."""
    file = tmp_path_factory.mktemp("lock") / "constraints.txt"
    exported = run(
        UV, "export", "--quiet", "--frozen", "--all-packages", "--all-groups", "--no-hashes",
        "--no-emit-workspace", "--no-annotate", cwd=ROOT,
    )  # fmt: skip
    file.write_text(exported)
    return file


def environment(directory: Path, wheels: Sequence[Path], locked: Path) -> Path:
    """A new virtual environment with these wheels and what they declare; returns its Python."""
    run(UV, "venv", "--quiet", directory, cwd=ROOT)
    python = directory / "bin" / "python"
    run(UV, "pip", "install", "--quiet", "--python", python, "-c", locked, *wheels, cwd=directory)
    return python


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_passes_its_tests_with_only_what_it_declares(
    package: str, wheels: dict[str, Path], locked: Path, tmp_path: Path
) -> None:
    needed = [wheels[name] for name in PACKAGES[: PACKAGES.index(package) + 1]]
    python = environment(tmp_path / "venv", needed, locked)
    run(UV, "pip", "check", "--quiet", "--python", python, cwd=tmp_path)

    alone = tmp_path / package
    shutil.copytree(ROOT / "packages" / package, alone, ignore=shutil.ignore_patterns("src"))
    group = f"{alone / 'pyproject.toml'}:test"
    run(
        UV,
        "pip",
        "install",
        "--quiet",
        "--python",
        python,
        "-c",
        locked,
        "--group",
        group,
        cwd=alone,
    )
    run(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", cwd=alone)


def test_the_installed_command_shows_its_version(
    wheels: dict[str, Path], locked: Path, tmp_path: Path
) -> None:
    python = environment(tmp_path / "venv", list(wheels.values()), locked)
    printed = run(python.parent / "webhook-worker", "--version", cwd=tmp_path)
    assert printed.startswith("webhook-worker 0.")
