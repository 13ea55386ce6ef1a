"""What importing the packages costs, beside what they stand on."""

import os
import subprocess
import sys
from importlib.util import find_spec
from statistics import median

DEPENDENCIES = "import aiokafka, prometheus_client"
BEFORE = "import aiokafka, prometheus_client, pydantic_settings"
"""What it stood on once, where it is installed beside: ``uv run --with pydantic-settings``."""
OURS = "import app_worker"
WORKER = "from webhook_worker import cli; cli.parser(); cli.code_of(cli.RUN)"
"""All that `webhook-worker run` loads."""
PROBE = """
import resource, time
began = time.process_time()
{what}
took = time.process_time() - began
pages = int(open("/proc/self/statm").read().split()[1])
print(took, pages * resource.getpagesize() / 1e6)
"""


def imported(what: str, repeat: int) -> tuple[float, float]:
    """Milliseconds of CPU, and resident MB afterwards; medians."""
    # An image has its modules compiled; without this each process compiles ours anew.
    environ = {name: text for name, text in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    words = [sys.executable, "-c", PROBE.replace("{what}", what)]
    figures = []
    for _ in range(repeat + 1):
        done = subprocess.run(words, capture_output=True, text=True, check=True, env=environ)  # noqa: S603
        figures.append([float(word) for word in done.stdout.split()])
    del figures[0]  # It may have compiled something.
    return median(one[0] for one in figures) * 1000, median(one[1] for one in figures)


def measure(repeat: int) -> None:
    """Print the table."""
    rows = {"aiokafka and prometheus-client": DEPENDENCIES}
    if find_spec("pydantic_settings"):
        rows["and pydantic-settings, as it was"] = BEFORE
    rows |= {"app_worker": OURS, "what `webhook-worker run` loads": WORKER}
    floor = 0.0
    print("| imported | ms of CPU | resident MB |\n|---|---|---|")
    for name, what in rows.items():
        took, resident = imported(what, repeat)
        floor = floor or took
        print(f"| {name} | {took:.0f} ({took / floor:.2f}x) | {resident:.1f} |", flush=True)
