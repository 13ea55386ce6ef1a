"""What ``run`` starts from: the settings and the endpoints, checked together."""

from collections.abc import Mapping

from app_worker.errors import EnvironmentProblems
from webhook_worker.directory.file import FileDirectory
from webhook_worker.errors import DirectoryError
from webhook_worker.settings import AllSettings, endpoints_path, load_all


def load_for_run(environ: Mapping[str, str]) -> tuple[AllSettings, FileDirectory]:
    """The settings and the endpoints, checked. Raises EnvironmentProblems with every mistake."""
    problems: tuple[str, ...] = ()
    settings = None
    try:
        settings = load_all(environ, need_endpoints=True)
    except EnvironmentProblems as error:
        problems = error.problems
    path = endpoints_path(environ)
    directory = None
    if path is not None:
        try:
            directory = FileDirectory(path)
        except DirectoryError as error:
            problems += (f"WEBHOOK_ENDPOINTS cannot be used: {error}",)
    if settings is None or directory is None or problems:
        raise EnvironmentProblems(problems)
    return settings, directory
