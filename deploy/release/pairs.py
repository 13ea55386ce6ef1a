"""Which released package is tried with which one of the tree at hand."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from packaging.version import Version

from deploy.release.packages import NAMES, Package

_TAG = re.compile(rf"({'|'.join(NAMES)})-v(.+)")


@dataclass(frozen=True, slots=True)
class Release:
    """A package as it was tagged."""

    name: str
    version: Version

    @property
    def tag(self) -> str:
        """Its name in the repository."""
        return f"{self.name}-v{self.version}"


@dataclass(frozen=True, slots=True)
class Pair:
    """A package whose tests are run, and one below it; at least one of them is a release."""

    above: Release | str
    """Whose tests are run; a name stands for the package at hand."""
    below: Release | str

    def __str__(self) -> str:
        above, below = (_shown(each) for each in (self.above, self.below))
        return f"{above} with {below}"


def releases(tags: Iterable[str]) -> list[Release]:
    """The releases among all tags, from the oldest to the newest."""
    found = filter(None, map(_TAG.fullmatch, tags))
    return sorted(
        (Release(match[1], Version(match[2])) for match in found),
        key=lambda release: (release.name, release.version),
    )


def pairs(
    now: Mapping[str, Package], released: Iterable[Release], then: Mapping[Release, Package]
) -> list[Pair]:
    """Return what is to be tried; ``then`` are the packages as their tags have them.

    For each package and one that it needs: with the lowest release of it that the bounds allow;
    and its own latest release with the one at hand, if the bounds of then allow that.
    """
    chosen: list[Pair] = []
    known = list(released)
    for name, package in now.items():
        own = [each for each in known if each.name == name and each.version < package.version]
        for sibling in package.siblings:
            allowed = [
                each
                for each in known
                if each.name == sibling
                and each.version < now[sibling].version
                and package.admits(sibling, each.version)
            ]
            chosen += [Pair(name, lowest) for lowest in allowed[:1]]
            chosen += [
                Pair(latest, sibling)
                for latest in own[-1:]
                if then[latest].admits(sibling, now[sibling].version)
            ]
    return chosen


def _shown(each: Release | str) -> str:
    return f"{each} at hand" if isinstance(each, str) else f"{each.name} {each.version}"
