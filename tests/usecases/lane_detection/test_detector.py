from __future__ import annotations

import numpy as np
import pytest
import torch

from usecases.lane_detection.anchors import SLOTS, STRIDE, Grid
from usecases.lane_detection.config import LaneConfig, Model
from usecases.lane_detection.detector import LaneDetector, uncrossed
from usecases.lane_detection.lanes import Line, line
from usecases.lane_detection.network import LaneNetwork
from usecases.lane_detection.paths import follow, straightest
from usecases.lane_detection.tracking import Detected

SMALL = Model(width=128, height=96, widths=(8, 12, 16), blocks=(1, 1, 1), features=8, top=0.0)
GRID = Grid(SMALL.width, SMALL.height)
ROWS, CELLS = SMALL.height // STRIDE, SMALL.width // STRIDE
ROW = np.arange(ROWS)
LEFT, RIGHT = 15 - 0.5 * ROW, 16 + 0.5 * ROW  # cells


def seen(*parts: tuple[np.ndarray, np.ndarray | float]) -> np.ndarray:
    """Logits [rows, columns] of a mixture of lines: their columns, and the share of each, of all rows or of each row."""
    likely = np.full((ROWS, CELLS), 1e-5)
    for columns, share in parts:
        likely += np.reshape(share, (-1, 1)) * np.exp(-2 * (np.arange(CELLS) - columns[:, None]) ** 2)
    return np.log(likely).astype(np.float32)


def detected(slots: dict[int, np.ndarray], least: float = 0.5) -> list[Detected]:
    """What a detector makes of a network that says this of an image of its own size."""
    columns = np.stack([slots.get(slot, seen()) for slot in range(SLOTS)])
    exist = torch.tensor([[6.0 if slot in slots else -6.0 for slot in range(SLOTS)]])
    output = {"columns": torch.from_numpy(columns)[None], "rows": torch.full((1, SLOTS, ROWS), 6.0), "exist": exist}
    detector = LaneDetector(LaneConfig(model=SMALL), LaneNetwork(SMALL), least=least)
    detector.__dict__["fast"] = lambda images: output
    return detector([np.zeros((SMALL.height, SMALL.width, 3), np.uint8)])[0]


def cells(found: Detected) -> np.ndarray:
    return (np.interp(GRID.rows, found.line[:, 1], found.line[:, 0]) + 0.5) / STRIDE - 0.5


def pixels(bottom: float, top: float) -> Line:
    rows = np.linspace(30, 95, 40)
    return line(np.column_stack([top + (bottom - top) * (rows - 30) / 65, rows]))


def test_a_slot_that_holds_two_lines_gives_one_of_them_and_never_halves_of_both() -> None:
    far_left = np.where(ROW < 15, 0.7, 0.3)
    (found,) = detected({2: seen((LEFT, far_left), (RIGHT, 1 - far_left))})
    np.testing.assert_allclose(cells(found), LEFT, atol=0.5)  # at the horizon the two are one
    assert found.confidence > 0.9


def test_where_a_line_is_lost_to_another_its_curve_goes_on_straight_and_it_is_less_sure() -> None:
    far = (ROW < 16).astype(float)
    (found,) = detected({2: seen((LEFT, far), (RIGHT, 1 - far))})
    np.testing.assert_allclose(cells(found), LEFT, atol=0.5)
    assert found.confidence == pytest.approx(16 / 24, abs=0.05)


def test_a_curve_that_is_drawn_on_ends_at_the_images_edge() -> None:
    steep, far = 12 - 1.0 * ROW, (ROW < 13).astype(float)
    (found,) = detected({2: seen((steep, far), (RIGHT, 1 - far))})
    assert found.line[:, 0].min() >= -STRIDE
    assert found.line[-1, 1] < 60


def test_a_bend_of_the_road_is_followed() -> None:
    bent = 4 + 60 / (ROW + 4.0) + 0.3 * ROW
    columns, counts = follow(seen((bent, 1.0))[None], np.ones((1, ROWS)), np.ones((1, ROWS), bool))
    np.testing.assert_allclose(columns[0], bent, atol=0.2)
    assert (counts > 0.5).all()


def test_one_row_that_is_elsewhere_does_not_move_a_line() -> None:
    astray = np.where(ROW == 10, 25.0, LEFT)
    (found,) = detected({2: seen((astray, 0.9), (LEFT, 0.1))})
    np.testing.assert_allclose(cells(found), LEFT, atol=0.3)


def test_no_line_needs_a_path() -> None:
    assert detected({}) == []
    columns, counts = follow(np.zeros((0, ROWS, CELLS), np.float32), np.zeros((0, ROWS)), np.zeros((0, ROWS), bool))
    assert columns.shape == counts.shape == (0, ROWS)


def test_the_path_is_the_best_of_all() -> None:
    random = np.random.default_rng(0)
    columns, gain, rows = random.uniform(0, 6, (3, 5, 3)), random.normal(0, 2, (3, 5, 3)), random.uniform(0, 1, (3, 5))

    def worth(each: int, path: tuple[int, ...]) -> float:
        x = columns[each, np.arange(5), path]
        kept = rows[each, :-2] * rows[each, 1:-1] * rows[each, 2:]
        return float(gain[each, np.arange(5), path].sum() - 0.3 * (kept * np.diff(x, 2) ** 2).sum())

    for each, path in enumerate(straightest(columns, gain, rows)):
        assert tuple(path) == max(np.ndindex(3, 3, 3, 3, 3), key=lambda one: worth(each, one))


def test_of_two_lines_that_cross_the_less_sure_one_goes() -> None:
    found = [Detected(pixels(90, 40), 0.7), Detected(pixels(40, 90), 0.9), Detected(pixels(120, 95), 0.6)]
    assert [one.confidence for one in uncrossed(found, 1.0)] == [0.9, 0.6]


def test_a_line_that_crosses_another_only_at_its_end_ends_there() -> None:
    sure, other = Detected(pixels(60, 60), 0.9), Detected(pixels(120, 55), 0.7)
    kept, cut = uncrossed([sure, other], 0.5)
    assert kept == sure
    assert cut.line[:, 0].min() > 60
    assert len(cut.line) > 30
    np.testing.assert_array_equal(cut.line[-1], other.line[-1])


def test_lines_that_only_touch_are_both_kept() -> None:
    found = [Detected(pixels(20, 60), 0.9), Detected(pixels(110, 59.8), 0.7), Detected(pixels(60, 40)[:8], 0.8)]
    assert len(uncrossed(found[:2], 0.5)) == 2
    assert len(uncrossed([found[0], found[2]], 0.5)) == 2  # no row at which both are near each other
