"""What was promised of a fleet, and whether the figures of a run keep it."""

from benchmarks.fleet.promises import judged

CAREFUL = {"deliveries/s": 1_000.0, "CPU each": 400.0, "MB": 42.0, "idle": 0.3, "all ready": 20.0}
OURS = {"deliveries/s": 1_500.0, "CPU each": 240.0, "MB": 55.0, "idle": 0.4, "all ready": 20.0}


def test_what_is_just_as_promised_is_kept() -> None:
    lines = list(judged({"ours": [OURS], "careful": [CAREFUL]}))
    assert len(lines) == 5
    assert all(line.endswith(": kept") for line in lines)
    assert lines[0].startswith("deliveries/s: 1.50x of the careful worker's, at least 1.5x")


def test_what_falls_short_is_named() -> None:
    worse = {**OURS, "deliveries/s": 1_400.0, "MB": 60.0}
    broken = [
        line for line in judged({"ours": [worse], "careful": [CAREFUL]}) if "NOT KEPT" in line
    ]
    assert [line.split(":")[0] for line in broken] == ["deliveries/s", "MB"]


def test_without_the_careful_worker_only_our_own_bounds_are_judged() -> None:
    names = [line.split(":")[0] for line in judged({"ours": [OURS], "careful": "failed: no"})]
    assert names == ["MB", "idle", "all ready"]


def test_without_ours_there_is_nothing_to_judge() -> None:
    assert list(judged({"careful": [CAREFUL]})) == []
