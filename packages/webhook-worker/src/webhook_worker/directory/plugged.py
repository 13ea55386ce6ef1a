"""Sources of endpoints that other packages bring, by entry points."""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

from webhook_worker.directory import Directory
from webhook_worker.errors import DirectoryError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoints

GROUP = "webhook_worker.directories"


class OpenDirectory(Protocol):
    """What such an entry point names."""

    def __call__(self, location: str, /) -> AbstractAsyncContextManager[Directory]:
        """The endpoints at ``location``, which within the block are kept up to date.

        Entering it waits until they are known. What cannot be read raises DirectoryError, whose
        text is logged: no secret may be in it.
        """
        ...


def entry_points(*, group: str, name: str | None = None) -> "EntryPoints":
    """Those of what is installed. Reading them takes memory that who has a file need not have."""
    from importlib import metadata

    found = metadata.entry_points(group=group)
    return found if name is None else found.select(name=name)


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
