"""`make release-check`: whether each package may be released; its wheels and SBOM go to dist/."""

import os
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from deploy.release.packages import NAMES, Package, problems, read_packages
from deploy.release.pairs import Pair, Release, pairs, releases
from deploy.release.wheels import (
    ROOT,
    UV,
    WHOLE,
    CommandError,
    build,
    checked_out,
    environment,
    export_locked,
    run,
    run_tests,
)

DIST = ROOT / "dist"
SBOM = "cyclonedx1.5"


def read(path: str) -> str:
    """A file of the tree at hand."""
    return (ROOT / path).read_text()


def read_at(tag: str, path: str) -> str:
    """A file as a tag has it."""
    return run("git", "show", f"{tag}:{path}", cwd=ROOT)


def locked_versions() -> dict[str, str]:
    """Of all that the lock has, by name."""
    return {
        each["name"]: each.get("version", "") for each in tomllib.loads(read("uv.lock"))["package"]
    }


def write_dist() -> dict[str, Path]:
    """Write a wheel, a source distribution and an SBOM of each package; return the wheels."""
    shutil.rmtree(DIST, ignore_errors=True)
    run(UV, "build", "--quiet", "--all-packages", "--out-dir", DIST, cwd=ROOT)
    wheels = {name: next(DIST.glob(f"{name.replace('-', '_')}-*.whl")) for name in NAMES}
    for name, wheel in wheels.items():
        told = run(
            UV, "export", "--quiet", "--frozen", "--no-dev", "--package", name, "--format", SBOM,
            cwd=ROOT,
        )  # fmt: skip
        version = wheel.name.split("-")[1]
        (DIST / f"{name}-{version}.cdx.json").write_text(told)
    return wheels


def chosen_pairs(now: dict[str, Package]) -> list[Pair]:
    """What is to be tried of the releases that the repository has tags of."""
    known = releases(run("git", "tag", "--list", cwd=ROOT).split())
    then = {
        each: Package.read(each.name, read_at(each.tag, f"packages/{each.name}/pyproject.toml"))
        for each in known
    }
    return pairs(now, known, then)


def try_pair(pair: Pair, wheels: dict[str, Path]) -> None:
    """Run the tests of the one above in an environment with the one below; raise CommandError."""
    with tempfile.TemporaryDirectory(prefix="release-") as name:
        directory = Path(name)
        sources = {each: ROOT / "packages" / each for each in NAMES}
        built = dict(wheels)
        for side in (pair.above, pair.below):
            if isinstance(side, Release):
                sources[side.name] = checked_out(side.tag, side.name, directory)
                built[side.name] = build(sources[side.name], directory / f"dist-{side.name}")
        above = pair.above.name if isinstance(pair.above, Release) else pair.above
        needed = [built[each] for each in NAMES[: NAMES.index(above) + 1]]
        locked = export_locked(directory / "constraints.txt")
        python = environment(directory / "venv", needed, locked)
        run_tests(python, sources[above], locked, directory / "alone")


def main() -> int:
    """Check everything, and tell it step by step; 0 if all may be released."""
    run(UV, "lock", "--check", "--quiet", cwd=ROOT)
    now = read_packages(read)
    found = problems(now, read, locked_versions())
    print(*found, sep="\n", file=sys.stderr)
    if found:
        return 1
    print("versions, bounds, changelogs and the lock agree")
    wheels = write_dist()
    print(f"dist/: {', '.join(sorted(file.name for file in DIST.glob('[!.]*')))}")
    chosen = chosen_pairs(now)
    if not chosen:
        print("no released version is within the bounds of another package: nothing to be tried")
    for pair in chosen:
        try_pair(pair, wheels)
        print(f"{pair}: the tests of the first one pass")
    return subprocess.run(
        (sys.executable, "-m", "pytest", "-q", "tests/released"),
        cwd=ROOT,
        env={**os.environ, WHOLE: "1"},
        check=False,
    ).returncode


if __name__ == "__main__":
    try:
        sys.exit(main())
    except CommandError as error:
        sys.exit(str(error))
