"""The errors of this package.

::

    AppWorkerError
    ├── EnvironmentProblems (also a ValueError)   variables are wrong
    └── MetricsPortError                          the port of /metrics cannot be had

Both are found before any connection is made; the process ends with exit code 2.
"""


class AppWorkerError(Exception):
    """Anything that this package raises on purpose: a text for people, without any payload."""


class EnvironmentProblems(AppWorkerError, ValueError):  # noqa: N818 - it is a list of them
    """Variables of the environment are wrong: all of them, one sentence each."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class MetricsPortError(AppWorkerError):
    """The port for /metrics, /livez and /readyz cannot be opened."""
