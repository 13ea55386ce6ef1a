"""The demo's live progress."""

import io
from dataclasses import replace

from deploy.demo.progress import Display, PodProgress, Progress, as_block, as_line

NOW = Progress(
    seconds=12.3,
    state="",
    pods=[PodProgress("pod-1", 0, running=False), PodProgress("pod-2", 100, running=True)],
    events=2460,
    delivered=2400,
    per_second=201,
    backlog=14,
    parked=3,
)
FLEET = replace(NOW, pods=[PodProgress(f"pod-{n}", 4, running=n != 7) for n in range(1, 26)])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_line_tells_who_owns_how_much_and_what_flows() -> None:
    line = as_line(NOW)
    for part in ("12 s", "pod-1 0 DOWN", "pod-2 100", "2,400 delivered", "201/s", "backlog 14"):
        assert part in line


def test_a_large_fleet_is_summed_up_in_a_line_and_listed_in_a_block() -> None:
    assert "24 of 25 pods own 100" in as_line(FLEET)
    assert sum(line.count("pod-") for line in as_block(FLEET, 120)) == 25


def test_a_rebalance_is_named() -> None:
    assert as_line(replace(NOW, state="rebalancing")).endswith("  (rebalancing)")
    assert not as_line(NOW).endswith(")")


def test_no_line_of_a_block_is_broken_by_a_narrow_terminal() -> None:
    assert all(len(line) < 40 for line in as_block(FLEET, 40))


def test_a_terminal_is_redrawn_and_steps_stay() -> None:
    out = Terminal()
    display = Display(out)
    display.show(NOW)
    height = out.getvalue().count("\n")
    display.say("a step")
    assert out.getvalue().endswith(f"\x1b[{height}A\x1b[Ja step\n")
    display.say("another")
    assert out.getvalue().endswith("a step\nanother\n")


def test_a_file_gets_a_line_for_each_moment_and_no_control_characters() -> None:
    out = io.StringIO()
    display = Display(out)
    display.say("a step")
    display.show(NOW)
    display.show(NOW)
    assert out.getvalue().count("\n") == 3
    assert "\x1b" not in out.getvalue()


def test_a_note_is_printed_when_it_changes_and_replaced_on_a_terminal() -> None:
    out = Terminal()
    display = Display(out)
    for text in ("1 of 8", "1 of 8", "2 of 8"):
        display.note(text)
    display.say("ready")
    assert out.getvalue() == "1 of 8\n\x1b[1A\x1b[J2 of 8\n\x1b[1A\x1b[Jready\n"
