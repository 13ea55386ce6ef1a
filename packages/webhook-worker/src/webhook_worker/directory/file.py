"""Endpoints from a YAML or JSON file that is read again by itself when it changes."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from stat import S_ISREG

from webhook_worker.directory import BrokenEndpoint, EndpointProblem, Snapshot
from webhook_worker.directory.document import Entry, ReadDocument, Stranger
from webhook_worker.directory.entry import ReadSecrets, parse_endpoint
from webhook_worker.directory.json_document import read_json
from webhook_worker.endpoint import Endpoint
from webhook_worker.errors import (
    BadEndpointError,
    BadSecretError,
    DirectoryError,
    FieldProblem,
)

CHECK_SECONDS = 1.0
"""How often a change is looked for: a stat of the file and of each secrets file."""
MAX_SECRETS_FILE_BYTES = 64 * 1024

_log = logging.getLogger(__name__)

Version = tuple[int, int, int] | None
"""Modification time in nanoseconds, size and inode of what a path leads to; None if to nothing."""


class FileDirectory:
    """The endpoints of a file; a Directory.

    A new version takes the place of the old one in one step, once two checks in a row have found it
    and nothing has changed while it was read: whoever writes it may need more than a moment. One
    that cannot be read leaves the old one in use. The files named by ``secrets_file`` are part of
    the version.
    """

    def __init__(self, path: Path) -> None:
        """Read the file. Raises DirectoryError."""
        self._path = path
        seen = {path: _version(path)}
        self._snapshot, secrets = self._read()
        self._versions = self._seen = seen | secrets

    @property
    def path(self) -> Path:
        """Where it is."""
        return self._path

    @property
    def snapshot(self) -> Snapshot:
        """All endpoints as they are now."""
        return self._snapshot

    def endpoints_for(self, customer_id: str, event_type: str) -> tuple[Endpoint, ...]:
        """See Directory."""
        return self._snapshot.endpoints_for(customer_id, event_type)

    def broken_for(self, customer_id: str, event_type: str) -> tuple[str | None, ...]:
        """See Directory."""
        return self._snapshot.broken_for(customer_id, event_type)

    def get(self, endpoint_id: str) -> Endpoint | None:
        """See Directory."""
        return self._snapshot.get(endpoint_id)

    def is_broken(self, endpoint_id: str) -> bool:
        """See Directory."""
        return self._snapshot.is_broken(endpoint_id)

    def knows_customer(self, customer_id: str) -> bool:
        """See Directory."""
        return self._snapshot.knows_customer(customer_id)

    def reload_if_changed(self) -> Snapshot | None:
        """Read the file again if the last check found this new version too; what it holds, or None.

        Raises DirectoryError, once for each version that cannot be read.
        """
        seen = {path: _version(path) for path in self._versions}
        settled, self._seen = seen == self._seen, seen
        if seen == self._versions or not settled:
            return None
        try:
            snapshot, secrets = self._read()
        except Exception:
            if self._has_changed_since(seen):
                return None
            self._versions = seen
            raise
        if self._has_changed_since(seen):
            return None
        self._snapshot = snapshot
        self._versions = self._seen = {self._path: seen[self._path]} | secrets
        return snapshot

    async def watch(
        self,
        told: Callable[[Snapshot | DirectoryError], None],
        *,
        interval: float = CHECK_SECONDS,
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        """Look for a change every ``interval`` seconds, until cancelled; tell what came of each.

        The file is read in a thread: a large one takes longer than the loop can be kept waiting.
        Whatever a reload raises is told and survived. What has no sentence of ours is told by its
        type alone, since its text can hold a secret.
        """
        while True:
            await sleep(interval)
            try:
                changed = await asyncio.to_thread(self.reload_if_changed)
            except DirectoryError as error:
                told(error)
            except Exception as error:
                _log.exception("a reload of the endpoints failed in an unforeseen way")
                told(DirectoryError(str(self._path), f"cannot be read: {type(error).__name__}"))
            else:
                if changed is not None:
                    told(changed)

    def _has_changed_since(self, seen: Mapping[Path, Version]) -> bool:
        return any(_version(path) != version for path, version in seen.items())

    def _read(self) -> tuple[Snapshot, dict[Path, Version]]:
        """What the file holds, and the versions of the secrets files that it names."""
        secret_versions: dict[Path, Version] = {}

        def secrets_in(name: str) -> Sequence[str]:
            path = self._path.parent / name
            secret_versions[path] = _version(path)
            return read_secrets(path)

        text = read_text(self._path)
        return load(text, self._path, secrets_in), secret_versions


def load(text: str, path: Path, secrets_in: ReadSecrets) -> Snapshot:
    """The snapshot of a file's text: JSON if the path ends with .json, else YAML.

    An entry that is wrong is off and among the problems. Raises DirectoryError.
    """
    gathered = _Gathered()
    for piece in read_document(text, path):
        if isinstance(piece, Stranger):
            said = "is not known: endpoints is the only field here"
            gathered.problems.append(EndpointProblem(piece.line, piece.name, said))
        else:
            gathered.add(piece, secrets_in)
    return Snapshot(gathered.endpoints, gathered.broken, gathered.problems)


def read_document(text: str, path: Path) -> Iterator[Entry | Stranger]:
    """The pieces of a file's text, not yet checked. Raises DirectoryError."""
    read: ReadDocument = read_json
    if path.suffix.lower() != ".json":
        # Who has JSON, or a topic, need not load PyYAML.
        from webhook_worker.directory.yaml_document import read_yaml

        read = read_yaml
    return read(text, str(path))


