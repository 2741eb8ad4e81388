from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from shared.data.images import alike
from shared.errors import DataError
from usecases.lane_detection import checks, formats, splits
from usecases.lane_detection.images import colour, prints
from usecases.lane_detection.lanes import Frame


def scene(seed: int) -> np.ndarray:
    """An image that is like no other seed's."""
    coarse = np.random.default_rng(seed).integers(0, 255, (5, 8, 3), dtype=np.uint8)
    return cv2.resize(coarse, (160, 90), interpolation=cv2.INTER_CUBIC)


def of_clips(sizes: list[int]) -> list[Frame]:
    return [Frame(f"{clip}/{n}", scene(clip), (), f"{clip}") for clip, size in enumerate(sizes) for n in range(size)]


@pytest.mark.parametrize("seed", range(8))
def test_clips_stay_together(seed: int) -> None:
    frames = of_clips([1, 9, 20, 3, 7, 12, 5, 8, 30, 2, 6, 4, 10, 11])
    parts = splits.split(frames, 0.2, 0.2, seed)
    clips = [{frame.clip for frame in part} for part in parts]
    assert sum(map(len, clips)) == 14
    assert len(set.union(*clips)) == 14
    assert sorted(frame.name for part in parts for frame in part) == sorted(frame.name for frame in frames)
    assert all(part == [frame for frame in frames if frame in part] for part in parts)  # in order
    for part in parts[1:]:
        assert 0.1 <= len(part) / len(frames) <= 0.35
    assert splits.split(frames, 0.2, 0.2, seed) == parts
    assert splits.split(frames, 0.2, 0.2, seed + 1) != parts


def test_shares_are_met_where_clips_are_small() -> None:
    frames = of_clips([2] * 100)
    assert [len(part) for part in splits.split(frames, 0.15, 0.25, 0)] == [120, 30, 50]
    assert [len(part) for part in splits.split(frames, 0, 0.25, 0)] == [150, 0, 50]
    assert [len(part) for part in splits.split(frames, 0.001, 0.001, 0)] == [196, 2, 2]


def test_each_part_gets_a_clip_or_a_clear_error() -> None:
    assert [len(part) for part in splits.split(of_clips([50, 1, 1]), 0.4, 0.4, 0)].count(0) == 0
    assert [len(part) for part in splits.split(of_clips([1] * 4), 0.5, 0.25, 0)] == [1, 2, 1]
    with pytest.raises(DataError, match=r"2 clip\(s\), 3 are needed"):
        splits.split(of_clips([5, 5]), 0.2, 0.2, 0)
    with pytest.raises(DataError, match="0 clip"):
        splits.split([], 0.2, 0.2, 0)
    with pytest.raises(ValueError, match="below 1"):
        splits.split(of_clips([1] * 9), 0.5, 0.5, 0)


def changed(image: np.ndarray) -> list[np.ndarray]:
    """The same picture after what copies go through."""
    packed = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1]
    noisy = image + np.random.default_rng(0).normal(0, 4, image.shape)
    return [
        np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR)),
        cv2.resize(image, (320, 180)),
        cv2.convertScaleAbs(image, alpha=0.8, beta=15),
        noisy.clip(0, 255).astype(np.uint8),
        image[1:-1, 2:-2],
    ]


def test_images_that_are_alike_stay_together_without_clips() -> None:
    frames = []
    for seed in range(12):
        frames += [Frame(f"{seed}-{n}", picture) for n, picture in enumerate([scene(seed), *changed(scene(seed))])]
    parts = splits.split(frames, 0.25, 0.25, 3)
    seeds = [{frame.name.partition("-")[0] for frame in part} for part in parts]
    assert [len(part) for part in parts] == [36, 18, 18]
    assert sum(map(len, seeds)) == 12
    mixed = [
        Frame("a", scene(1), clip="x"),
        Frame("b", changed(scene(1))[0]),
        Frame("c", scene(2), clip="x"),
        Frame("d", scene(3)),
    ]
    assert splits.units(mixed).tolist() == [0, 0, 0, 1]


def test_images_that_are_alike_join_their_clips() -> None:
    """Also where every frame has a clip: the last frame of one recording is the first of the next."""
    frames = [Frame(f"{clip}-{n}", scene(10 * clip + n), clip=str(clip)) for clip in range(6) for n in range(3)]
    frames[3] = Frame("again", changed(scene(2))[0], clip="1")
    assert splits.units(frames).tolist() == [0] * 6 + [place // 3 - 1 for place in range(6, 18)]
    for seed in range(8):
        parts = splits.split(frames, 0.2, 0.2, seed)
        assert checks.check_parts(dict(zip("abc", parts, strict=True)), "here") == []


def test_near_duplicates_are_found_and_others_are_not(tmp_path: Path) -> None:
    one = [Frame(str(seed), scene(seed)) for seed in range(40)]
    copy = tmp_path / "copy.jpg"
    assert cv2.imwrite(str(copy), scene(7))
    other = [Frame(str(seed), scene(seed)) for seed in range(100, 130)]
    other += [Frame("copy", copy), Frame("again", scene(7)), Frame("gone", tmp_path / "gone.jpg")]
    assert splits.near_duplicates(one, other) == [(7, 30)]
    assert splits.near_duplicates([Frame("black", np.zeros((9, 9, 3), np.uint8))], other) == []  # nor as the one that is gone
    steep = (255 * (scene(7) / 255.0) ** 2).astype(
        np.uint8
    )  # what is brighter stays brighter, and so its hash is nearly the same
    assert splits.near_duplicates([Frame("steep", steep)], other) == []
    assert splits.near_duplicates([], other) == []
    assert splits.near_duplicates(one, []) == []


def test_pairs_are_those_of_the_definition() -> None:
    pictures = [scene(seed) for seed in range(30)]
    pictures += [p for seed in range(4) for p in changed(scene(seed))]
    found = prints([Frame(str(n), picture) for n, picture in enumerate(pictures)])
    expected = []
    for i in range(len(pictures)):
        for j in range(i + 1, len(pictures)):
            bits = bin(int(found.hashes[i]) ^ int(found.hashes[j])).count("1")
            if bits <= 10 and np.abs(found.thumbs[i] - found.thumbs[j]).mean() < 5:
                expected.append([i, j])
    assert len(expected) >= 4 * 15  # 6 pictures of each of 4 scenes
    assert sorted(alike(found).tolist()) == expected


def test_many_equal_images_are_one_unit() -> None:
    frames = [Frame(str(n), scene(n % 2)) for n in range(200)]
    assert len(set(splits.units(frames))) == 2


def test_real_frames(shared_data: Path) -> None:
    """Of two clips some seconds apart the frames are different; a frame and a smaller, darker copy of it are not."""
    frames = formats.load(shared_data / "lane" / "tusimple-6")
    small = [Frame(f.name, cv2.convertScaleAbs(cv2.resize(colour(f), (640, 360)), alpha=0.7)) for f in frames]
    assert splits.near_duplicates(frames, small) == [(n, n) for n in range(6)]
    assert len(splits.split(frames, 0.2, 0.2, 0)[0]) == 4
