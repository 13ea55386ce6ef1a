"""What ``run`` starts from: the settings and the endpoints, checked together."""

from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

from app_worker.errors import EnvironmentProblems
from webhook_worker.directory.file import FileDirectory
from webhook_worker.directory.plugged import load_plugged
from webhook_worker.errors import DirectoryError
from webhook_worker.settings import (
    AllSettings,
    EndpointsTopic,
    PluggedSource,
    endpoints_source,
    load_all,
)

Source: TypeAlias = FileDirectory | EndpointsTopic | PluggedSource
"""A file that has been read, or what is read later."""


def load_for_run(environ: Mapping[str, str]) -> tuple[AllSettings, Source]:
    """The settings, checked, and the endpoints of a file too.

    Raises EnvironmentProblems with every mistake.
    """
    problems: tuple[str, ...] = ()
    settings = None
    try:
        settings = load_all(environ, need_endpoints=True)
    except EnvironmentProblems as error:
        problems = error.problems
    source = endpoints_source(environ)
    directory: Source | None = None
    try:
        if isinstance(source, Path):
            directory = FileDirectory(source)
        else:
            directory = source
            if isinstance(source, PluggedSource):
                load_plugged(source.name)
    except DirectoryError as error:
        problems += (f"WEBHOOK_ENDPOINTS cannot be used: {error}",)
    if settings is None or directory is None or problems:
        raise EnvironmentProblems(problems)
    return settings, directory
