"""The rules of the protocol, each with what it takes out of the functions that decide."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

import pytest
from aiokafka import TopicPartition

from app_worker.handover import inherited, release, snapshot, standing
from app_worker.handover.inherited import Inherited
from app_worker.handover.release import Obligation, Owed, Release
from app_worker.handover.snapshot import Said
from app_worker.handover.standing import Answer, Happened, Standing, Step
from app_worker.handover.words import Word
from app_worker.holds import Holds
from handover_model.worker_model import Worker

Patch = pytest.MonkeyPatch


def a_stale_map_is_sent_again(patch: Patch) -> None:
    """[M] On a retriable error a fresh snapshot is taken."""
    say, first = snapshot.say, dict[tuple[Release, TopicPartition], Said]()

    def stale(
        place: bytes,
        here: TopicPartition,
        committable: int,
        done: Any,
        kept: Inherited,
        given: Release | None,
        now: float,
    ) -> Said:
        said = say(place, here, committable, done, kept, given, now)
        return said if given is None else first.setdefault((given, here), said)

    patch.setattr(snapshot, "say", stale)


def each_map_has_a_nonce_of_its_own(patch: Patch) -> None:
    """[M] ... with the same nonce."""
    holds, sent = Release.holds, dict[Release, int]()

    def renamed(self: Release, here: TopicPartition, now: float) -> tuple[Holds, ...]:
        sent[self] = sent.get(self, -1) + 1
        return tuple(
            replace(each, nonce=(each.nonce + sent[self]) % 2**64)
            for each in holds(self, here, now)
        )

    patch.setattr(Release, "holds", renamed)


def an_unknown_fate_is_taken_for_success(patch: Patch) -> None:
    """[M] Fate unknown: the map is read back before the partition is released."""
    decide = standing.after_commit

    def trusting(answer: Answer, *, in_time: bool) -> Step:
        return Step.RELEASE if answer is Answer.UNKNOWN else decide(answer, in_time=in_time)

    patch.setattr(standing, "after_commit", trusting)


def a_loss_cancels_what_was_handed_over(patch: Patch) -> None:
    """[M] Revoke, lost and epochs do not touch obligations once the map is sent."""
    patch.setattr(standing, "cancelled_by_loss", lambda _: True)


def inherited_holds_are_not_handed_on(patch: Patch) -> None:
    """[M] Every commit carries the open holds ..."""
    patch.setattr(Inherited, "handed_on", lambda _, now: ())


def inherited_holds_get_another_nonce(patch: Patch) -> None:
    """[M] ... with their original nonce ..."""
    handed_on = Inherited.handed_on

    def renamed(self: Inherited, now: float) -> tuple[Holds, ...]:
        return tuple(replace(each, nonce=each.nonce ^ 1) for each in handed_on(self, now))

    patch.setattr(Inherited, "handed_on", renamed)


def inherited_holds_get_a_later_place_of_words(patch: Patch) -> None:
    """[M] ... and ``from``."""
    handed_on = Inherited.handed_on

    def moved(self: Inherited, now: float) -> tuple[Holds, ...]:
        return tuple(replace(each, words_from=each.words_from + 1) for each in handed_on(self, now))

    patch.setattr(Inherited, "handed_on", moved)


def what_is_revoked_while_loading_is_committed(patch: Patch) -> None:
    """[M] Revoked while LOADING: release, commit nothing."""
    after = standing.after

    def hasty(now: Standing, happened: Happened) -> Standing:
        if (now, happened) == (Standing.LOADING, Happened.REVOKED):
            return Standing.ACTIVE
        return after(now, happened)

    patch.setattr(standing, "after", hasty)


def clocks_are_compared(patch: Patch) -> None:
    """[M] r is a duration, counted by the new owner on its own clock."""
    for module in (release, inherited):
        patch.setattr(module, "seconds_left", lambda until, now: until % 500.0)
    patch.setattr(inherited, "opens_at", lambda asked_at, seconds: asked_at // 500 * 500 + seconds)


def a_process_has_one_nonce(patch: Patch) -> None:
    """[M] A nonce per release, not per process."""
    patch.setattr(Worker, "draw_nonce", lambda self: ord(self.name))


def words_are_written_before_outcomes_are_stored(patch: Patch) -> None:
    """[M] Words only after every delivery of the record has a stored outcome."""
    patch.setattr(release, "_told_of", lambda owed: tuple(_open(owed)))


def what_is_held_and_runs_no_more_counts_as_done(patch: Patch) -> None:
    """[M] Done comes only from a recorded outcome, never from held - running."""
    give_up = Worker.tick

    def tick(self: Worker) -> None:
        before = [(a.lane, a.offset) for a in self.attempts if a.release]
        give_up(self)
        after = [(a.lane, a.offset) for a in self.attempts if a.release]
        for lane, offset in before:
            if (lane, offset) not in after:
                lane.end(offset)

    patch.setattr(Worker, "tick", tick)


def words_are_read_from_the_end_on(patch: Patch) -> None:
    """[M] Read from an offset, not from "latest" or a timestamp."""
    patch.setattr(inherited, "place_to_read", lambda wanted, start, end: end)


# Those that are not marked.


def holds_open_without_looking_for_their_words(patch: Patch) -> None:
    """r elapsed *and* the reader caught up to an end offset fetched after that."""
    patch.setattr(inherited, "_is_over", lambda kept, now, read_to: now >= kept.opens_at)


def holds_never_open(patch: Patch) -> None:
    """... then open."""
    patch.setattr(inherited, "_is_over", lambda kept, now, read_to: False)


def the_whole_time_counts_anew(patch: Patch) -> None:
    """r - elapsed: the former owner has its time from the freeze on, however late the map."""
    freeze = Release.freeze

    def late(self: Release, here: TopicPartition, running: dict[int, float], now: float) -> None:
        freeze(self, here, running, now)
        self._owed[here].until += 20.0

    holds = Release.holds

    def short(self: Release, here: TopicPartition, now: float) -> tuple[Holds, ...]:
        return tuple(
            replace(each, seconds=max(0.0, each.seconds - 20.0)) for each in holds(self, here, now)
        )

    patch.setattr(Release, "freeze", late)
    patch.setattr(Release, "holds", short)


def a_word_of_another_release_settles(patch: Patch) -> None:
    """A matching word has the nonce of the hold."""
    settle = Inherited.settle

    def gullible(self: Inherited, word: Word) -> list[int]:
        return [n for each in _nonces(self) for n in settle(self, replace(word, nonce=each))]

    patch.setattr(Inherited, "settle", gullible)


def requests_are_sent_however_late(patch: Patch) -> None:
    """A send gate immediately before a request's first byte."""
    patch.setattr(Release, "may_send", lambda self, here, now: True)


