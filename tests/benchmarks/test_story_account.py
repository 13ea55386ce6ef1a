"""What a fleet delivered second by second, and its picture."""

import xml.etree.ElementTree as ET

import pytest

from benchmarks.story.account import Parts, backlog, figures
from benchmarks.story.picture import Timeline, stacked
from deploy.drill.account import Sent
from deploy.drill.notes import Note

SECOND = 1_000_000_000
RATE = 10


def sent(first: int, last: int) -> list[Sent]:
    """RATE events in each of these seconds."""
    return [
        Sent(second * RATE + n, n, at, acknowledged_ns=at)
        for second in range(first, last)
        for n in range(RATE)
        for at in [second * SECOND + n * 90_000_000]
    ]


def delivered(events: list[Sent], *, still: range) -> list[list[Note]]:
    """Each arrives and is answered soon, but what was produced in ``still`` at its end."""
    when = [
        still.stop * SECOND if each.at_ns // SECOND in still else each.at_ns + SECOND // 100
        for each in events
    ]
    return [
        [Note(answered, each.number, at) for answered in (False, True)]
        for each, at in zip(events, when, strict=True)
    ]


def account(events: list[Sent], notes: list[list[Note]], parts: Parts) -> dict[str, float | None]:
    return figures(events, [note for pair in notes for note in pair], parts, RATE)


def test_a_fleet_without_a_pause_stands_still_for_no_second() -> None:
    events = sent(100, 140)
    found = account(events, delivered(events, still=range(0)), Parts(100, 110, 120, 139))
    assert found["stood still"] == 0
    assert found["below half the rate"] == 0
    assert found["deliveries/s"] == RATE
    assert found["most backlog"] == 0
    assert found["late"] == 0
    assert found["repeated"] == 0
    assert found["lost"] == 0


def test_a_standstill_is_counted_for_the_disturbance_that_it_follows() -> None:
    events = sent(100, 140)
    notes = delivered(events, still=range(112, 118))
    found = account(events, notes, Parts(100, 110, 120, 139))
    assert found["stood still"] == 6
    assert found["of it after the death"] == 6
    assert found["of it after the frost"] == 0
    assert found["most backlog"] == 60
    assert found["least over 10 s"] == pytest.approx(4)
    assert found["late"] == pytest.approx(100 * 50 / 400, abs=3)


def test_an_event_that_comes_twice_is_repeated_and_one_that_never_comes_is_lost() -> None:
    events = sent(100, 104)
    notes = delivered(events, still=range(0))
    found = account(events, [*notes[1:], notes[5]], Parts(100, 101, 102, 103))
    assert found["repeated"] == 1
    assert found["lost"] == 1


def test_what_was_produced_before_the_first_second_is_in_the_backlog() -> None:
    events = sent(100, 103)
    assert backlog(events, {102: 30}, range(101, 103)) == [20, 0]


def test_the_pictures_stand_below_each_other_as_one() -> None:
    def timeline(most: int) -> Timeline:
        owned = [(0, {0: "pod-00"}), (SECOND, {0: "pod-00"})]
        return Timeline(owned, {0: most}, [(0, "a & b")])

    root = ET.fromstring(stacked({"original": timeline(3), "ours < all": timeline(40)}, 1))
    inner = [child for child in root if child.tag.endswith("svg")]
    assert len(inner) == 2
    assert float(inner[1].attrib["y"]) > float(inner[0].attrib["y"]) + float(
        inner[0].attrib["height"]
    )
    assert float(root.attrib["height"]) >= float(inner[1].attrib["y"]) + float(
        inner[1].attrib["height"]
    )
    assert [child.text for child in root if child.tag.endswith("text")] == [
        "original",
        "ours < all",
    ]
    for each in inner:
        assert "40" in [child.text for child in each], "one scale for all"
