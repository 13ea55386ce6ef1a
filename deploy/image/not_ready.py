"""Why a pod is not ready: what each of its workers says, for ``kubectl describe pod``.

The probe asks here only when a pod is not ready: starting Python costs more than all else in it.
"""

import os
import sys
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException

ANSWER_SECONDS = 1.0
LONGEST_REASON = 300
NOT_READY = 1


def main(environ: Mapping[str, str] = os.environ) -> int:
    """Print a line for each worker."""
    first = int(environ["WORKER_METRICS_PORT"])
    for index in range(int(environ["POD_PROCESSES"])):
        print(f"worker-{index}: {reason_of(first + index)}")
    return NOT_READY


def reason_of(port: int) -> str:
    """What the worker at this port says about its readiness, in a line."""
    connection = HTTPConnection("127.0.0.1", port, timeout=ANSWER_SECONDS)
    try:
        connection.request("GET", "/readyz")
        said = connection.getresponse().read(LONGEST_REASON)
    except (OSError, HTTPException) as error:
        return f"port {port} does not answer ({getattr(error, 'strerror', None) or 'no HTTP'})"
    finally:
        connection.close()
    return " ".join(said.decode(errors="replace").split())


if __name__ == "__main__":
    sys.exit(main())
