"""Compiles a Java peer, where there is a JDK, against the client's jars that the brokers use."""

import os
import shutil
import subprocess
from pathlib import Path

from deploy.local.errors import BrokersUnavailable
from deploy.local.jars import MAVEN_CENTRAL, cache_directory, ensure, locked_jars
from deploy.local.java import java_executable

VERSION = "4.1.0"
"""Of the client; it talks to brokers from 2.1 on."""
NEEDED = ("kafka-clients", "slf4j-api", "slf4j-simple", "lz4-java", "snappy-java", "zstd-jni")
SOURCE = Path(__file__).parent / "members" / "Member.java"

# Small: 25 of these run beside three brokers.
FLAGS = (
    "-Xms32m",
    "-Xmx128m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=32m",
    "-Xss512k",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
)


def compiled(directory: Path, source: Path = SOURCE) -> list[str | Path] | None:
    """The command of the class in this file, compiled into this directory; None without a compiler.

    Raises BrokersUnavailable if the jars cannot be had, CalledProcessError for a faulty source.
    """
    java = _java_with_compiler()
    if java is None:
        return None
    class_path = _class_path()
    classes = directory / "classes"
    if not classes.exists():
        compiler = [
            str(java),
            "-m",
            "jdk.compiler/com.sun.tools.javac.Main",
            "-Xlint:all",
            "-Werror",
        ]
        where = ["-cp", class_path, "-d", str(classes), str(source)]
        subprocess.run([*compiler, *where], check=True)  # noqa: S603 - the machine's own compiler
    return [java, *FLAGS, "-cp", f"{class_path}{os.pathsep}{classes}", source.stem]


def _java_with_compiler() -> Path | None:
    for found in (_configured(), shutil.which("java")):
        if found is None:
            continue
        words = [str(found), "--list-modules"]
        modules = subprocess.run(words, capture_output=True, text=True, check=False)  # noqa: S603
        if "jdk.compiler@" in modules.stdout:
            return Path(found)
    return None


def _configured() -> Path | None:
    try:
        return java_executable()
    except BrokersUnavailable:
        return None


def _class_path() -> str:
    directory = cache_directory(VERSION)
    directory.mkdir(parents=True, exist_ok=True)
    repository = os.environ.get("MAVEN_REPOSITORY") or MAVEN_CENTRAL
    jars = [jar for jar in locked_jars(VERSION) if jar.artifact in NEEDED]
    return os.pathsep.join(
        str(ensure(jar, directory=directory, repository=repository)) for jar in jars
    )
