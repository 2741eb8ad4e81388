from __future__ import annotations

import itertools

import numpy as np
import pytest

from usecases.lane_detection.lanes import Line, at_rows, line
from usecases.lane_detection.tracking import Detected, Settings, Tracked, Tracker, _World, correct, predict

WIDTH, HEIGHT = 1280, 720
HORIZON = 250.0
ROWS = np.arange(300, 711, 10.0)


def lane(offset: float, shift: float = 0.0, rows: np.ndarray = ROWS) -> Line:
    """A straight line on the road, `offset` lane widths to the right of the car, seen with the road shifted by lane widths."""
    return line(np.column_stack([640 + (offset + shift) * 1.9 * (rows - HORIZON), rows]))


def run(tracker: Tracker, frames: list[list[Detected]], fps: float = 20.0, start: float = 0.0) -> list[list[Tracked]]:
    return [tracker.update(found, start + i / fps) for i, found in enumerate(frames)]


def sure(*lines: Line) -> list[Detected]:
    return [Detected(one, 0.9) for one in lines]


def side(tracked: list[Tracked], name: str) -> Tracked:
    (one,) = [one for one in tracked if one.side == name]
    return one


def error(one: Tracked, truth: Line) -> float:
    rows = ROWS[(one.line[0, 1] <= ROWS) & (one.line[-1, 1] >= ROWS)]
    return float(np.abs(at_rows(one.line, rows) - at_rows(truth, rows)).mean())


def test_kalman_steps_are_the_textbook_ones() -> None:
    """Against the plain formulas (Welch and Bishop 2006, tables 1-1 and 1-2), as in filterpy."""
    random = np.random.default_rng(0)
    n, m = 6, 3
    root = random.normal(size=(3, n, n))
    x, P, F, Q = random.normal(size=n), root[0] @ root[0].T, root[1], root[2] @ root[2].T
    H, z = random.normal(size=(m, n)), random.normal(size=m)
    R = np.diag(random.uniform(0.5, 2, m))
    x1, P1 = predict(x, P, F, Q)
    np.testing.assert_allclose(x1, F @ x)
    np.testing.assert_allclose(P1, F @ P @ F.T + Q)
    x2, P2 = correct(x1, P1, z, H, R)
    K = P1 @ H.T @ np.linalg.inv(H @ P1 @ H.T + R)
    np.testing.assert_allclose(x2, x1 + K @ (z - H @ x1), rtol=1e-8)
    np.testing.assert_allclose(P2, (np.eye(n) - K @ H) @ P1, rtol=1e-6, atol=1e-8)


def test_motion_in_two_steps_is_motion_in_one() -> None:
    world = _World(WIDTH, HEIGHT, Settings())
    half, _ = world.motion(0.05)
    whole, _ = world.motion(0.1)
    np.testing.assert_allclose(half @ half, whole, atol=1e-12)


def test_identities_stay_and_noise_is_smoothed() -> None:
    random = np.random.default_rng(1)
    truth = [lane(offset) for offset in (-1.5, -0.5, 0.5, 1.5)]
    frames = []
    for _ in range(40):
        noisy = [one + np.column_stack([np.full(len(one), random.normal(0, 6)), np.zeros(len(one))]) for one in truth]
        order = random.permutation(4)
        frames.append(sure(*(noisy[i].astype(np.float32) for i in order)))
    out = run(Tracker(WIDTH, HEIGHT), frames)
    assert {tuple(one.id for one in shown) for shown in out} == {tuple(one.id for one in out[-1])}
    assert [one.side for one in out[-1]] == ["", "left", "right", ""]
    jumps = [
        abs(b.line[-1, 0] - a.line[-1, 0]) for old, new in itertools.pairwise(out[5:]) for a, b in zip(old, new, strict=True)
    ]
    raw = 6 * 2**0.5 * (2 / np.pi) ** 0.5  # the mean jump of the detections
    assert np.mean(jumps) < 0.6 * raw
    assert (
        np.mean([error(one, true) for shown in out[10:] for one, true in zip(shown, truth, strict=True)])
        < 0.8 * 6 * (2 / np.pi) ** 0.5
    )


