"""What is said of data that does not fit."""

from __future__ import annotations

from shared.errors import Collector, Finding


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


def test_a_finding_says_once_where_it_is() -> None:
    def told(what: str) -> str:
        return str(Finding("error", what, "/data/scans", "Give another"))

    assert told("no labels") == "/data/scans: no labels. Give another"
    for what in ("/data/scans has no images", "There is no file '/data/scans'", "There is no file or folder /data/scans"):
        assert told(what) == f"{what}. Give another"
    assert told("Did you mean 'scans'?") == "/data/scans: Did you mean 'scans'? Give another"


def test_what_others_have_found_is_kept_as_it_is() -> None:
    faults = Collector("data")
    faults.add("info", "a small thing", "Nothing is to be done")
    faults.given.append(Finding("warning", "not 3 values in the line", "data/a.csv", "Mend them", 12, [3, 4]))
    assert [str(finding) for finding in faults.findings] == [
        "data/a.csv: not 3 values in the line (12 rows: 3, 4, …). Mend them",
        "data: a small thing. Nothing is to be done",
    ]
