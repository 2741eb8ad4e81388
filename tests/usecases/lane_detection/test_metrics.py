from __future__ import annotations

import math
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression

from usecases.lane_detection import formats, metrics
from usecases.lane_detection.camera import Camera
from usecases.lane_detection.lanes import Line, line


def official(pred: list[list[float]], gt: list[list[float]], rows: list[int], time: float) -> tuple[float, float, float]:
    """The TuSimple benchmark's definition, one number after the other."""
    if time > 200 or len(pred) > len(gt) + 2:
        return 0, 0, 1
    best = []
    for lane in gt:
        there = [(y, x) for y, x in zip(rows, lane, strict=True) if x >= 0]
        slope = 0.0
        if len(there) > 1:
            slope = LinearRegression().fit([[y] for y, _ in there], [x for _, x in there]).coef_[0]
        threshold = 20 / math.cos(math.atan(slope))
        shares = [0.0]
        for guess in pred:
            right = 0
            for x, truth in zip(guess, lane, strict=True):
                right += abs((x if x >= 0 else -100) - (truth if truth >= 0 else -100)) < threshold
            shares.append(right / len(rows))
        best.append(max(shares))
    missed = sum(share < 0.85 for share in best)
    fp = len(pred) - (len(gt) - missed)
    if len(gt) > 4 and missed > 0:
        missed -= 1
    total = sum(best) - (min(best) if len(gt) > 4 else 0)
    return total / max(min(4, len(gt)), 1), fp / len(pred) if pred else 0, missed / max(min(len(gt), 4), 1)