def test_a_lane_change_keeps_the_identities_and_moves_the_sides() -> None:
    """The car goes one lane to the right in three seconds."""
    offsets = (-1.5, -0.5, 0.5, 1.5)
    shifts = [-(1 - np.cos(np.pi * min(max(t - 10, 0) / 60, 1))) / 2 for t in range(80)]
    out = run(Tracker(WIDTH, HEIGHT), [sure(*(lane(offset, shift) for offset in offsets)) for shift in shifts])
    before, after = out[9], out[-1]
    ids = [one.id for one in before]
    assert [one.id for one in after] == ids
    assert [one.side for one in before] == ["", "left", "right", ""]
    assert [one.side for one in after] == ["", "", "left", "right"]
    assert max(error(one, lane(o, shifts[i])) for i in range(10, 80) for one, o in zip(out[i], offsets, strict=True)) < 12


def test_a_line_that_is_hidden_for_a_while_comes_back_as_itself() -> None:
    both = sure(lane(-0.5), lane(0.5))
    out = run(Tracker(WIDTH, HEIGHT), [both] * 10 + [both[:1]] * 10 + [both] * 5)
    right = [side(shown, "right") for shown in out[9:]]
    assert len({one.id for one in right}) == 1
    assert [one.missed for one in right[:11]] == list(range(11))
    assert right[10].confidence < 0.7 * right[0].confidence
    assert right[-1].missed == 0
    assert all(error(one, lane(0.5)) < 5 for one in right)


def test_a_line_counts_for_a_moment_after_it_was_seen() -> None:
    both = sure(lane(-0.5), lane(0.5))
    out = run(Tracker(WIDTH, HEIGHT), [both] * 10 + [both[:1]] * 10)
    right = [side(shown, "right") for shown in out[9:]]
    assert [one.unseen for one in right] == pytest.approx([number / 20 for number in range(11)])
    assert [one.held for one in right[:4] + right[5:]] == [True] * 4 + [False] * 6


@pytest.mark.parametrize("fps", [0.5, 1.0, 2.0])
def test_few_frames_a_second_are_followed_too(fps: float) -> None:
    """Its patience of 0.8 s would be over before the next frame."""
    both = sure(lane(-0.5), lane(0.5))
    out = run(Tracker(WIDTH, HEIGHT, Settings.at_rate(fps)), [both] * 3 + [both[:1]] + [both] * 2, fps)
    assert [[one.id for one in shown] for shown in out[:3] + out[4:]] == [[1, 2]] * 5
    assert Settings.at_rate(25) == Settings.at_rate(0) == Settings()


def test_a_line_that_is_gone_is_forgotten() -> None:
    both = sure(lane(-0.5), lane(0.5))
    out = run(Tracker(WIDTH, HEIGHT), [both] * 10 + [[]] * 20)
    assert len(out[9]) == 2
    assert out[-1] == []


def test_a_single_false_detection_is_never_shown_and_moves_nothing() -> None:
    both = sure(lane(-0.5), lane(0.5))
    stray = Detected(lane(1.1), 0.9)
    out = run(Tracker(WIDTH, HEIGHT), [both] * 6 + [[*both, stray]] + [both] * 6)
    assert {len(shown) for shown in out[2:]} == {2}
    assert max(error(one, lane(o)) for shown in out[2:] for one, o in zip(shown, (-0.5, 0.5), strict=True)) < 1


def test_a_jump_of_one_detection_is_not_followed_at_once() -> None:
    both = sure(lane(-0.5), lane(0.5))
    moved = [both[0], Detected(lane(0.56), 0.2)]
    out = run(Tracker(WIDTH, HEIGHT), [both] * 10 + [moved] + [both] * 5)
    assert error(side(out[10], "right"), lane(0.5)) < 0.2 * error(side(out[9], "right"), lane(0.56))


def test_a_certain_detection_counts_for_more() -> None:
    both = sure(lane(-0.5), lane(0.5))
    steps = []
    for confidence in (0.2, 0.9):
        out = run(Tracker(WIDTH, HEIGHT), [both] * 10 + [[both[0], Detected(lane(0.53), confidence)]])
        steps.append(error(side(out[-1], "right"), lane(0.5)))
    assert steps[1] > 2 * steps[0]


