"""The command line without a process of its own, for what is asked beside a test's subject."""

import io
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout

from webhook_worker.cli import main


def printed(environ: Mapping[str, str], *arguments: str, status: int = 0) -> str:
    """What `webhook-worker` prints with these variables and no others."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        ended = main(arguments, environ)
    assert ended == status, out.getvalue() + err.getvalue()
    return out.getvalue()
