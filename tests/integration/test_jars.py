"""Jars come whole and as pinned, or not at all."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from deploy.local import jars
from deploy.local.errors import BrokersUnavailable
from deploy.local.jars import Jar

CONTENT = b"the bytes of a jar"
JAR = Jar("org.example", "thing", "1.0", hashlib.sha256(CONTENT).hexdigest())


class Repository(ThreadingHTTPServer):
    """A Maven repository that answers with what it is told, in order, the last one for ever."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.answers: list[tuple[int, bytes]] = [(200, CONTENT)]
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/maven2"


class Answer(BaseHTTPRequestHandler):
    server: Repository

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        answers = self.server.answers
        status, content = answers.pop(0) if len(answers) > 1 else answers[0]
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def repository() -> Iterator[Repository]:
    with Repository() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_jar_is_fetched_once(repository: Repository, tmp_path: Path) -> None:
    file = jars.ensure(JAR, directory=tmp_path, repository=repository.url)
    assert jars.ensure(JAR, directory=tmp_path, repository=repository.url) == file
    assert file.read_bytes() == CONTENT
    assert repository.asked == ["/maven2/org/example/thing/1.0/thing-1.0.jar"]


def test_a_damaged_jar_in_the_cache_is_fetched_again(
    repository: Repository, tmp_path: Path
) -> None:
    (tmp_path / JAR.file_name).write_bytes(CONTENT[:-1])
    file = jars.ensure(JAR, directory=tmp_path, repository=repository.url)
    assert file.read_bytes() == CONTENT
    assert list(tmp_path.iterdir()) == [file]


def test_a_jar_with_another_checksum_is_refused_and_not_kept(
    repository: Repository, tmp_path: Path
) -> None:
    repository.answers = [(200, b"something else")]
    with pytest.raises(BrokersUnavailable, match=f"is not the file .* expected {JAR.sha256}"):
        jars.ensure(JAR, directory=tmp_path, repository=repository.url)
    assert list(tmp_path.iterdir()) == []


def test_a_repository_in_trouble_is_asked_again_after_growing_pauses(
    repository: Repository,
) -> None:
    repository.answers = [(503, b""), (429, b""), (200, CONTENT)]
    pauses: list[float] = []
    assert jars.download(JAR, repository.url, pause=pauses.append) == CONTENT
    assert pauses == [0.5, 1.0]


def test_a_repository_that_stays_in_trouble_is_given_up(repository: Repository) -> None:
    repository.answers = [(503, b"")]
    pauses: list[float] = []
    with pytest.raises(BrokersUnavailable, match="cannot be downloaded: HTTP Error 503"):
        jars.download(JAR, repository.url, pause=pauses.append)
    assert len(repository.asked) == jars.ATTEMPTS == len(pauses) + 1


def test_a_jar_that_the_repository_has_not_is_not_asked_for_again(repository: Repository) -> None:
    repository.answers = [(404, b"")]
    with pytest.raises(BrokersUnavailable, match=r"thing-1\.0\.jar cannot be .* MAVEN_REPOSITORY"):
        jars.download(JAR, repository.url)
    assert len(repository.asked) == 1


def test_a_repository_must_be_a_web_address() -> None:
    with pytest.raises(BrokersUnavailable, match=r"must begin with https:// or http://"):
        jars.download(JAR, "file:///etc")


def test_every_pinned_jar_has_a_whole_checksum_and_a_file_name_of_its_own() -> None:
    assert jars.locked_versions() == ("2.8.1", "3.9.1", "4.1.0")
    for version in jars.locked_versions():
        pinned = jars.locked_jars(version)
        assert {len(bytes.fromhex(jar.sha256)) for jar in pinned} == {32}
        assert len({jar.file_name for jar in pinned}) == len(pinned)