class _Gathered:
    """What the entries of a file come to. Of several with one id the first counts."""

    def __init__(self) -> None:
        self.endpoints: list[Endpoint] = []
        self.broken: list[BrokenEndpoint] = []
        self.problems: list[EndpointProblem] = []
        self._lines: dict[str, int] = {}

    def add(self, entry: Entry, secrets_in: ReadSecrets) -> None:
        """Check an entry and take it in."""
        try:
            endpoint = parse_endpoint(entry.value, secrets_in, entry.repeated)
        except BadEndpointError as error:
            self._tell(entry, error.endpoint_id, error.problems)
            known = error.endpoint_id
            own = known if known is not None and self._is_first(entry, known) else None
            self.broken.append(
                BrokenEndpoint(own, error.customer_id, error.event_types, error.enabled)
            )
            return
        if self._is_first(entry, endpoint.id):
            self.endpoints.append(endpoint)
        else:
            self.broken.append(
                BrokenEndpoint(None, endpoint.customer_id, endpoint.event_types, endpoint.enabled)
            )

    def _is_first(self, entry: Entry, endpoint_id: str) -> bool:
        first = self._lines.get(endpoint_id)
        if first is None:
            self._lines[endpoint_id] = entry.line_of(())
            return True
        said = f"is the same as that of the entry on line {first}, which counts"
        self._tell(entry, endpoint_id, [FieldProblem(("id",), said)])
        return False

    def _tell(
        self, entry: Entry, endpoint_id: str | None, problems: Sequence[FieldProblem]
    ) -> None:
        self.problems += [
            EndpointProblem(
                entry.line_of(problem.path), problem.field, problem.message, endpoint_id
            )
            for problem in problems
        ]


def _version(path: Path) -> Version:
    try:
        status = path.stat()
    except (OSError, ValueError):  # ValueError: the name is none that a file can have
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def read_text(path: Path) -> str:
    """The text of a file of endpoints. Raises DirectoryError."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DirectoryError(str(path), f"cannot be read: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise DirectoryError(str(path), f"is not UTF-8 at byte {error.start + 1}") from None
    except ValueError:
        raise DirectoryError(str(path), "is no name of a file") from None


def read_secrets(path: Path) -> Sequence[str]:
    """The lines of a file of secrets. Raises BadSecretError."""
    try:
        is_file = S_ISREG(path.stat().st_mode)
        content = _start_of(path) if is_file else b""
    except OSError as error:
        raise BadSecretError(f"cannot be read: {error.strerror}") from None
    except ValueError:
        raise BadSecretError("is no name of a file") from None
    if not is_file:
        raise BadSecretError("is not a file")  # a pipe would be waited for
    lines = content.decode("ascii", "replace").splitlines()
    return [line.strip() for line in lines if line.strip()]


def _start_of(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_SECRETS_FILE_BYTES)
