"""A peer in Go: the engine of Redpanda Connect, its last version under a free licence."""

import json
import shutil
import subprocess
from pathlib import Path

SOURCES = ("main.go", "go.mod")
BUILD_SECONDS = 900.0


def build(directory: Path) -> Path | None:
    """Compile it there, within minutes the first time; None where there is no Go.

    Raises subprocess.SubprocessError.
    """
    go = shutil.which("go")
    if go is None:
        return None
    for name in SOURCES:
        shutil.copy(Path(__file__).parent / name, directory)
    for words in (["mod", "tidy"], ["build", "-o", "engine", "."]):
        subprocess.run(  # noqa: S603
            [go, *words], cwd=directory, check=True, capture_output=True, timeout=BUILD_SECONDS
        )
    return directory / "engine"


def configured(
    directory: Path,
    servers: str,
    topic: str,
    group: str,
    port: int,
    in_flight: int,
    host: str | None = None,
) -> Path:
    """Its configuration: each event, as it came, to the host that it names, or to this one."""
    source = {
        "seed_brokers": [servers],
        "topics": [topic],
        "consumer_group": group,
        "start_from_oldest": True,
        "commit_period": "1s",
    }
    sink = {
        "url": f'http://${{! meta("to") }}:{port}/hook',
        "verb": "POST",
        "headers": {"Content-Type": "application/json"},
        "max_in_flight": in_flight,
    }
    to = f'meta to = "{host}"' if host else "meta to = this.customer_id"
    file = directory / f"{group}-{host or 'named'}.json"
    config = {
        "http": {"enabled": False},
        "logger": {"level": "ERROR"},
        "input": {"kafka_franz": source},
        "pipeline": {"processors": [{"mapping": to}]},
        "output": {"http_client": sink},
    }
    file.write_text(json.dumps(config))
    return file