def obligations_are_never_given_up(patch: Patch) -> None:
    """... all before settle-by."""
    patch.setattr(release, "settle_by", lambda until: until + 1e9)


def what_is_held_is_begun(patch: Patch) -> None:
    """Starts at once whatever is neither done nor held."""
    patch.setattr(Inherited, "__contains__", lambda self, offset: False)


def everything_is_held(patch: Patch) -> None:
    """... and that at once."""
    patch.setattr(Inherited, "__contains__", lambda self, offset: True)


def words_are_looked_for_behind_their_beginning(patch: Patch) -> None:
    """The acknowledged offset of the word that opens the release *is* ``from``."""
    begin = Release.__init__

    def later(self: Release, group: str, nonce: int, number: int, words_from: int) -> None:
        begin(self, group, nonce, number, words_from + 2)

    patch.setattr(Release, "__init__", later)


def a_lost_record_stays_held(patch: Patch) -> None:
    """A hold whose offset was compacted away ends when the position passes it."""
    patch.setattr(Inherited, "pass_gone", lambda self, position, delivered: [])


def what_is_stored_is_never_told(patch: Patch) -> None:
    """The old owner writes words."""
    patch.setattr(release, "_told_of", lambda owed: ())


def _open(owed: Owed) -> list[int]:
    return sorted(n for n, state in owed.obligations.items() if state is not Obligation.GIVEN_UP)


def _nonces(kept: Inherited) -> list[int]:
    return [each.holds.nonce for each in kept._kept]


MARKED: Final[list[Callable[[Patch], None]]] = [
    a_stale_map_is_sent_again,
    each_map_has_a_nonce_of_its_own,
    an_unknown_fate_is_taken_for_success,
    a_loss_cancels_what_was_handed_over,
    inherited_holds_are_not_handed_on,
    inherited_holds_get_another_nonce,
    inherited_holds_get_a_later_place_of_words,
    what_is_revoked_while_loading_is_committed,
    clocks_are_compared,
    a_process_has_one_nonce,
    words_are_written_before_outcomes_are_stored,
    what_is_held_and_runs_no_more_counts_as_done,
    words_are_read_from_the_end_on,
]
OTHERS: Final[list[Callable[[Patch], None]]] = [
    holds_open_without_looking_for_their_words,
    holds_never_open,
    the_whole_time_counts_anew,
    a_word_of_another_release_settles,
    requests_are_sent_however_late,
    obligations_are_never_given_up,
    what_is_held_is_begun,
    everything_is_held,
    words_are_looked_for_behind_their_beginning,
    a_lost_record_stays_held,
    what_is_stored_is_never_told,
]

REPEATING: Final[list[Callable[[Patch], None]]] = [
    each_map_has_a_nonce_of_its_own,
    inherited_holds_are_not_handed_on,
    inherited_holds_get_another_nonce,
    inherited_holds_get_a_later_place_of_words,
    what_is_revoked_while_loading_is_committed,
]
"""Rules whose absence is noticed in a commit already, before it does any harm."""
