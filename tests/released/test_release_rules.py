"""What forbids a release, and which releases are tried with what is at hand."""

from collections.abc import Callable
from pathlib import Path

import pytest
from packaging.version import Version

from deploy.release.packages import NAMES, Package, problems, read_packages
from deploy.release.pairs import Pair, Release, pairs, releases
from deploy.release.wheels import ROOT, build, checked_out

Read = Callable[[str], str]
BOUNDS = {
    "kafka-utils": "",
    "app-worker": "kafka-utils>=0.2,<0.3",
    "webhook-worker": "app-worker>=0.2,<0.3",
}


def project(name: str, version: str, *needs: str) -> str:
    return f'[project]\nname = "{name}"\nversion = "{version}"\ndependencies = {list(needs)!r}\n'


def package(name: str, version: str, *needs: str) -> Package:
    return Package.read(name, project(name, version, *needs))


def tree(bounds: dict[str, str], changelog: str = "0.2.0", told: str = "0.2.0") -> Read:
    def read(path: str) -> str:
        name = Path(path).parts[1]
        if path.endswith(".py"):
            return f'"""What it is."""\n\n__version__ = "{told}"\n'
        if path.endswith("CHANGELOG.md"):
            return f"# Changelog\n\n## {changelog}\n\n- News.\n\n## 0.1.0\n"
        return project(name, "0.2.0", *filter(None, [bounds[name]]), "other>=1")

    return read


def found(
    bounds: dict[str, str], changelog: str = "0.2.0", locked: str = "0.2.0", told: str = "0.2.0"
) -> list[str]:
    read = tree(bounds, changelog, told)
    return problems(read_packages(read), read, dict.fromkeys(NAMES, locked))


def test_a_tree_in_which_all_agrees_may_be_released() -> None:
    assert found(BOUNDS) == []


@pytest.mark.parametrize(
    ("bound", "complaint"),
    [
        ("kafka-utils>=0.3,<0.4", "and kafka-utils is 0.2.0"),
        ("kafka-utils>=0.1,<0.2", "and kafka-utils is 0.2.0"),
        ("kafka-utils>=0.2", "0.3 may break it"),
        ("kafka-utils>=0.2,<1", "0.3 may break it"),
        ("kafka-utils", "0.3 may break it"),
    ],
)
def test_a_bound_admits_what_is_at_hand_and_nothing_that_may_break(
    bound: str, complaint: str
) -> None:
    (sentence,) = found(BOUNDS | {"app-worker": bound})
    assert sentence.startswith("app-worker needs kafka-utils")
    assert complaint in sentence


def test_whatever_knows_another_version_is_told_for_each_package() -> None:
    assert found(BOUNDS, told="0.1.0") == [
        f"{name} is 0.2.0, and __version__ in packages/{name}/src is 0.1.0" for name in NAMES
    ]
    assert len(found(BOUNDS, changelog="0.1.0")) == len(NAMES)
    assert len(found(BOUNDS, locked="0.1.0")) == len(NAMES)


def test_the_tree_at_hand_has_one_version_in_files_changelogs_and_bounds() -> None:
    def read(path: str) -> str:
        return (ROOT / path).read_text()

    packages = read_packages(read)
    locked = {name: str(each.version) for name, each in packages.items()}
    assert problems(packages, read, locked) == []


def test_releases_are_the_tags_of_packages_in_the_order_of_their_versions() -> None:
    tags = ["kafka-utils-v0.10.0", "kafka-utils-v0.9.0", "v1", "other-v1.0", "app-worker-v0.1.0"]
    assert [each.tag for each in releases(tags)] == [
        "app-worker-v0.1.0",
        "kafka-utils-v0.9.0",
        "kafka-utils-v0.10.0",
    ]


NOW = {
    "kafka-utils": package("kafka-utils", "0.2.2"),
    "app-worker": package("app-worker", "0.2.1", "kafka-utils>=0.2.1,<0.3"),
}


def release(name: str, version: str) -> Release:
    return Release(name, Version(version))


def test_the_lowest_release_that_bounds_allow_and_the_latest_one_above_are_tried() -> None:
    below = [release("kafka-utils", each) for each in ("0.1.0", "0.2.0", "0.2.1", "0.2.2")]
    old, latest, same = (release("app-worker", each) for each in ("0.1.0", "0.2.0", "0.2.1"))
    then = {
        latest: package("app-worker", "0.2.0", "kafka-utils>=0.2,<0.3"),
        old: package("app-worker", "0.1.0", "kafka-utils>=0.1,<0.2"),
        same: NOW["app-worker"],
    }
    assert pairs(NOW, [*below, old, latest, same], then) == [
        Pair("app-worker", below[2]),
        Pair(latest, "kafka-utils"),
    ]


def test_what_bounds_exclude_is_not_tried() -> None:
    below, above = release("kafka-utils", "0.1.0"), release("app-worker", "0.1.0")
    then = {above: package("app-worker", "0.1.0", "kafka-utils>=0.1,<0.2")}
    assert pairs(NOW, [below, above], then) == []


def test_a_package_is_built_as_a_commit_has_it(tmp_path: Path) -> None:
    sources = checked_out("HEAD", "kafka-utils", tmp_path)
    version = Package.read("kafka-utils", (sources / "pyproject.toml").read_text()).version
    assert build(sources, tmp_path / "dist").name.startswith(f"kafka_utils-{version}-")
