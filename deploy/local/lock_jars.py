"""Resolve one Kafka version with Maven and print its pinned jars, ready for `jars.lock`.

Run it when a version is added: `python -m deploy.local.lock_jars 4.1.0 >> deploy/local/jars.lock`.
Needs `mvn`. Whoever adds the lines is who decides to trust these files.
"""

import argparse
import hashlib
import subprocess
import sys
import tempfile
from pathlib import Path

# Kafka brings no log backend that works by itself: without one a broker fails in silence.
LOG_BACKEND = ("org.slf4j", "slf4j-simple", "1.7.36")


def project(version: str) -> str:
    """A Maven project that depends on a Kafka server of that version and on a log backend."""
    wanted = (("org.apache.kafka", "kafka_2.13", version), LOG_BACKEND)
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


def lock_lines(version: str) -> list[str]:
    """The lock's table for that version: a heading and one line for each jar, sorted."""
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "pom.xml").write_text(project(version))
        subprocess.run(
            [
                *("mvn", "--batch-mode", "--quiet", "dependency:copy-dependencies"),
                *("-DincludeScope=runtime", "-DoutputDirectory=jars"),
                "-Dmdep.useRepositoryLayout=true",
            ],
            cwd=directory,
            check=True,
            stdout=sys.stderr,
        )
        return [
            f'["{version}"]',
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
    print("\n".join(lock_lines(parser.parse_args().version)))
