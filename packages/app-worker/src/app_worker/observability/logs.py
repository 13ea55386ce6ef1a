"""Logs: one JSON object a line on standard error, of bounded length, without payloads."""

import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Collection, Iterable
from datetime import UTC, datetime
from pathlib import Path
from types import CodeType
from typing import TextIO

LONGEST_LINE = 4_096
"""Bytes, the line's end included: what a pipe takes in one piece, so that processes do not mix."""

LIBRARIES = ("aiokafka",)
"""Loggers of libraries that repeat themselves, by the hundred while a cluster starts."""

REPEAT_SECONDS = 5.0
FORGET_SECONDS = 600.0
MOST_FRAMES = 12

_STANDARD = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_FIELD_LENGTHS = (2_000, 400, 80)


class JsonFormatter(logging.Formatter):
    """Formats a log record as one line of JSON, less than LONGEST_LINE bytes with its end.

    Fields: ``ts`` (RFC 3339, UTC, milliseconds), ``level``, ``worker`` (the process's index, if
    given), ``logger``, ``msg``, then whatever was given as ``extra``. An exception becomes
    ``error`` and ``frames``: where it was raised. Its own text can hold a customer's data, so it is
    only shown for the types in ``spoken``.
    """

    def __init__(
        self, spoken: tuple[type[BaseException], ...] = (), worker: int | None = None
    ) -> None:
        super().__init__()
        self._spoken = spoken
        self._worker = {} if worker is None else {"worker": worker}

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        fields: dict[str, object] = {
            "ts": _timestamp(record.created),
            "level": record.levelname.lower(),
            **self._worker,
            "logger": record.name,
            "msg": record.getMessage(),
        }
        fields |= {name: v for name, v in record.__dict__.items() if name not in _STANDARD}
        if record.exc_info and record.exc_info[1]:
            error = record.exc_info[1]
            fields["error"] = error_text(error, self._spoken)
            fields["frames"] = " < ".join(frames(error))
        for length in _FIELD_LENGTHS:
            line = json.dumps({name: _cut(value, length) for name, value in fields.items()})
            if len(line) < LONGEST_LINE - 1:
                return line
        kept = ("ts", "level", "logger", "msg")
        return json.dumps({name: _cut(fields[name], length) for name in kept} | {"cut": True})


class RepeatFilter(logging.Filter):
    """Lets one message of a library through in a while, and tells how many were held back.

    Messages are the same if logger, level and text are; of warnings and errors only the format
    string counts, since they come in crowds that differ in a broker's name. ``suppressed`` on the
    next one that passes says how many did not.
    """

    def __init__(
        self,
        loggers: Iterable[str] = LIBRARIES,
        seconds: float = REPEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._loggers = frozenset(loggers)
        self._seconds = seconds
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record passes."""
        if record.name.split(".", 1)[0] not in self._loggers:
            return True
        now = self._clock()
        bad = record.levelno >= logging.WARNING
        key = (record.name, record.levelno, str(record.msg) if bad else record.getMessage())
        until, suppressed = self._seen.get(key, (now, 0))
        if now < until:
            self._seen[key] = (until, suppressed + 1)
            return False
        self._forget(now)
        self._seen[key] = (now + self._seconds, 0)
        if suppressed:
            record.suppressed = suppressed
        return True

    def _forget(self, now: float) -> None:
        """Drop what has been silent for long, so that the memory stays bounded."""
        self._seen = {
            key: entry for key, entry in self._seen.items() if now < entry[0] + FORGET_SECONDS
        }


def configure_logging(
    level: str = "info",
    *,
    spoken: tuple[type[BaseException], ...] = (),
    quiet: Collection[str] = (),
    worker: int | None = None,
    stream: TextIO | None = None,
) -> None:
    """Send all logging and all warnings of this process to ``stream`` (standard error) as JSON.

    ``spoken``: exception types whose text may be shown. ``quiet``: loggers that speak only to warn.
    ``worker``: the index of this process, for every line.
    Libraries never log below ``info``: at ``debug`` aiokafka writes records and passwords.
    """
    handler = logging.StreamHandler(sys.stderr if stream is None else stream)
    handler.setFormatter(JsonFormatter(spoken, worker))
    handler.addFilter(RepeatFilter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in LIBRARIES:
        logging.getLogger(name).setLevel(max(root.level, logging.INFO))
    for name in quiet:
        logging.getLogger(name).setLevel(max(root.level, logging.WARNING))
    logging.captureWarnings(True)


def error_text(error: BaseException, spoken: tuple[type[BaseException], ...] = ()) -> str:
    """The type of an exception and of its causes, with the text of those in ``spoken``."""
    name = type(error).__name__
    if isinstance(error, BaseExceptionGroup):
        return f"{name} of " + ", ".join(error_text(part, spoken) for part in error.exceptions)
    text = f"{name}: {error}" if isinstance(error, spoken) and str(error) else name
    cause = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    return text if cause is None else f"{text}, after {error_text(cause, spoken)}"


def frames(error: BaseException) -> tuple[str, ...]:
    """Where an exception was raised: ``package/module.py:12 function``, the innermost first."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    innermost = list(traceback.walk_tb(error.__traceback__))[::-1][:MOST_FRAMES]
    return tuple(place_of(frame.f_code, line) for frame, line in innermost)


def place_of(code: CodeType, line: int) -> str:
    """A place in the code, short enough for a log."""
    return f"{'/'.join(Path(code.co_filename).parts[-2:])}:{line} {code.co_name}"


def _timestamp(seconds: float) -> str:
    text = datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")


def _cut(value: object, length: int) -> object:
    if value is None or (isinstance(value, int | float) and math.isfinite(value)):
        return value
    text = str(value)
    return text if len(text) <= length else text[:length] + "..."
