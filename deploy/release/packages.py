"""The three packages as their files declare them: version, what they need of each other."""

import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Self

from packaging.requirements import Requirement
from packaging.version import Version

NAMES = ("kafka-utils", "app-worker", "webhook-worker")
"""Each needs those before it."""

TELLERS = {
    "kafka-utils": "kafka_utils/__init__.py",
    "app-worker": "app_worker/version.py",
    "webhook-worker": "webhook_worker/__init__.py",
}
"""Where each says its version to whoever runs it, below its ``src``."""

Read = Callable[[str], str]
"""Returns the text of a file, named from the root of the repository."""


@dataclass(frozen=True, slots=True)
class Package:
    """One package of a tree, be it the one at hand or that of a tag."""

    name: str
    version: Version
    siblings: Mapping[str, Requirement]
    """What it needs of the others, by their names."""

    @classmethod
    def read(cls, name: str, text: str) -> Self:
        """From its pyproject.toml."""
        project = tomllib.loads(text)["project"]
        needed = map(Requirement, project["dependencies"])
        siblings = {each.name: each for each in needed if each.name in NAMES}
        return cls(name, Version(project["version"]), siblings)

    def admits(self, sibling: str, version: Version) -> bool:
        """Whether its bounds allow this version of a sibling; True if it does not name it."""
        bound = self.siblings.get(sibling)
        return bound is None or bound.specifier.contains(version, prereleases=True)


def read_packages(read: Read) -> dict[str, Package]:
    """All three, by name."""
    return {name: Package.read(name, read(f"packages/{name}/pyproject.toml")) for name in NAMES}


def problems(packages: Mapping[str, Package], read: Read, locked: Mapping[str, str]) -> list[str]:
    """Return a sentence for each thing that forbids a release; ``locked`` are versions by name."""
    found: list[str] = []
    for name, package in packages.items():
        if locked.get(name) != str(package.version):
            found.append(f"{name} is {package.version}, and the lock has {locked.get(name)}")
        source = read(f"packages/{name}/src/{TELLERS[name]}")
        told = re.findall(r'^__version__ = "(.*)"$', source, re.MULTILINE)
        if told != [str(package.version)]:
            where = f"__version__ in packages/{name}/src is {', '.join(told)}"
            found.append(f"{name} is {package.version}, and {where}")
        headings = re.findall(r"^## (\S+)", read(f"packages/{name}/CHANGELOG.md"), re.MULTILINE)
        if headings[:1] != [str(package.version)]:
            found.append(f"{name}: the changelog does not begin with {package.version}")
        for sibling, bound in package.siblings.items():
            here = packages[sibling].version
            if not package.admits(sibling, here):
                found.append(f"{name} needs {bound}, and {sibling} is {here}")
            elif package.admits(sibling, following := _first_incompatible(here)):
                found.append(f"{name} needs {bound}: {following} may break it and must be excluded")
    return found


def _first_incompatible(version: Version) -> Version:
    # Before 1.0 a minor version may change the API.
    major, minor = version.major, version.minor
    return Version(f"{major + 1}.0") if major else Version(f"0.{minor + 1}")
