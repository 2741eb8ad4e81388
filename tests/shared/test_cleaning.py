from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from shared.data import cleaning, columns
from shared.data.cleaning import Faults
from shared.errors import DataError

DAY = datetime(2020, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1", " 2.5 ", "1e3", "x", "", None], [1, 2.5, 1000, np.nan, np.nan, np.nan]),
        ([Decimal("1.25"), None], [1.25, np.nan]),
        ([1, None, float("inf")], [1, np.nan, np.nan]),
        ([[1, 2], {"a": 1}, 3], [np.nan, np.nan, 3]),
        ([True, False], [1, 0]),
        (pd.to_datetime(["2020-01-01"]), [np.nan]),
    ],
)
def test_numbers_of_any_kind_and_what_is_none(values: list[object], expected: list[float]) -> None:
    given = pd.Series(values, index=range(7, 7 + len(values)))
    for kind in (given, given.astype("object")):
        parsed = cleaning.numbers(kind)
        assert parsed.index.equals(given.index)
        np.testing.assert_array_equal(parsed, expected)


@pytest.mark.parametrize(
    ("values", "unit"),
    [
        (["2020-01-02T03:04:05Z", "2020-01-02 03:04:05", "2020-01-02T04:04:05+01:00"], "auto"),
        (pd.to_datetime(["2020-01-02T03:04:05"]), "auto"),
        ([DAY, DAY], "auto"),
        ([DAY.timestamp()] * 2, "auto"),
        ([str(int(DAY.timestamp() * 1000))] * 2, "auto"),
        ([DAY.timestamp() * 1000] * 2, "ms"),
        ([DAY.timestamp() / 60], "min"),
        ([DAY.timestamp() / 3600], "h"),
        ([DAY.timestamp() / 86_400], "D"),
    ],
)
def test_times_of_any_kind_are_seconds(values: list[object], unit: str) -> None:
    np.testing.assert_allclose(cleaning.seconds(pd.Series(values), Faults("a"), unit), DAY.timestamp())


@pytest.mark.parametrize(
    ("decimal", "thousands", "values", "expected"),
    [
        (",", None, ["85,91", " 7 ", "-1,5e3", "1.388", "1.388,50", "x", ""], [85.91, 7, -1500] + [np.nan] * 4),
        (
            ",",
            ".",
            ["1.388,50", "1.388.000", "1388,5", "12.50", "1.38", "0.500", ",5"],
            [1388.5, 1388e3, 1388.5, *[np.nan] * 3, 0.5],
        ),
        (".", ",", ["1,388.50", "+12,345", "85,91", "1388"], [1388.5, 12345, np.nan, 1388]),
        (",", "space", ["1 388,50", "1\u00a0388\u202f000", "13 88"], [1388.5, 1388e3, np.nan]),
        (".", "'", ["1'388.50", None], [1388.5, np.nan]),
    ],
)
def test_numbers_in_other_notations(decimal: str, thousands: str | None, values: list[str], expected: list[float]) -> None:
    notation = cleaning.Notation(decimal, thousands)
    for kind in (pd.Series(values), pd.Series(values, dtype="object")):
        np.testing.assert_array_equal(cleaning.numbers(kind, notation), expected)
    np.testing.assert_array_equal(cleaning.numbers(pd.Series([1.388]), notation), [1.388])  # a number is one already


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (["85,91", "7", "n/a", None], ['data.decimal=","']),
        (["1.388,50", "85,91"], ['data.decimal="," data.thousands="."']),
        (["1,388.50", "12.10"], ['data.thousands=","']),
        (["1,388"], ['data.decimal=","', 'data.thousands=","']),
        (["1.388", "17"], ['data.decimal="," data.thousands="."']),
        (["1.388", "0.500"], []),
        (["85.91", "7"], []),
    ],
)
def test_the_notation_of_text_is_told(values: list[str], told: list[str]) -> None:
    assert [str(one) for one, share in cleaning.notations(pd.Series(values)).items() if share == 1] == told
    assert cleaning.notations(pd.Series([1.388])) == {}


def test_dates_with_the_day_first() -> None:
    values = ["24.12.2025", "1/2/2025 9:05", "01-02-2025T10:15:30.5", "2025-02-03", "24.13.2025", "12/24/2025", "24.12.25", "5"]
    expected = ["2025-12-24", "2025-02-01 09:05", "2025-02-01 10:15:30.5", "2025-02-03"]
    found = cleaning.seconds(pd.Series(values), Faults("a"), day_first=True)
    stamps = [pd.Timestamp(text, tz="UTC").timestamp() for text in expected]
    np.testing.assert_array_equal(found, [*stamps, np.nan, np.nan, np.nan, 5])
    assert cleaning.seconds(pd.Series(values[:3]), Faults("a")).isna().all()


def test_what_is_no_time_is_missing_and_dates_are_times() -> None:
    seconds = cleaning.seconds(pd.Series(["soon", None, date(1970, 1, 2), 5]), Faults("a"))
    np.testing.assert_array_equal(seconds, [np.nan, np.nan, 86_400, 5])


@pytest.mark.parametrize(
    ("values", "expected"),
    [([1, 20], ["1", "20"]), ([1.0, None], ["1", None]), ([1.5, 2], ["1.5", "2.0"]), ([" a ", None, "007"], ["a", None, "007"])],
)
def test_ids_are_tidy_strings(values: list[object], expected: list[str | None]) -> None:
    tidy = cleaning.tidy_ids(pd.Series(values, index=range(3, 3 + len(values))))
    assert tidy.index[0] == 3
    assert [None if pd.isna(value) else value for value in tidy] == expected


def test_faulty_rows_are_named_and_dropped_or_refused() -> None:
    frame = pd.DataFrame({"a": [1, -1, -2], "b": "x"}, index=[4, 5, 6])
    for refuse, severity in ((False, "warning"), (True, "error")):
        faults = Faults("file", refuse)
        assert faults.drop(frame, frame["a"] < 0, "negative", ("a", "b"), "Mend").index.tolist() == [4]
        (finding,) = faults.findings
        assert (finding.severity, finding.count, finding.rows, finding.examples) == (severity, 2, [5, 6], ["-1 / x", "-2 / x"])
        assert ("left out" in finding.fix) is not refuse


def test_a_column_that_is_named_for_one_role_is_not_guessed_for_another() -> None:
    names = {"who": ("user", "id"), "what": ("item",)}
    table = pd.DataFrame(columns=["ID", "Item", "user_"])
    assert columns.assign(table, names, {"who": None, "what": None}, names, "f") == {"who": "user_", "what": "Item"}
    assert columns.assign(table, names, {"who": None, "what": "user_"}, names, "f") == {"who": "ID", "what": "user_"}
    with pytest.raises(DataError) as caught:
        columns.assign(table[["ID"]], names, {"who": "x", "what": None}, names, "f")
    assert [f.what for f in caught.value.findings] == ["there is no column 'x'", "it cannot be told which column is the what"]
