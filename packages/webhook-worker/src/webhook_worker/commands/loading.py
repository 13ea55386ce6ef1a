"""What ``run`` starts from: the settings and the endpoints, checked together."""

from collections.abc import Mapping
from pathlib import Path

from app_worker.errors import EnvironmentProblems
from webhook_worker.directory.file import FileDirectory
from webhook_worker.errors import DirectoryError
from webhook_worker.settings import AllSettings, EndpointsTopic, endpoints_source, load_all


def load_for_run(environ: Mapping[str, str]) -> tuple[AllSettings, FileDirectory | EndpointsTopic]:
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
    directory: FileDirectory | EndpointsTopic | None
    directory = source if isinstance(source, EndpointsTopic) else None
    if isinstance(source, Path):
        try:
            directory = FileDirectory(source)
        except DirectoryError as error:
            problems += (f"WEBHOOK_ENDPOINTS cannot be used: {error}",)
    if settings is None or directory is None or problems:
        raise EnvironmentProblems(problems)
    return settings, directory
