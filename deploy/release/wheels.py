"""Wheels: built, installed into an environment of their own, and tried there by their tests."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
UV = ROOT / ".tools" / "bin" / "uv"
PRIVATE = ("PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT_ENVIRONMENT")
"""Variables that would let this process's Python shine through."""
WHOLE = "WHOLE_SUITES"
"""Set in the environment: packages run all of their tests in environments of their own."""
ONE_IN_SOME = """
def pytest_collection_modifyitems(items):
    items[:] = items[::{every}]
"""


class CommandError(Exception):
    """A command failed; the message has all that it printed."""


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command without this process's Python settings; return what it printed.

    Raises CommandError if it fails.
    """
    environ = {name: value for name, value in os.environ.items() if name not in PRIVATE}
    done = subprocess.run(
        command, check=False, cwd=cwd, env=environ, capture_output=True, text=True
    )
    if done.returncode:
        raise CommandError(f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}")
    return done.stdout


def build(package: Path, dist: Path) -> Path:
    """Build the wheel of the package in a directory; return it. ``dist`` holds no other one."""
    run(UV, "build", "--quiet", "--wheel", "--out-dir", dist, package, cwd=package)
    (wheel,) = dist.glob("*.whl")
    return wheel


def checked_out(tag: str, package: str, directory: Path) -> Path:
    """Put the files that a package had at a tag into a directory; return the package's."""
    archive = directory / f"{tag}.tar"
    folder = f"packages/{package}"
    run("git", "archive", f"--output={archive}", tag, folder, cwd=ROOT)
    shutil.unpack_archive(archive, directory)
    return directory / folder


def export_locked(file: Path) -> Path:
    """Write the versions of the lock as constraints, so that what is tried is what is shipped."""
    exported = run(
        UV, "export", "--quiet", "--frozen", "--all-packages", "--all-groups", "--no-hashes",
        "--no-emit-workspace", "--no-annotate", cwd=ROOT,
    )  # fmt: skip
    file.write_text(exported)
    return file


def environment(directory: Path, wheels: Sequence[Path], locked: Path) -> Path:
    """A new virtual environment with these wheels and what they declare; returns its Python.

    Raises CommandError if they do not go together.
    """
    run(UV, "venv", "--quiet", directory, cwd=ROOT)
    python = directory / "bin" / "python"
    install(python, "-c", locked, *wheels)
    run(UV, "pip", "check", "--quiet", "--python", python, cwd=directory)
    return python


def install(python: Path, *what: str | Path) -> None:
    """Install into the environment of this Python."""
    run(UV, "pip", "install", "--quiet", "--python", python, *what, cwd=python.parent)


def run_tests(
    python: Path, package: Path, locked: Path, directory: Path, *, every: int = 1
) -> None:
    """Run a package's tests there, with nothing of its sources beside them; raise CommandError.

    With ``every`` above 1 all are imported, and one in so many is run.
    """
    alone = directory / package.name
    shutil.copytree(package, alone, ignore=shutil.ignore_patterns("src"))
    install(python, "-c", locked, "--group", f"{alone / 'pyproject.toml'}:test")
    (alone / "one_in_some.py").write_text(ONE_IN_SOME.format(every=every))
    plugins = ("-p", "no:cacheprovider", "-p", "one_in_some")
    run(python, "-m", "pytest", "-q", *plugins, cwd=alone)
