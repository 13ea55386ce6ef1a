"""Sources of endpoints that other packages bring, by entry points."""

from contextlib import AbstractAsyncContextManager
from importlib.metadata import entry_points
from typing import Protocol

from webhook_worker.directory import Directory
from webhook_worker.errors import DirectoryError

GROUP = "webhook_worker.directories"


class OpenDirectory(Protocol):
    """What such an entry point names."""

    def __call__(self, location: str, /) -> AbstractAsyncContextManager[Directory]:
        """The endpoints at ``location``, which within the block are kept up to date.

        Entering it waits until they are known. What cannot be read raises DirectoryError, whose
        text is logged: no secret may be in it.
        """
        ...


def plugged_names() -> tuple[str, ...]:
    """The names of the installed sources, in order."""
    return tuple(sorted({each.name for each in entry_points(group=GROUP)}))


def load_plugged(name: str) -> OpenDirectory:
    """The source of that name. Raises DirectoryError if its package cannot be imported."""
    (found, *_) = entry_points(group=GROUP, name=name)
    try:
        opened: OpenDirectory = found.load()
    except (ImportError, AttributeError) as error:
        said = f"cannot be imported from {found.value}: {error}"
        raise DirectoryError(name, said) from None
    return opened