def test_a_scene_cut_starts_anew() -> None:
    before = [*sure(lane(-0.5), lane(0.5))]
    rows = np.arange(420, 711, 10.0)
    after = sure(
        line(np.column_stack([200 - 0.2 * (rows - 400), rows])), line(np.column_stack([1150 - 0.3 * (rows - 400), rows]))
    )
    out = run(Tracker(WIDTH, HEIGHT), [before] * 10 + [after] * 5)
    assert [len(shown) for shown in out[10:]] == [2] * 5
    assert {one.id for one in out[-1]}.isdisjoint(one.id for one in out[9])
    assert len(out[-1]) == 2


@pytest.mark.parametrize("pause", [-3.0, 5.0])
def test_a_pause_or_a_step_back_in_time_starts_anew(pause: float) -> None:
    tracker = Tracker(WIDTH, HEIGHT)
    both = sure(lane(-0.5), lane(0.5))
    run(tracker, [both] * 10)
    before = {one.id for one in tracker.update(both, 0.5)}
    after = {one.id for one in tracker.update(both, 0.5 + pause)}
    assert len(before) == len(after) == 2
    assert before.isdisjoint(after)


def test_a_line_that_comes_later_is_shown_when_it_was_seen_three_times() -> None:
    both, third = sure(lane(-0.5), lane(0.5)), sure(lane(-0.5), lane(0.5), lane(1.5))
    out = run(Tracker(WIDTH, HEIGHT), [both] * 5 + [third] * 4)
    assert [len(shown) for shown in out] == [2] * 7 + [3] * 2


def test_two_sights_of_one_line_are_one_line() -> None:
    twice = sure(lane(-0.5), lane(0.5), lane(0.51))
    out = run(Tracker(WIDTH, HEIGHT), [twice] * 10)
    assert len(out[-1]) == 2


def test_two_sights_in_one_image_are_one_line_too() -> None:
    tracker = Tracker(WIDTH, HEIGHT, Settings(hits=1))
    assert len(tracker.update(sure(lane(-0.5), lane(0.5), lane(0.51)), 0.0)) == 2


def test_lines_that_become_one_are_one() -> None:
    frames = [sure(lane(-0.5), lane(0.5), lane(0.5 + max(0.15 - 0.01 * i, 0.005))) for i in range(20)]
    out = run(Tracker(WIDTH, HEIGHT), frames)
    assert len(out[4]) == 3
    assert [one.id for one in out[-1]] == [1, 2]


def test_a_line_that_sways_on_the_middle_stays_on_its_side() -> None:
    sway = [sure(lane(0.008 * (-1) ** (i // 4)), lane(1.0)) for i in range(40)]
    out = run(Tracker(WIDTH, HEIGHT), sway)
    assert len({one.side for shown in out[3:] for one in shown[:1]}) == 1


def test_rows_that_were_never_seen_are_not_shown() -> None:
    near = ROWS[ROWS > 500]
    out = run(Tracker(WIDTH, HEIGHT), [sure(lane(-0.5, rows=near), lane(0.5))] * 6)
    left, right = out[-1]
    assert left.line[0, 1] > 480
    assert right.line[0, 1] < 320


def test_a_gap_is_filled_as_the_rest_of_the_line_moves() -> None:
    """Only the far half is seen while the road shifts: the nearer rows go along."""
    tracker = Tracker(WIDTH, HEIGHT)
    run(tracker, [sure(lane(0.5))] * 10)
    before = np.interp(600, tracker.world.rows, tracker.tracks[0].place)
    shifts = [0.004 * i for i in range(10)]
    run(tracker, [sure(lane(0.5, shift, ROWS[ROWS < 540])) for shift in shifts], start=0.5)
    after = np.interp(600, tracker.world.rows, tracker.tracks[0].place)
    moved = 1.9 * (600 - HORIZON) * shifts[-1]
    assert 0.5 * moved < after - before < 1.5 * moved


def test_no_detections_no_lines() -> None:
    assert run(Tracker(WIDTH, HEIGHT), [[]] * 5) == [[]] * 5


@pytest.mark.parametrize("size", [(64, 36), (1280, 720), (3840, 2160)])
def test_any_size_tracks_alike(size: tuple[int, int]) -> None:
    scale = size[0] / WIDTH
    frames = [sure(*((lane(o, 0.003 * i) * scale).astype(np.float32) for o in (-0.5, 0.5))) for i in range(12)]
    out = run(Tracker(*size), frames)
    assert [one.side for one in out[-1]] == ["left", "right"]
    assert error(Tracked(1, out[-1][0].line / np.float32(scale), 1, 1, 0), lane(-0.5, 0.033)) < 6
