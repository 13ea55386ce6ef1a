"""Python environments of their own, from the package index, for peers that need others."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

INSTALL_SECONDS = 300.0


class PeerUnavailableError(Exception):
    """This peer cannot be run here; the message says why."""


def python_with(directory: Path, *packages: str) -> str:
    """A Python that has these, made in ``directory`` if it is not there yet.

    Raises PeerUnavailableError.
    """
    python = directory / "bin" / "python"
    if not python.exists():
        _run([sys.executable, "-m", "venv", str(directory)])
        _run([str(python), "-m", "pip", "install", "--quiet", *packages])
    return str(python)


def _run(words: Sequence[str]) -> None:
    try:
        subprocess.run(words, check=True, capture_output=True, text=True, timeout=INSTALL_SECONDS)  # noqa: S603
    except subprocess.CalledProcessError as error:
        said = " ".join(str(error.stderr).split())[-200:]
        raise PeerUnavailableError(f"not to be installed: {said}") from error
    except subprocess.TimeoutExpired as error:
        raise PeerUnavailableError(f"not installed within {error.timeout:g} s") from error
