"""What importing the package costs, beside its three dependencies."""

import subprocess
import sys
from statistics import median

DEPENDENCIES = "import aiokafka, prometheus_client; from pydantic import BaseModel"
OURS = "import app_worker"
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
    figures = []
    for _ in range(repeat):
        words = [sys.executable, "-c", PROBE.replace("{what}", what)]
        done = subprocess.run(words, capture_output=True, text=True, check=True)  # noqa: S603
        figures.append([float(word) for word in done.stdout.split()])
    return median(one[0] for one in figures) * 1000, median(one[1] for one in figures)


def measure(repeat: int) -> None:
    """Print the table."""
    theirs, ours = imported(DEPENDENCIES, repeat), imported(OURS, repeat)
    print("| imported | ms of CPU | resident MB |\n|---|---|---|")
    print(f"| its three dependencies | {theirs[0]:.0f} | {theirs[1]:.1f} |")
    print(f"| app_worker | {ours[0]:.0f} ({ours[0] / theirs[0]:.2f}x) | {ours[1]:.1f} |")
