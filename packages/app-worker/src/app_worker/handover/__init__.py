"""Decides how a partition moves at once, with what is in flight finished by its former owner.

Nothing here reads a clock, draws at random, or sends anything: moments, nonces and answers are
arguments. DESIGN.md says what the parts are, and what holds at every moment.
"""

from app_worker.handover.inherited import Inherited
from app_worker.handover.release import Release
from app_worker.handover.snapshot import Said, say
from app_worker.handover.standing import (
    Answer,
    Happened,
    Standing,
    Step,
    after,
    after_commit,
    after_reading_back,
    cancelled_by_loss,
    may_commit,
    may_start,
)
from app_worker.handover.words import Kind, UnusableWordError, Word, read_word, write_word

__all__ = [
    "Answer",
    "Happened",
    "Inherited",
    "Kind",
    "Release",
    "Said",
    "Standing",
    "Step",
    "UnusableWordError",
    "Word",
    "after",
    "after_commit",
    "after_reading_back",
    "cancelled_by_loss",
    "may_commit",
    "may_start",
    "read_word",
    "say",
    "write_word",
]
