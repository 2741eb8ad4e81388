"""What is said of data that does not fit."""

from __future__ import annotations

from shared.errors import Collector


def test_what_says_the_same_becomes_one_finding_with_its_rows_examples_and_count() -> None:
    faults = Collector("data")
    faults.add("info", "a file that is no image", "It was passed over", "notes.txt")
    for row in range(1, 8):
        faults.add("error", "a path that is not there", "Correct it", f"{row}.png", row)
    faults.add("error", "a path that is not there", "Correct it", where="data/other.csv")
    faults.add("info", "a file that is no image", "It was passed over", "notes.txt")
    first, elsewhere, last = faults.findings
    assert (first.count, list(first.rows), first.where) == (7, [1, 2, 3, 4, 5], "data")
    assert str(first).startswith("data: a path that is not there (7 rows: 1, 2, 3, 4, 5, …), such as '1.png', '2.png'")
    assert str(elsewhere) == "data/other.csv: a path that is not there. Correct it"
    assert str(last) == "data: a file that is no image (2 times), such as 'notes.txt'. It was passed over"
