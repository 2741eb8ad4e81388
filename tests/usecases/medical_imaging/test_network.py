from __future__ import annotations

import pytest
import torch

from usecases.medical_imaging import network as networks
from usecases.medical_imaging.network import FindingNetwork, Model, Objective, class_weights, evidence, mask_loss

SMALL = {"size": 64, "widths": (8, 8, 12), "blocks": (1, 1, 1), "masks": (8, 8, 8)}


@pytest.mark.parametrize("backbone", ["imagenet", "residual"])
@pytest.mark.parametrize("masks", [False, True])
def test_grey_images_are_answered_like_the_same_images_in_colours(backbone: str, masks: bool) -> None:
    torch.manual_seed(0)
    model = Model.model_validate({**SMALL, "backbone": backbone, "masks": (8, 8, 8, 8) if backbone == "imagenet" else (8, 8, 8)})
    network = FindingNetwork(model, 3, masks).eval()
    images = torch.randint(0, 256, (2, 1, 64, 96), dtype=torch.uint8)
    grey, coloured = network(images), network(images.expand(-1, 3, -1, -1))
    assert grey["classes"].shape == (2, 3)
    assert grey["features"].shape == (2, network.length)
    assert set(grey) == {"classes", "features", "mask"} if masks else {"classes", "features"}
    if masks:
        assert grey["mask"].shape == (2, 1, 64, 96)
    for name, one in grey.items():
        torch.testing.assert_close(one, coloured[name], atol=1e-4, rtol=1e-3)


def test_masks_are_as_fine_as_the_decoder_goes_up() -> None:
    for masks, levels in (((8,), 1), ((4, 8), 2), ((2, 2, 4, 8), 3)):
        network = FindingNetwork(Model.model_validate({**SMALL, "backbone": "residual", "masks": masks}), 2, True)
        assert network.decoder is not None
        assert len(network.decoder.joins) == levels
        assert network(torch.zeros(1, 1, 64, 64))["mask"].shape == (1, 1, 64, 64)


def test_exposure_tells_nothing_where_images_are_standardised() -> None:
    torch.manual_seed(0)
    images = torch.randint(60, 120, (1, 1, 64, 64), dtype=torch.uint8)
    for standardise, same in ((True, True), (False, False)):
        network = FindingNetwork(
            Model.model_validate({**SMALL, "backbone": "residual", "standardise": standardise}), 2, False
        ).eval()
        one, other = network(images)["classes"], network(2 * images + 10)["classes"]
        assert torch.allclose(one, other, atol=0.02 * float(one.detach().std())) == same


def test_frozen_stages_learn_nothing_not_even_statistics() -> None:
    network = FindingNetwork(Model(frozen=2, size=32), 2, False).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimizer = torch.optim.AdamW(network.parameters(), 1e-2)
    Objective(torch.ones(2), 0.0)(network, {"image": torch.randint(0, 256, (4, 1, 32, 32)), "label": torch.eye(2)[[0, 1, 0, 1]]})[
        "loss"
    ].backward()
    optimizer.step()
    kept = {
        name.split(".")[1] + name.split(".")[2]
        for name, value in network.state_dict().items()
        if torch.equal(value, before[name])
    }
    assert {"stemconv", "stemnorm", "stages0", "stages1"} <= kept
    assert not kept & {"stages2", "headconv"}


def test_a_small_finding_stands_out_of_the_evidence_of_a_mask() -> None:
    empty, small, large = (torch.full((1, 1, 64, 64), -6.0) for _ in range(3))
    small[..., 3:9, 3:9] = 6
    large[..., :32, :] = 6
    highest, likeliest, area = torch.cat([evidence(one) for one in (empty, small, large)]).T
    assert highest[0] < highest[1] == highest[2]
    assert likeliest[0] + 1 < likeliest[1]
    assert area[0] < area[1] < area[2]


def test_rare_classes_weigh_more_and_images_one_on_average() -> None:
    counts = torch.tensor([90.0, 10.0])
    torch.testing.assert_close(class_weights(counts, 0.0), torch.ones(2))
    torch.testing.assert_close(class_weights(counts, 1.0), torch.tensor([100 / 180, 5.0]))
    half = class_weights(counts, 0.5)
    torch.testing.assert_close(half[1] / half[0], torch.tensor(3.0))
    torch.testing.assert_close((half * counts).sum(), counts.sum())


def test_the_loss_is_the_weighted_cross_entropy_and_knows_masks(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, labels = torch.tensor([[2.0, -1.0], [0.5, 0.0]]), torch.tensor([0, 1])
    weights = torch.tensor([0.5, 1.5])
    objective = Objective(weights, 0.2)
    batch = {"image": torch.zeros(2), "label": torch.eye(2)[labels]}
    reference = torch.nn.functional.cross_entropy(logits, labels, reduction="none", label_smoothing=0.2)
    loss = objective(lambda _: {"classes": logits}, batch)["loss"]  # type: ignore[arg-type]
    torch.testing.assert_close(loss, (reference * weights[labels]).mean())
    monkeypatch.setattr(networks, "mask_loss", lambda *_: torch.tensor(7.0))
    both = objective(lambda _: {"classes": logits, "mask": logits}, {**batch, "mask": labels})["loss"]  # type: ignore[arg-type]
    torch.testing.assert_close(both, loss + 7)


def test_the_loss_of_masks_is_least_where_they_are_right() -> None:
    wanted = torch.zeros(2, 1, 8, 8)
    wanted[0, 0, 2:4, 2:4] = 1
    right, nothing = 20 * (2 * wanted - 1), torch.full_like(wanted, -20.0)
    assert mask_loss(right, wanted) < 1e-3
    assert mask_loss(nothing, wanted) > 0.8 + 20 * 4 / 128 - 0.1  # Dice's loss is there although few pixels are wrong


def test_a_small_finding_that_is_missed_counts_beside_a_large_one() -> None:
    wanted = torch.zeros(3, 1, 32, 32)
    wanted[0, 0, 4:28, 4:28] = 1
    wanted[1, 0, 8:10, 8:10] = 1  # less than a hundredth of what is to be found
    found = 20 * (2 * wanted - 1)
    found[1] = -20.0
    pixels = torch.nn.functional.binary_cross_entropy_with_logits(found, wanted)
    assert mask_loss(found, wanted) - pixels == pytest.approx(0.5 * 0.8 / 2 + 0.5 * (1 - 1153 / 1157), abs=0.01)
