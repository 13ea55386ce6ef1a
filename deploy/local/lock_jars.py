"""Resolve one Kafka version with Maven and print its pinned jars, ready for `jars.lock`.

Run it when a version is added: `python -m deploy.local.lock_jars 4.1.0 >> deploy/local/jars.lock`,
and once more with `--tools` for what Kafka's own test clients need beside the brokers' jars.
Needs `mvn`. Whoever adds the lines is who decides to trust these files.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

Artifact = tuple[str, str, str]

# Kafka brings no log backend that works by itself: without one a broker fails in silence.
LOG_BACKEND = ("org.slf4j", "slf4j-simple", "1.7.36")


def broker(version: str) -> tuple[Artifact, ...]:
    """A Kafka server and its log backend."""
    return ("org.apache.kafka", "kafka_2.13", version), LOG_BACKEND


def tools(version: str) -> tuple[Artifact, ...]:
    """Kafka's own test clients. A server's jars have all that these need."""
    return (("org.apache.kafka", "kafka-tools", version),)


def project(wanted: Iterable[Artifact]) -> str:
    """A Maven project that depends on these artifacts."""
    dependencies = "".join(
        f"<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId>"
        f"<version>{release}</version></dependency>"
        for group, artifact, release in wanted
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>local</groupId>"
        "<artifactId>jars</artifactId><version>1</version>"
        f"<dependencies>{dependencies}</dependencies></project>"
    )


def lock_lines(heading: str, wanted: Iterable[Artifact], *, transitive: bool) -> list[str]:
    """A table of the lock: its heading and one line for each jar, sorted.

    ``transitive`` adds what the artifacts depend on.
    """
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pom.xml").write_text(project(wanted))
        subprocess.run(
            [
                *("mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", "-DoutputDirectory=jars"),
                "-Dmdep.useRepositoryLayout=true",
                *([] if transitive else ["-DexcludeTransitive=true"]),
            ],
            cwd=directory,
            check=True,
            stdout=sys.stderr,
        )
        return [
            heading,
            *sorted(_line(directory / "jars", jar) for jar in _jars(directory)),
        ]


def _jars(directory: Path) -> list[Path]:
    return list((directory / "jars").rglob("*.jar"))


def _line(root: Path, jar: Path) -> str:
    *group, artifact, release = jar.parent.relative_to(root).parts
    digest = hashlib.sha256(jar.read_bytes()).hexdigest()
    return f'"{".".join(group)}:{artifact}:{release}" = "{digest}"'


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("version", help="a version of org.apache.kafka:kafka_2.13")
    parser.add_argument("--tools", action="store_true", help="its test clients, not the server")
    options = parser.parse_args()
    if options.tools:
        table = f'[tools."{options.version}"]'
        lines = lock_lines(table, tools(options.version), transitive=False)
    else:
        lines = lock_lines(f'["{options.version}"]', broker(options.version), transitive=True)
    print("\n".join(lines))
