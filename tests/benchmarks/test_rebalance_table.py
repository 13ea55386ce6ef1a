"""The table of the rebalance benchmark: medians, and ratios to ours."""

from benchmarks.rebalance.table import Column, medians, render

COLUMNS = (Column("silent", " s", 2), Column("revoked", ratio=False))


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_middle_repetition_is_shown() -> None:
    found = medians([{"a": 1.0}, {"a": 9.0}, {"a": 2.0}])
    assert found == {"a": 2.0}


def test_a_repetition_without_a_value_is_left_out_of_the_median() -> None:
    assert medians([{"a": None}, {"a": 4.0}, {}]) == {"a": 4.0}
    assert medians([{"a": None}]) == {"a": None}


def test_every_client_is_compared_with_ours_and_ours_with_nothing() -> None:
    table = render(
        COLUMNS,
        {
            "ours": [{"silent": 0.2, "revoked": 4.0}],
            "stock": [{"silent": 5.0, "revoked": 96.0}],
        },
    ).splitlines()
    assert cells(table[0]) == ["client", "silent", "revoked"]
    assert cells(table[2]) == ["ours", "0.20 s", "4"]
    assert cells(table[3]) == ["stock", "5.00 s (25x)", "96"]


def test_without_ours_and_without_values_there_is_no_ratio() -> None:
    rows = {"stock": [{"silent": 5.0, "revoked": None}]}
    assert cells(render(COLUMNS, rows).splitlines()[2]) == ["stock", "5.00 s", "-"]
    rows = {"ours": [{"silent": 0.0}], "stock": [{"silent": 5.0}]}
    assert cells(render(COLUMNS, rows).splitlines()[3])[1] == "5.00 s"


def test_a_client_without_figures_has_the_reason_in_its_row() -> None:
    table = render(COLUMNS, {"ours": "failed", "java": "no JDK", "stock": [{"silent": 1.0}]})
    assert cells(table.splitlines()[3]) == ["java", "no JDK", ""]
    assert cells(table.splitlines()[4])[1] == "1.00 s"
