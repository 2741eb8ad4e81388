from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from shared.explain.gradcam import class_maps, energy_inside, pointing_game, randomisation_check


def network(classes: int = 3) -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2, 1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, 2, 1),
        nn.ReLU(inplace=True),
        nn.Conv2d(16, 16, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(64, classes),
    ).eval()


IMAGES = torch.randn(5, 3, 24, 32, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("layer", [3, 5])
def test_gradcam_agrees_with_captum_and_leaves_no_trace(layer: int) -> None:
    captum = pytest.importorskip("captum.attr")
    model, targets = network(), torch.tensor([0, 1, 2, 0, 1])
    ours = class_maps(model, model[layer], IMAGES, targets)
    theirs = captum.LayerGradCam(model, model[layer]).attribute(IMAGES, targets, relu_attributions=True)
    theirs = captum.LayerAttribution.interpolate(theirs, (24, 32), "bilinear")[:, 0].detach().numpy()
    highest = theirs.max((1, 2), keepdims=True)
    np.testing.assert_allclose(ours.maps, theirs / np.where(highest > 0, highest, 1), atol=1e-5)
    np.testing.assert_allclose(ours.logits, model(IMAGES).detach().numpy(), atol=1e-6)
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not model[layer]._forward_hooks
    assert torch.is_grad_enabled()


def test_the_sharper_kind_is_what_its_formula_says() -> None:
    model = network()
    activations = model[:6](IMAGES).detach().requires_grad_()
    (gradients,) = torch.autograd.grad(model[6:](activations.clone())[:, 2].sum(), activations)
    expected = torch.einsum("bchw,bchw->bhw", gradients.relu(), activations.detach()).relu()
    small = class_maps(model, model[5], IMAGES, [2] * 5, kind="layercam").maps
    expected = nn.functional.interpolate(expected[:, None], (24, 32), mode="bilinear")[:, 0]
    np.testing.assert_allclose(small, expected / expected.amax((1, 2), keepdim=True).clamp_min(1e-12), atol=1e-5)


def test_maps_are_alike_in_bf16_channels_last_autocast_and_inference_mode() -> None:
    model, targets = network(), [0, 1, 2, 0, 1]
    plain = class_maps(model, model[5], IMAGES, targets, kind="layercam").maps
    last = IMAGES.to(memory_format=torch.channels_last)
    with torch.inference_mode():
        np.testing.assert_allclose(class_maps(model, model[5], last * 1, targets, kind="layercam").maps, plain, atol=1e-5)
        assert torch.is_inference_mode_enabled()
    with torch.autocast("cpu", torch.bfloat16):
        mixed = class_maps(model, model[5], last, targets, kind="layercam")
    model = network().bfloat16().to(memory_format=torch.channels_last)
    halved = class_maps(model, model[5], last.bfloat16(), targets, kind="layercam")
    for low in (mixed, halved):
        assert low.maps.dtype == low.logits.dtype == np.float32
        assert min(np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(low.maps, plain, strict=True)) > 0.98


def test_other_threads_may_use_the_network_meanwhile() -> None:
    model, targets = network(), [0, 1, 2, 0, 1]
    alone, other = class_maps(model, model[5], IMAGES, targets), class_maps(model, model[5], -IMAGES, targets)
    found: list[np.ndarray] = []

    def meanwhile(*_: object) -> None:
        if not found:
            found.append(np.zeros(0))
            with ThreadPoolExecutor(1) as pool:
                found.append(pool.submit(lambda: class_maps(model, model[5], -IMAGES, targets)).result().maps)
                found.append(pool.submit(lambda: model(-IMAGES).detach().numpy()).result())

    model[2].register_forward_hook(meanwhile)
    again = class_maps(model, model[5], IMAGES, targets)
    np.testing.assert_allclose(again.maps, alone.maps, atol=1e-6)
    np.testing.assert_allclose(found[1], other.maps, atol=1e-6)
    np.testing.assert_allclose(found[2], other.logits, atol=1e-5)


def test_one_logit_has_evidence_for_and_against() -> None:
    single, double = network(1), network(2)
    with torch.no_grad():
        double[-1].weight.copy_(torch.cat([-single[-1].weight, single[-1].weight]))
    for target in (0, 1):
        ours = class_maps(single, single[5], IMAGES, [target] * 5, logits=lambda output: output[:, 0]).maps
        np.testing.assert_allclose(ours, class_maps(double, double[5], IMAGES, [target] * 5).maps, atol=1e-6)


def test_a_layer_that_is_no_map_of_the_image_is_refused() -> None:
    model = network()
    for layer in (model[9], nn.Conv2d(1, 1, 1)):
        with pytest.raises(ValueError, match="run once"):
            class_maps(model, layer, IMAGES, [0] * 5)
    assert not model[9]._forward_hooks


def test_pointing_and_energy_count_what_lies_in_the_mask() -> None:
    maps, masks = np.zeros((4, 20, 20)), np.zeros((4, 20, 20), dtype=bool)
    masks[:3, 5:10, 5:10] = True
    maps[0, 7, 7], maps[0, 0, 0] = 1.0, 0.5
    maps[1, 12, 9] = 1.0  # 3 pixels below
    np.testing.assert_array_equal(pointing_game(maps, masks), [1, 0, 0, np.nan])
    np.testing.assert_array_equal(pointing_game(maps, masks, tolerance=3), [1, 1, 0, np.nan])
    np.testing.assert_allclose(energy_inside(maps, masks), [2 / 3, 0, 0, np.nan])


def test_maps_of_a_trained_network_find_the_mark_and_fall_apart_when_it_forgets() -> None:
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 2, (160,), generator=rng)
    images = torch.rand(160, 3, 24, 32, generator=rng)
    masks = torch.zeros(160, 24, 32, dtype=torch.bool)
    for place, label in enumerate(labels):
        y, x = torch.randint(0, 18, (2,), generator=rng).tolist()
        masks[place, y : y + 6, x : x + 6] = True
        images[place, 0 if label else 2, y : y + 6, x : x + 6] += 1  # the class is the colour of a square
    model = network(2)
    optimiser = torch.optim.Adam(model.parameters(), 3e-3)
    for _ in range(60):
        optimiser.zero_grad()
        nn.functional.cross_entropy(model(images[:128]), labels[:128]).backward()
        optimiser.step()

    def explain(network: nn.Module) -> np.ndarray:
        return class_maps(network, network[4], images[128:], labels[128:], kind="layercam").maps  # type: ignore[index]

    chance = masks[128:].float().mean().item()
    assert np.mean(pointing_game(explain(model), masks[128:].numpy())) > 0.8 > 3 * chance
    assert np.mean(energy_inside(explain(model), masks[128:].numpy())) > 2 * chance
    before = {name: value.clone() for name, value in model.state_dict().items()}
    alike = randomisation_check(model, ["9", "5", "3", "0"], explain)
    assert list(alike) == ["9", "5", "3", "0"]
    assert alike["0"] < 0.4
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    edges = randomisation_check(model, ["9", "0"], lambda _: images[128:, 0].numpy())
    assert edges == pytest.approx({"9": 1, "0": 1})  # a map of the image's own edges is found out
