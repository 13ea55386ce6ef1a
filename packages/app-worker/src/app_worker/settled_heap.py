"""Spares garbage collections what a process has built at its start and keeps for all its life."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def settled_heap() -> Iterator[None]:
    """Within the block, collections pass over all objects that were there before it.

    A full collection looks at each, mostly modules and classes, and the loop stands still for it.
    What has no more references is freed as ever; a cycle of such objects is not, until the block
    ends.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
