from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from usecases.lane_detection.camera import Camera
from usecases.lane_detection.classical import Classical
from usecases.lane_detection.lanes import Line, at_rows, line
from usecases.lane_detection.tracking import Detected

CAMERA = Camera(1280, 720, (1024.0, 1024.0), (640.0, 360.0), 1.4, 0.08)
DATA = Path(__file__).parents[4] / "shared" / "data" / "lane"
WHITE, YELLOW = (215, 215, 215), (60, 170, 215)


def curve(x: float, radius: float, along: np.ndarray) -> np.ndarray:
    """A line x metres to the right of the camera, at distances `along`: [n, 3] metres."""
    return np.column_stack([x + along**2 / (2 * radius), along, np.zeros(len(along))])


def road(
    lines: dict[float, str],
    radius: float = 1e9,
    camera: Camera = CAMERA,
    size: tuple[int, int] = (1280, 720),
    contrast: float = 1.0,
    paint: tuple[int, int, int] = WHITE,
) -> tuple[np.ndarray, list[Line]]:
    """A road with solid or dashed lines at metres to the right, and its labels."""
    camera = camera.resized(*size)
    random = np.random.default_rng(0)
    image = np.full((size[1], size[0], 3), (200, 160, 130), np.uint8)
    horizon = round(camera.horizon())
    image[horizon:] = np.clip(random.normal(85, 6, (size[1] - horizon, size[0], 1)), 0, 255)
    tint = tuple(85 + contrast * (part - 85) for part in paint)
    labels = []
    for x, kind in lines.items():
        every, dash = {"solid": (2, 2.05), "dashed": (12, 3.5), "short": (7, 0.3)}[kind]
        for start in np.arange(3.0, 70, every):
            along = np.linspace(start, start + dash, 6)
            sides = [camera.project(curve(x + half, radius, along)) for half in (-0.08, 0.08)]
            cv2.fillPoly(image, [np.round(np.concatenate([sides[0], sides[1][::-1]])).astype(np.int32)], tint, cv2.LINE_AA)
        seen = camera.project(curve(x, radius, np.linspace(3, 60, 300)))
        labels.append(line(seen[(seen[:, 0] >= 0) & (seen[:, 0] < size[0]) & (seen[:, 1] < size[1])]))
    return cv2.GaussianBlur(image, (3, 3), 0), labels


def errors(found: list[Detected], labels: list[Line]) -> list[float]:
    """Mean distance of each label's points from the closest found line, pixels at 1280 columns' scale."""
    out = []
    for label in labels:
        rows = np.arange(np.ceil(label[0, 1]), label[-1, 1])
        misses = [np.abs(at_rows(one.line, rows) - at_rows(label, rows)) for one in found]
        out.append(min((float(np.nanmean(miss)) for miss in misses if np.isfinite(miss).mean() > 0.6), default=1e9))
    return out


FOUR = {-5.4: "solid", -1.8: "dashed", 1.8: "dashed", 5.4: "solid"}


@pytest.mark.parametrize("radius", [1e9, 500.0, -350.0])
def test_four_lines_of_a_motorway(radius: float) -> None:
    image, labels = road(FOUR, radius)
    found = Classical()(image)
    assert len(found) == 4
    assert max(errors(found, labels)) < 8
    assert min(one.confidence for one in found) > 0.5
    bottoms = [one.line[-1, 0] for one in found]
    assert bottoms == sorted(bottoms)


def test_short_dashes_alone_tell_the_horizon() -> None:
    image, labels = road(dict.fromkeys((-1.8, 1.8), "short"))
    assert max(errors(Classical()(image), labels)) < 10


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (960, 540)])
def test_any_size(size: tuple[int, int]) -> None:
    image, labels = road(FOUR, size=size)
    assert max(errors(Classical()(image), labels)) < 8 * size[0] / 1280


def test_yellow_paint_as_light_as_the_road() -> None:
    """Only its colour tells it from the road."""
    grey = cv2.cvtColor(np.uint8([[YELLOW]]), cv2.COLOR_BGR2Lab)[0, 0]
    same = cv2.cvtColor(np.uint8([[(92, grey[1], grey[2])]]), cv2.COLOR_Lab2BGR)[0, 0]
    image, labels = road(FOUR, paint=tuple(int(part) for part in same))  # type: ignore[arg-type]
    assert max(errors(Classical()(image), labels)) < 8


def test_faint_paint_gives_less_confidence() -> None:
    strong, faint = (Classical()(road(FOUR, contrast=contrast)[0]) for contrast in (1.0, 0.22))
    assert strong
    assert faint
    assert np.mean([one.confidence for one in faint]) < np.mean([one.confidence for one in strong]) - 0.02


def nothing() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    rough = random.integers(60, 120, (720, 1280, 3), dtype=np.uint8)
    return {
        "black": np.zeros((720, 1280, 3), np.uint8),
        "white": np.full((720, 1280, 3), 255, np.uint8),
        "noise": random.integers(0, 255, (720, 1280, 3), dtype=np.uint8),
        "asphalt": cv2.GaussianBlur(rough, (0, 0), 1.5),
        "clouds": cv2.normalize(cv2.GaussianBlur(rough, (0, 0), 20), None, 0, 255, cv2.NORM_MINMAX),  # type: ignore[call-overload]
        "a road without paint": road({})[0],
        "a sliver": np.zeros((2, 3, 3), np.uint8),
        "tall": np.full((2000, 50, 3), 80, np.uint8),
    }


@pytest.mark.parametrize("name", list(nothing()))
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    assert Classical()(nothing()[name]) == []


def test_one_image_does_not_depend_on_another() -> None:
    detect = Classical()
    first, _ = road(FOUR)
    second, _ = road(FOUR, 400.0)
    before = detect(first)
    detect(second)
    after = detect(first)
    assert all((a.line == b.line).all() and a.confidence == b.confidence for a, b in zip(before, after, strict=True))


@pytest.mark.skipif(not DATA.exists(), reason="needs the Udacity images")
def test_real_photographs() -> None:
    """Both lines of the car's lane, at the image's bottom, where a person sees them (20 pixels of 960)."""
    ours = {"solidWhiteRight": (153, 849), "solidYellowLeft": (139, 840), "solidWhiteCurve": (190, 880)}
    for name, places in ours.items():
        image = cv2.imread(str(DATA / "udacity" / "images" / f"{name}.jpg"))
        assert image is not None
        bottoms = [one.line[-1, 0] for one in Classical()(image) if one.line[-1, 1] > 530]
        assert all(min(abs(place - bottom) for bottom in bottoms) < 20 for place in places), (name, bottoms)
