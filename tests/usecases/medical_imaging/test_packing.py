from __future__ import annotations

import numpy as np
import pytest
import torch

from shared.models.segmentation import dice
from usecases.medical_imaging.packing import Changes, Packed, changed

STILL = {"turn": 0, "zoom": 0, "shift": 0, "light": 0, "spoil": 0, "mirror": False}


def blob(side: int = 64) -> np.ndarray:
    image = np.zeros((side, side), np.uint8)
    image[10:22, 14:40] = 255
    return image


@pytest.mark.parametrize("knob", [{"mirror": True}, {"upside_down": True}, {"turn": 30}, {"zoom": 0.4}, {"shift": 0.2}])
def test_masks_move_with_their_images(knob: dict[str, float]) -> None:
    random, changes, far = np.random.default_rng(0), Changes.model_validate({**STILL, **knob}), []
    for _ in range(20):
        image, mask = changed(blob(), (blob() > 0).astype(np.uint8), changes, random)
        assert mask is not None
        assert dice(torch.from_numpy(image > 127)[None], torch.from_numpy(mask)[None]) > 0.95
        far.append(float(dice(torch.from_numpy(mask)[None], torch.from_numpy(blob() > 0)[None])))
    assert min(far) < 0.9  # it did move


@pytest.mark.parametrize("knob", [{"light": 0.3}, {"spoil": 1.0}])
def test_light_and_spoiling_change_images_in_their_place(knob: dict[str, float]) -> None:
    random, changes = np.random.default_rng(0), Changes.model_validate({**STILL, **knob})
    for shape in ((64, 64), (64, 64, 3)):
        image = np.full(shape, 100, np.uint8)
        made, _ = changed(image.copy(), None, changes, random)
        assert made.shape == shape
        assert made.dtype == np.uint8
        assert (made != image).any()
    assert (changed(blob(), None, Changes.model_validate(STILL), random)[0] == blob()).all()


def test_images_differ_at_each_use_by_torchs_seed_and_the_kept_ones_stay() -> None:
    images = np.stack([blob()] * 6)
    packed = Packed(images, np.array([0, 1, 1, 0, 1, 0]), 2, masks=images > 0, changes=Changes())
    torch.manual_seed(3)
    first, second = packed.__getitems__([0, 1, 5]), packed.__getitems__([0, 1, 5])
    torch.manual_seed(3)
    again = packed.__getitems__([0, 1, 5])
    assert torch.equal(first["image"], again["image"])
    assert not torch.equal(first["image"], second["image"])
    assert (packed.images == blob()).all()
    assert first["image"].shape == first["mask"].shape == (3, 1, 64, 64)
    assert first["label"].tolist() == [[1, 0], [0, 1], [1, 0]]
    plain = Packed(np.stack([np.zeros((32, 32, 3), np.uint8)] * 2), np.array([0, 1]), 2)
    assert plain[1]["image"].shape == (3, 32, 32)
    assert "mask" not in plain[1]


def test_mixed_images_have_mixed_labels() -> None:
    images = np.stack([np.full((16, 16), value, np.uint8) for value in (0, 200)])
    packed = Packed(images, np.array([0, 1]), 2, changes=Changes.model_validate({**STILL, "mix": 1.0}))
    for _ in range(10):
        batch = packed.__getitems__([0, 1])
        torch.testing.assert_close(batch["image"].float().mean((1, 2, 3)) / 200, batch["label"][:, 1], atol=0.01, rtol=0)


def test_few_images_are_moved_and_relit_less() -> None:
    whole = Changes(turn=10, zoom=0.4, few=100, gentle=0.5)
    assert whole.of(100) == whole
    gentle = whole.of(99)
    assert (gentle.turn, gentle.zoom, gentle.spoil, gentle.mirror) == (5, 0.2, whole.spoil, whole.mirror)
