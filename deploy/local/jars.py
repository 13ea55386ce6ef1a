"""Kafka's own jars: pinned in `jars.lock`, fetched from Maven Central, checked, kept in a cache."""

import hashlib
import http.client
import os
import tempfile
import time
import tomllib
import urllib.error
import urllib.request
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deploy.local.errors import BrokersUnavailable

MAVEN_CENTRAL = "https://repo1.maven.org/maven2"
LOCK = Path(__file__).with_name("jars.lock")
TOOLS = "tools"
"""The table of the lock that has a table for each version in it, of what brokers do without."""
PARALLEL_DOWNLOADS = 8
ATTEMPTS = 4
FIRST_PAUSE_SECONDS = 0.5
TIMEOUT_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Jar:
    """One pinned jar: where a Maven repository has it, and what its bytes must hash to."""

    group: str
    artifact: str
    version: str
    sha256: str

    @classmethod
    def pinned(cls, name: str, sha256: str) -> "Jar":
        """Read one entry of the lock, `group:artifact:version` and its hash."""
        group, artifact, version = name.split(":")
        return cls(group, artifact, version, sha256)

    @property
    def file_name(self) -> str:
        """The name of the file, unique within one Kafka version."""
        return f"{self.artifact}-{self.version}.jar"

    @property
    def path(self) -> str:
        """The path below the root of a Maven repository."""
        return f"{self.group.replace('.', '/')}/{self.artifact}/{self.version}/{self.file_name}"


def locked_versions() -> tuple[str, ...]:
    """The Kafka versions that can be started here."""
    return tuple(table for table in _lock() if table != TOOLS)


def locked_jars(version: str, *, tools: bool = False) -> tuple[Jar, ...]:
    """The pinned jars of a Kafka version, on request with those of its own test clients.

    Raises BrokersUnavailable for a version that is not locked.
    """
    if version not in locked_versions():
        raise BrokersUnavailable(
            f"Kafka {version!r} is not among the versions that can be started here: "
            f"{', '.join(locked_versions())}."
        )
    lock = _lock()
    pinned = lock[version] | (lock[TOOLS][version] if tools else {})
    return tuple(Jar.pinned(name, sha256) for name, sha256 in pinned.items())


def cache_directory(version: str) -> Path:
    """Where the jars of a Kafka version are kept for the next time."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(cache) / "webhook-fleet" / "kafka" / version


def runtime(version: str, *, tools: bool = False) -> str:
    """The Java class path of a Kafka version; what the cache lacks or has damaged is fetched.

    ``tools`` adds Kafka's own test clients. Every file is hashed at every use (35 to 46 MB: a tenth
    of a second), so a damaged cache mends itself. Raises BrokersUnavailable.
    """
    jars = locked_jars(version, tools=tools)
    directory = cache_directory(version)
    repository = os.environ.get("MAVEN_REPOSITORY") or MAVEN_CENTRAL
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with ThreadPoolExecutor(PARALLEL_DOWNLOADS) as pool:
            files = list(
                pool.map(partial(ensure, directory=directory, repository=repository), jars)
            )
    except OSError as error:
        raise BrokersUnavailable(
            f"The jars of Kafka {version} cannot be kept in {directory}: {error}. "
            "XDG_CACHE_HOME chooses another place."
        ) from error
    return os.pathsep.join(str(file) for file in files)


def ensure(jar: Jar, *, directory: Path, repository: str) -> Path:
    """The file of this jar in `directory`, downloaded if it is absent or not what is pinned."""
    file = directory / jar.file_name
    if not file.exists() or _sha256(file.read_bytes()) != jar.sha256:
        _write_whole(file, download(jar, repository))
    return file


def download(jar: Jar, repository: str, pause: Callable[[float], None] = time.sleep) -> bytes:
    """The bytes of this jar, hashing to what is pinned; raises BrokersUnavailable."""
    url = f"{repository.rstrip('/')}/{jar.path}"
    content = _fetch(url, pause)
    found = _sha256(content)
    if found != jar.sha256:
        raise BrokersUnavailable(
            f"{url} is not the file that {LOCK.name} pins: its sha256 is {found}, expected "
            f"{jar.sha256}. It was not used. Look at what stands between this machine and the "
            "repository, or name another one with MAVEN_REPOSITORY."
        )
    return content


def _lock() -> dict[str, Any]:
    return tomllib.loads(LOCK.read_text())


def _fetch(url: str, pause: Callable[[float], None]) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise BrokersUnavailable(
            f"MAVEN_REPOSITORY must begin with https:// or http://, and {url!r} does not."
        )
    for attempt in range(ATTEMPTS):
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as answer:  # noqa: S310 - checked above
                content: bytes = answer.read()
                return content
        except (OSError, http.client.HTTPException) as error:
            if attempt + 1 == ATTEMPTS or not _may_pass(error):
                raise BrokersUnavailable(
                    f"{url} cannot be downloaded: {error}. Kafka's jars are needed once, and are "
                    "then kept: try again with a network, or name a Maven repository that this "
                    "machine reaches with MAVEN_REPOSITORY."
                ) from error
        pause(FIRST_PAUSE_SECONDS * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def _may_pass(error: Exception) -> bool:
    if isinstance(error, urllib.error.HTTPError):
        return error.code >= 500 or error.code in (408, 429)
    return True


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _write_whole(file: Path, content: bytes) -> None:
    # Two runs may fill the cache at once: each sees a whole file or none.
    with tempfile.TemporaryDirectory(dir=file.parent, prefix=".part-") as directory:
        part = Path(directory) / file.name
        part.write_bytes(content)
        part.replace(file)
