"""``webhook-worker endpoints check FILE``: what is wrong in a file of endpoints, line by line."""

import argparse
import sys
from collections.abc import Mapping

from webhook_worker.commands.exit_codes import FAILED, OK
from webhook_worker.directory.file import FileDirectory
from webhook_worker.endpoint_report import count_endpoints, not_in_order
from webhook_worker.errors import DirectoryError


def check(arguments: argparse.Namespace, environ: Mapping[str, str]) -> int:
    """Print every problem of the file and a summary; FAILED if there is any."""
    file = arguments.file
    try:
        snapshot = FileDirectory(file).snapshot
    except DirectoryError as error:
        where = file if error.line is None else f"{file}:{error.line}"
        print(f"{where}: {error.message}")
        return FAILED
    for problem in snapshot.problems:
        where = file if problem.line is None else f"{file}:{problem.line}"
        subject = problem.field or "the entry"
        print(f"{where}: {subject}: {problem.message}")
    counts = count_endpoints(snapshot)
    print(", ".join(f"{count} {state}" for state, count in counts.items()))
    warning = not_in_order(snapshot, in_order=bool(environ.get("WEBHOOK_ORDERED_TOPIC")))
    if warning:
        print(warning, file=sys.stderr)
    return FAILED if snapshot.problems else OK
