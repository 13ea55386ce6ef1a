"""Whether the process is ready: joined its groups once, and not stopping."""

import asyncio
import logging
from pathlib import Path

TOUCH_SECONDS = 5.0

_log = logging.getLogger(__name__)


class Readiness:
    """Not ready, with a reason, until told so; never ready again once it is stopping.

    A rebalance does not change it, so that one rebalance cannot stop the rollout of a whole fleet.
    """

    def __init__(self, reason: str = "starting") -> None:
        self._reason: str | None = reason
        self._stopping = False
        self._changed = asyncio.Event()

    @property
    def reason(self) -> str | None:
        """Why the process is not ready, in a line; None if it is ready."""
        return self._reason

    def not_yet(self, reason: str) -> None:
        """Tell what the start waits for."""
        self._set(reason)

    def ready(self) -> None:
        """All groups have been joined."""
        self._set(None)

    def stopping(self) -> None:
        """The process ends: never ready again."""
        self._set("stopping")
        self._stopping = True

    def _set(self, reason: str | None) -> None:
        if not self._stopping and reason != self._reason:
            self._reason = reason
            self._changed.set()

    async def keep_file(self, path: Path) -> None:
        """Touch ``path`` every 5 s while ready and remove it otherwise, until cancelled.

        A probe counts fresh files only, so one that a killed process left behind means nothing.
        """
        try:
            while True:
                self._changed.clear()
                _show(path, ready=self._reason is None)
                try:
                    await asyncio.wait_for(self._changed.wait(), TOUCH_SECONDS)
                except TimeoutError:
                    continue
        finally:
            _show(path, ready=False)


def _show(path: Path, *, ready: bool) -> None:
    try:
        if ready:
            path.touch()
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        _log.error(
            "the readiness file cannot be kept", extra={"path": path, "error": error.strerror}
        )
