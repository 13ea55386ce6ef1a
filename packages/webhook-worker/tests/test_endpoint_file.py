"""The endpoint file on disk: read at the start, and again by itself when it changes."""

import asyncio
import errno
import os
from pathlib import Path

import pytest

from webhook_worker.directory import Directory, Snapshot
from webhook_worker.directory.file import FileDirectory
from webhook_worker.errors import DirectoryError
from webhook_worker.signing import Key, Secret

KEY1 = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
KEY2 = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD"


def text_of(*ids: str, secrets: str = f"secrets: [{KEY1}]") -> str:
    return "endpoints:\n" + "".join(
        f"- {{id: {name}, customer_id: acme, url: 'https://a.example', {secrets}}}\n"
        for name in ids
    )


def write(path: Path, text: str) -> None:
    """Replace the file as an editor does, so that inode and time are new."""
    beside = path.with_suffix(".new")
    beside.write_text(text)
    beside.replace(path)


def ids_of(directory: Directory) -> list[str]:
    return [endpoint.id for endpoint in directory.endpoints_for("acme", "t")]


def secrets_of(directory: FileDirectory) -> list[Key]:
    return list(directory.snapshot.endpoints[0].secrets)


def settled(directory: FileDirectory) -> Snapshot | None:
    """What comes of a change that two checks have seen alike."""
    assert directory.reload_if_changed() is None
    return directory.reload_if_changed()


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match=r"none\.yaml: cannot be read: No such file"):
        FileDirectory(tmp_path / "none.yaml")


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(DirectoryError, match="cannot be read: Is a directory"):
        FileDirectory(tmp_path)


