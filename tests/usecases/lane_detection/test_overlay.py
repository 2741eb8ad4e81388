from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from usecases.lane_detection.driving import Driving
from usecases.lane_detection.lanes import line
from usecases.lane_detection.overlay import ALARM, LANE, _texts, annotate, colour
from usecases.lane_detection.tracking import Tracked

WIDTH, HEIGHT = 640, 360


def tracked(number: int, far: float, near: float, side: str = "", confidence: float = 0.9) -> Tracked:
    rows = np.arange(160.0, 355.0, 5)
    return Tracked(number, line(np.column_stack([np.interp(rows, [160, 350], [far, near]), rows])), confidence, 9, 0, side)


OWN = [tracked(1, 300, 120, "left"), tracked(2, 340, 520, "right")]
FULL = Driving(0.25, 3.6, -0.01, 400.0, 2.5, "", True)


def blank() -> np.ndarray:
    return np.full((HEIGHT, WIDTH, 3), 100, np.uint8)


def test_the_lane_is_tinted_between_its_lines_only() -> None:
    image = annotate(blank(), OWN)
    assert tuple(image[300, 320]) == pytest.approx([0.7 * 100 + 0.3 * part for part in LANE], abs=1)
    assert tuple(image[300, 40]) == (100, 100, 100)
    assert tuple(image[300, 620]) == (100, 100, 100)
    assert tuple(image[130, 320]) == (100, 100, 100)


def test_it_is_done_in_place() -> None:
    image = blank()
    assert annotate(image, OWN) is image


def test_each_line_has_its_own_colour() -> None:
    image = annotate(blank(), OWN)
    for one in OWN:
        x, y = one.line[10]
        assert tuple(image[int(y), round(float(x))]) == colour(one.id)
    assert len({colour(number) for number in range(8)}) == 8


def test_a_warning_changes_the_lane_and_its_line() -> None:
    image = annotate(blank(), OWN, Driving(0.9, 3.6, 0.02, None, 0.2, "right"))
    assert tuple(image[300, 320]) == pytest.approx([0.7 * 100 + 0.3 * part for part in ALARM], abs=1)
    x, y = OWN[1].line[10]
    assert tuple(image[int(y), round(float(x))]) == ALARM


def test_without_lines_it_says_so_and_tints_nothing() -> None:
    image = annotate(blank(), [])
    assert [name for name, _, _ in _texts([], {}, None)] == ["no lane"]
    assert (image != 100).any()  # the panel
    assert (image[120:] == 100).all()


def test_a_lane_that_is_not_seen_now_is_marked_and_after_a_moment_no_lane() -> None:
    lately = [OWN[0], replace(OWN[1], missed=2, unseen=0.1)]
    assert _texts(lately, {one.side: one for one in lately}, None)[0][:2] == ("lane", "90% not seen now")
    image = annotate(blank(), [OWN[0], replace(OWN[1], missed=9, unseen=0.5)])
    assert tuple(image[300, 320]) == (100, 100, 100)  # no tint
    x, y = OWN[1].line[10]
    around = slice(round(float(x)) - 3, round(float(x)) + 4)
    assert (image[int(y), around] != 100).any(1).sum() < (annotate(blank(), OWN[1:])[int(y), around] != 100).any(1).sum()


def test_a_warning_is_shown_also_where_no_line_is() -> None:
    assert [text[:2] for text in _texts([], {}, Driving(departing="left"))] == [("no lane", ""), ("LEAVING", "LEFT")]


def test_what_the_panel_says() -> None:
    own = {one.side: one for one in OWN}
    values = {name: value for name, value, _ in _texts(OWN, own, FULL)}
    assert values == {
        "lane": "90%",
        "offset": "~ 0.25 m right",
        "curve": "~ 400 m right",
        "heading": "~ 0.6 deg left",
        "crossing": "~ in 2.5 s",
    }
    sure = {name: value for name, value, _ in _texts(OWN, own, Driving(-0.25, 3.6, 0.0, None, None, "left"))}
    assert sure["offset"] == "0.25 m left"
    assert sure["curve"] == "straight"
    assert sure["LEAVING"] == "LEFT"
    assert _texts(OWN[:1], {"left": OWN[0]}, None)[0][:2] == ("left line", "90% no lane")


def test_crossing_lines_have_no_lane_between_them() -> None:
    image = annotate(blank(), [tracked(1, 400, 120, "left"), tracked(2, 240, 520, "right")])
    assert tuple(image[340, 320]) == (100, 100, 100)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("size", [(1280, 720), (320, 180), (20, 30), (1, 1)])
@pytest.mark.parametrize("shift", [0.0, -5000.0, 5000.0, 1e9])
def test_it_stays_within_the_image(size: tuple[int, int], shift: float) -> None:
    """Drawn into part of a larger array, whose rest must stay as it was."""
    width, height = size
    whole = np.full((height + 20, width + 20, 3), 7, np.uint8)
    part = whole[10:-10, 10:-10]
    lines = [
        Tracked(one.id, (one.line * (width / WIDTH, height / HEIGHT) + (shift, 0)).astype(np.float32), 0.9, 9, 0, one.side)
        for one in OWN
    ]
    annotate(part, lines, FULL, "a note")
    whole[10:-10, 10:-10] = 7
    assert (whole == 7).all()