def drawn_at_random(rng: np.random.Generator, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels, some empty or of one row, and predictions near them, twice, elsewhere or not at all."""
    labels = []
    for _ in range(rng.integers(0, 7)):
        lane = rng.uniform(0, 1280) + rng.normal(0, 1.5) * (rows - rows[0])
        lane[: rng.integers(0, len(rows) + 1)] = -2
        lane[(lane < 0) | (lane > 1279)] = -2
        labels.append(lane)
    guesses = []
    for lane in labels:
        for _ in range(rng.choice([0, 1, 1, 1, 2])):
            guess = np.where(lane >= 0, lane + rng.choice([0, 15, -22, 60]) + rng.normal(0, rng.choice([0.1, 20])), lane)
            guess[: rng.integers(0, 5)] = -2
            guesses.append(guess)
    if rng.random() < 0.3:
        guesses.append(rng.uniform(-50, 1280, len(rows)))
    shape = (-1, len(rows))
    return np.array(guesses).reshape(shape), np.array(labels).reshape(shape)


def test_tusimple_is_what_the_definition_says() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(400):
        rows = np.arange(160 if rng.random() < 0.5 else 240, 711, 10)
        guesses, labels = drawn_at_random(rng, rows)
        time = float(rng.choice([0, 200, 201], p=[0.8, 0.1, 0.1]))
        ours = metrics.tusimple(guesses, labels, rows, time)
        theirs = official(guesses.tolist(), labels.tolist(), rows.tolist(), time)
        assert (ours.accuracy, ours.fp, ours.fn) == pytest.approx(theirs, abs=1e-12)
        missing = metrics.tusimple(np.where(guesses < 0, np.nan, guesses), np.where(labels < 0, np.nan, labels), rows, time)
        assert missing == ours
        seen.add((len(labels) > 4, theirs[2] == 0, theirs[1] == 0))
    assert len(seen) == 8  # every kind of case was among them


def test_the_benchmarks_own_example() -> None:
    """A label of the first frame of its example/pred.json, with 13 of 48 rows wrong; the other lanes are as labelled."""
    rows = np.arange(240, 711, 10)
    second = [-2] * 4 + [719, 734, 748, 762, 777, 791, 805, 820, 834, 848, 863, 877, 891, 906, 920, 934, 949, 963, 978, 992]
    second += [1006, 1021, 1035, 1049, 1064, 1078, 1092, 1107, 1121, 1135, 1150, 1164, 1178, 1193, 1207, 1221, 1236, 1250, 1265]
    second += [-2] * 5
    given = [-2] * 4 + [800, 760] + second[6:31] + [1207, 1221, 1235, 1250, 1264, 1278] + [-2] * 11
    others = [np.where(rows > first, at + slope * (rows - first), -2) for first, at, slope in ((270, 600, -0.7), (280, 560, -3))]
    labels = np.array([others[0], second, others[1], np.full(48, -2)])
    score = metrics.tusimple(np.array([given, others[1], np.full(48, -2), others[0]]), labels, rows)
    # the tolerance is 20 / cos(atan 1.43) = 35: 81 pixels are wrong, 26 are not; 6 rows are 100 off, 6 are missing
    assert score.accuracy == pytest.approx((3 + 35 / 48) / 4)
    assert (score.fp, score.fn) == (1 / 4, 1 / 4)


def test_tusimple_worked_by_hand() -> None:
    rows = np.arange(100, 300, 10)
    label = np.full((1, 20), 400.0)
    assert metrics.tusimple(label + 19.9, label, rows).accuracy == 1
    assert metrics.tusimple(label + 20.0, label, rows) == metrics.Accuracy(0, 1, 1)  # nearer than 20, not at 20
    seventeen = label.copy()
    seventeen[0, :3] = -2
    assert metrics.tusimple(seventeen, label, rows) == metrics.Accuracy(0.85, 0, 0)
    seventeen[0, 3] = -2
    assert metrics.tusimple(seventeen, label, rows) == metrics.Accuracy(0.8, 1, 1)
    five = np.arange(5)[:, None] * 200 + label
    assert metrics.tusimple(five[:4], five, rows) == metrics.Accuracy(1, 0, 0)
    assert metrics.tusimple(five[:3], five, rows) == metrics.Accuracy(0.75, 0, 0.25)
    assert metrics.tusimple(np.tile(label, (4, 1)), label, rows) == metrics.Accuracy(0, 0, 1)
    assert metrics.tusimple(np.zeros((0, 20)), np.zeros((0, 20)), rows) == metrics.Accuracy(0, 0, 0)
    assert metrics.tusimple(label, label, rows, 200.1) == metrics.Accuracy(0, 0, 1)
    with pytest.raises(ValueError, match="20 rows"):
        metrics.tusimple(label[:, 1:], label, rows)


def test_the_mean_follows_the_weights_of_a_bootstrap() -> None:
    scores = [metrics.Accuracy(1, 0, 0), metrics.Accuracy(0.5, 0.5, 0.25)]
    assert metrics.mean(scores) == metrics.Accuracy(0.75, 0.25, 0.125)
    assert metrics.mean(scores, np.array([0.0, 2])) == scores[1]
    with pytest.raises(ValueError, match="no frames"):
        metrics.mean([])


def test_real_labels_score_full_marks_against_themselves(shared_data: Path) -> None:
    for frame in formats.load(shared_data / "lane" / "tusimple-6"):
        across = formats.sampled(frame.lines or (), frame.rows)
        assert metrics.tusimple(across, across, np.array(frame.rows)) == metrics.Accuracy(1, 0, 0)
        shifted = metrics.tusimple(across + 150, across, np.array(frame.rows))
        assert shifted.accuracy < 0.9
        assert (shifted.fp, shifted.fn) != (0, 0)


def upright(x: float, top: float = 0, bottom: float = 589) -> Line:
    return line([[x, top], [x, bottom]])


def test_iou_of_upright_lines_is_that_of_rectangles() -> None:
    for away in (0, 5, 10, 20, 40):
        overlap = metrics.drawn_iou([upright(800)], [upright(800 + away)], 1640, 590)[0, 0]
        assert overlap == pytest.approx(max(0, 31 - away) / (31 + min(away, 31)), abs=0.02)
    half = metrics.drawn_iou([upright(400)], [upright(400 + 5)], 820, 295)[0, 0]
    assert half == pytest.approx(12 / 22, abs=0.06)  # 15 pixels wide at half the size, drawn as 17; of 31 it were 26 / 36
    assert metrics.drawn_iou([upright(-500)], [upright(-500)], 1640, 590)[0, 0] == 0


def test_culane_finds_the_best_matching() -> None:
    rng = np.random.default_rng(1)
    for _ in range(20):
        ours, theirs = ([upright(x, 0, 147) for x in rng.uniform(60, 110, rng.integers(0, 5))] for _ in range(2))
        hits = metrics.culane(ours, theirs, 410, 148, (0.1, 0.3, 0.5))
        overlaps = metrics.drawn_iou(ours, theirs, 410, 148)
        overlaps = overlaps if len(ours) <= len(theirs) else overlaps.T
        orders = permutations(range(overlaps.shape[1]), overlaps.shape[0])
        best = max(([overlaps[i, j] for i, j in enumerate(order)] for order in orders), key=sum)
        expected = [sum(iou > threshold for iou in best) for threshold in (0.1, 0.3, 0.5)]
        assert hits.tp.tolist() == expected
        assert (hits.tp + hits.fp).tolist() == [len(ours)] * 3
        assert (hits.tp + hits.fn).tolist() == [len(theirs)] * 3


def test_f1_is_of_all_lines_together() -> None:
    good = metrics.culane([upright(100), upright(500)], [upright(101), upright(501), upright(900)], 1640, 590)
    bad = metrics.culane([upright(100)], [upright(130)], 1640, 590)
    value = metrics.f1([good, bad])
    assert value[0] == pytest.approx(2 * 2 / (2 * 2 + 1 + 2))
    assert value[-1] == 0  # 1 pixel of 31 is an IoU of 0.94
    assert metrics.f1([good, bad], np.array([0, 1.0]))[0] == 0
    assert metrics.f1([metrics.culane([], [], 1640, 590)])[0] == 1


CAMERA = Camera(1280, 720, (1000, 1000), (639.5, 359.5), above=1.5, pitch=0.03)


def road_line(x: float) -> Line:
    ahead = np.arange(6.0, 60)
    return line(CAMERA.project(np.column_stack([np.full(ahead.size, x), ahead, np.zeros(ahead.size)])))


def test_lateral_error_is_what_the_line_was_moved_by() -> None:
    labels = [road_line(x) for x in (-5.4, -1.8, 1.8, 5.4)]
    found = [road_line(x) for x in (-5.4, -1.6, 1.7)]
    error = metrics.lateral_error(found, labels, np.array([420, 500, 560]), 1280, 720, CAMERA)
    assert error.metres is not None
    assert error.metres == pytest.approx(np.repeat([[0.2], [-0.1]], 3, axis=1), abs=2e-3)
    below = np.array([420, 500, 560]) - CAMERA.horizon()
    assert error.pixels[0] == pytest.approx(0.2 / 1.5 * below, rel=0.01)
    assert error.found.tolist() == [True, True]


def test_lateral_error_without_a_line() -> None:
    labels = [road_line(-1.8), road_line(1.8)]
    error = metrics.lateral_error([road_line(-1.8)], labels, np.array([100, 500]), 1280, 720)
    assert error.metres is None
    assert error.labelled.tolist() == [True, True]
    assert error.found.tolist() == [True, False]
    assert np.isnan(error.pixels).tolist() == [[True, False], [True, True]]  # there is no line above the horizon
    assert not metrics.lateral_error([], [], np.array([500]), 1280, 720, CAMERA).labelled.any()


def test_ego_lines_are_the_nearest_at_the_bottom() -> None:
    far = line([[500, 300], [510, 320], [450, 420]])  # ends high above; goes on to x = 264
    lines = [line([[600, 300], [10, 700]]), far, line([[660, 300], [800, 719]]), line([[700, 300], [1270, 600]])]
    left, right = metrics.ego(lines, 1280, 720)
    assert left is far
    assert right is lines[2]


def test_of_two_predictions_on_one_label_one_is_right() -> None:
    rows = np.arange(0, 100, 10)
    labels = np.array([[100.0] * 10, [300.0] * 10])
    guesses = np.array([[100.0] * 10, [101.0] * 10, [300.0] * 10, [600.0] * 10])
    one = metrics.matched(guesses, np.array([0.9, 0.8, 0.7, 0.2]), labels, rows)
    assert one.right.sum() == 2
    assert one.right[2]
    assert not one.right[3]
    none = metrics.matched(np.zeros((0, 10)), np.zeros(0), labels, rows)
    judged = metrics.calibration([one, none], bins=1)
    assert judged.ece() == pytest.approx(abs(2 / 4 - np.mean([0.9, 0.8, 0.7, 0.2])))
    with pytest.raises(ValueError, match="rows"):
        metrics.calibration([none])


def test_as_many_predictions_as_can_be_are_right() -> None:
    rows = np.arange(20)
    labels = np.array([[100.0] * 20, [130.0] * 20])
    both = [115.0] * 16 + [100.0] + [-2.0] * 3  # right at 17 and 16 rows of 20
    first = [90.0] * 16 + [-2.0] * 4  # at 16 and none
    assert metrics.matched(np.array([both, first]), np.ones(2), labels, rows).right.tolist() == [True, False]


def test_slices() -> None:
    about: list[dict[str, Any]] = [
        {"night": True, "lines": 3},
        {"night": False, "lines": 4, "sun": 0.3},
        {"night": False},
        {"night": True},
    ]
    found = {name: places.tolist() for name, places in metrics.slices(about).items()}
    assert found == {"lines=3": [0], "lines=4": [1], "night=False": [1, 2], "night=True": [0, 3]}


def test_what_is_said_twice_is_one_slice() -> None:
    about = [{"night": kind == "night", "weather": kind} for kind in ("night", "fog", "clear", "fog")]
    assert list(metrics.slices(about)) == ["night=False", "night=True", "weather=clear", "weather=fog"]


def test_what_differs_in_every_frame_is_no_slice() -> None:
    assert set(metrics.slices([{"id": n, "half": n % 2} for n in range(13)])) == {"half=0", "half=1"}


def test_a_bend_is_seen() -> None:
    y = np.linspace(300, 700, 20)
    straight = line(np.column_stack([900 - y, y]))
    bent = line(np.column_stack([900 - y + 0.0008 * (y - 300) * (700 - y), y]))
    assert metrics.described([straight]) == {"lines": 1, "curve": False}
    assert metrics.described([straight, bent]) == {"lines": 2, "curve": True}