def test_a_file_that_is_not_utf8_says_where(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_bytes(b"endpoints: []\n# \xff\n")
    with pytest.raises(DirectoryError, match="is not UTF-8 at byte 17"):
        FileDirectory(path)


def test_a_byte_order_mark_is_skipped(tmp_path: Path) -> None:
    for name, text in (("a.yaml", text_of("a")), ("a.json", '{"endpoints": []}')):
        (tmp_path / name).write_bytes(b"\xef\xbb\xbf" + text.encode())
        assert FileDirectory(tmp_path / name).snapshot.problems == ()


def test_a_change_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a"))
    directory = FileDirectory(path)
    assert settled(directory) is None
    write(path, text_of("a", "b"))
    assert ids_of(directory) == ["a"]
    assert settled(directory) is directory.snapshot
    assert ids_of(directory) == ["a", "b"]
    assert directory.get("b") is not None
    assert directory.knows_customer("acme")
    assert not directory.is_broken("b")
    assert directory.broken_for("acme", "t") == ()
    assert settled(directory) is None


def test_a_change_in_place_of_the_same_size_is_seen_by_its_time(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(text_of("a"))
    directory = FileDirectory(path)
    path.write_text(text_of("b"))
    os.utime(path, ns=(1, 1))
    settled(directory)
    assert ids_of(directory) == ["b"]


def test_a_broken_new_version_keeps_the_old_one_and_is_told_once(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a"))
    directory = FileDirectory(path)
    write(path, "endpoints: [")
    with pytest.raises(DirectoryError, match="is not YAML"):
        settled(directory)
    assert ids_of(directory) == ["a"]
    assert settled(directory) is None
    write(path, text_of("c"))
    settled(directory)
    assert ids_of(directory) == ["c"]


def test_a_file_that_is_still_being_written_is_not_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a", "b", "c"))
    directory = FileDirectory(path)
    with path.open("w") as file:
        for number in range(5):
            file.write(text_of("a") if number == 0 else f"# {number}\n")
            file.flush()
            assert directory.reload_if_changed() is None
            assert ids_of(directory) == ["a", "b", "c"]
    assert directory.reload_if_changed() is directory.snapshot
    assert ids_of(directory) == ["a"]


@pytest.mark.parametrize("during", [text_of("half"), "endpoints: ["])
def test_what_changes_while_it_is_read_is_not_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, during: str
) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a"))
    directory = FileDirectory(path)
    write(path, during)
    read = Path.read_text
    changes = [text_of("b")]

    def read_text(path: Path, **how: str) -> str:
        text = read(path, **how)
        if changes:
            write(path, changes.pop())
        return text

    monkeypatch.setattr(Path, "read_text", read_text)
    assert settled(directory) is None
    assert ids_of(directory) == ["a"]
    assert settled(directory) is directory.snapshot
    assert ids_of(directory) == ["b"]


def test_a_change_that_is_taken_back_is_none(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    path.write_text(text_of("a"))
    os.utime(path, ns=(1, 1))
    directory = FileDirectory(path)
    os.utime(path, ns=(2, 2))
    assert directory.reload_if_changed() is None
    os.utime(path, ns=(1, 1))
    assert settled(directory) is None


def test_a_file_that_goes_away_keeps_the_endpoints_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a"))
    directory = FileDirectory(path)
    path.unlink()
    with pytest.raises(DirectoryError, match="cannot be read"):
        settled(directory)
    assert settled(directory) is None
    assert ids_of(directory) == ["a"]
    write(path, text_of("b"))
    settled(directory)
    assert ids_of(directory) == ["b"]


def test_a_symlink_that_is_pointed_elsewhere_is_a_change(tmp_path: Path) -> None:
    """As Kubernetes updates a mounted ConfigMap: the folder ..data is swapped."""
    for version, name in (("v1", "a"), ("v2", "b")):
        (tmp_path / version).mkdir()
        (tmp_path / version / "endpoints.yaml").write_text(text_of(name))
        os.utime(tmp_path / version / "endpoints.yaml", ns=(1, 1))
    (tmp_path / "..data").symlink_to("v1")
    path = tmp_path / "endpoints.yaml"
    path.symlink_to("..data/endpoints.yaml")
    directory = FileDirectory(path)
    (tmp_path / "..new").symlink_to("v2")
    (tmp_path / "..new").replace(tmp_path / "..data")
    settled(directory)
    assert ids_of(directory) == ["b"]


def test_a_secrets_file_stands_beside_the_endpoint_file_and_is_watched(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    (tmp_path / "secrets").mkdir()
    write(tmp_path / "secrets/acme", f"{KEY1}\n\n")
    write(path, text_of("a", secrets="secrets_file: secrets/acme"))
    directory = FileDirectory(path)
    assert secrets_of(directory) == [Secret.parse(KEY1)]
    write(tmp_path / "secrets/acme", f"  {KEY2}\r\n{KEY1}")
    settled(directory)
    assert secrets_of(directory) == [Secret.parse(KEY2), Secret.parse(KEY1)]
    assert settled(directory) is None


def test_a_secrets_file_that_appears_later_repairs_the_endpoint(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a", "b", secrets="secrets_file: acme"))
    directory = FileDirectory(path)
    assert [problem.field for problem in directory.snapshot.problems] == ["secrets_file"] * 2
    assert directory.is_broken("a")
    assert directory.broken_for("acme", "t") == ("a", "b")
    write(tmp_path / "acme", KEY1)
    settled(directory)
    assert ids_of(directory) == ["a", "b"]


@pytest.mark.parametrize(
    "name", ["folder", "pipe", '"\\u0000"', '"\\ud800"', "empty", "binary", "x" * 300]
)
def test_what_is_no_secrets_file_breaks_that_endpoint_only(tmp_path: Path, name: str) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    path = tmp_path / "endpoints.json"
    file = name if name.startswith('"') else f'"{name}"'
    path.write_text(
        f'{{"endpoints": [{{"id": "a", "customer_id": "acme", "url": "https://a.example",'
        f'"secrets_file": {file}}}]}}'
    )
    directory = FileDirectory(path)
    assert {problem.field for problem in directory.snapshot.problems} == {"secrets_file"}
    assert settled(directory) is None


def test_a_secrets_file_that_may_not_be_reached_breaks_that_endpoint_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = Path.stat

    def refused(path: Path, **options: bool) -> os.stat_result:
        if path.name == "closed":
            raise PermissionError(errno.EACCES, "Permission denied")
        return stat(path, **options)

    monkeypatch.setattr(Path, "stat", refused)
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a", secrets="secrets_file: closed") + text_of("b").split("\n", 1)[1])
    directory = FileDirectory(path)
    (problem,) = directory.snapshot.problems
    assert (problem.field, problem.message) == (
        "secrets_file",
        "cannot be read: Permission denied",
    )
    assert ids_of(directory) == ["b"]


def test_a_path_that_no_file_can_have_says_so() -> None:
    with pytest.raises(DirectoryError, match="is no name of a file"):
        FileDirectory(Path("a\0b"))


async def test_the_watch_survives_a_reload_that_fails_in_an_unforeseen_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a"))
    directory = FileDirectory(path)
    faults = [MemoryError("of a secret"), IndexError("of a secret"), None]

    async def sleep(seconds: float) -> None:
        if not faults:
            raise asyncio.CancelledError

    def reload() -> None:
        fault = faults.pop(0)
        if fault is not None:
            raise fault

    monkeypatch.setattr(directory, "reload_if_changed", reload)
    told: list[Snapshot | DirectoryError] = []
    with pytest.raises(asyncio.CancelledError):
        await directory.watch(told.append, sleep=sleep)
    assert [str(news) for news in told] == [
        f"{path}: cannot be read: MemoryError",
        f"{path}: cannot be read: IndexError",
    ]
    assert ids_of(directory) == ["a"]


async def test_the_watch_tells_of_each_change_and_of_each_failure(tmp_path: Path) -> None:
    path = tmp_path / "endpoints.yaml"
    write(path, text_of("a"))
    directory = FileDirectory(path)
    steps = [
        lambda: None,
        lambda: write(path, text_of("a", "b")),
        lambda: None,
        lambda: write(path, "endpoints: ["),
        lambda: None,
        lambda: None,
        lambda: write(path, text_of("c")),
        lambda: None,
    ]
    waited: list[float] = []

    async def sleep(seconds: float) -> None:
        waited.append(seconds)
        if not steps:
            raise asyncio.CancelledError
        steps.pop(0)()

    told: list[Snapshot | DirectoryError] = []
    with pytest.raises(asyncio.CancelledError):
        await directory.watch(told.append, sleep=sleep)
    assert waited == [1.0] * 9
    assert [type(news) for news in told] == [Snapshot, DirectoryError, Snapshot]
    assert ids_of(directory) == ["c"]
