"""What is said of trust: by hand, and that heat maps and refusals can fail."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.usecases.medical_imaging.conftest import Trained
from tests.usecases.medical_imaging.test_finder import Bright
from usecases.medical_imaging import trust
from usecases.medical_imaging.evidence import Labelled, Method
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.prepare import Prepared


def judged(labels: np.ndarray, decided: np.ndarray) -> tuple[Labelled, Method]:
    sure = np.where(decided[:, None] == [0, 1], 0.9, 0.1)
    names = [str(place) for place in range(len(labels))]
    return Labelled(names, labels, np.array(names), [{}] * len(labels)), Method(sure, decided)


def test_predictive_values_follow_from_bayes_at_each_prevalence() -> None:
    labels = np.repeat([1, 1, 0, 0], [90, 10, 80, 20])
    decided = np.repeat([1, 0, 0, 1], [90, 10, 80, 20])
    cases, method = judged(labels, decided)
    refer = np.zeros(200, bool)
    refer[90:100] = True  # all that were missed
    found = trust.decisions(cases, method, method.probabilities.max(1), refer, 0.5 + 0.5 * refer, None)
    point = found["operating"]
    assert (point["true_positives"], point["false_negatives"], point["true_negatives"], point["false_positives"]) == (
        90,
        10,
        80,
        20,
    )
    assert (point["sensitivity"]["value"], point["specificity"]["value"]) == (0.9, 0.8)
    for share, (right, clear) in point["predictive_values"].items():
        ill = float(share)
        assert right["value"] == pytest.approx(0.9 * ill / (0.9 * ill + 0.2 * (1 - ill)), abs=1e-6)
        assert clear["value"] == pytest.approx(0.8 * (1 - ill) / (0.8 * (1 - ill) + 0.1 * ill), abs=1e-6)
    assert (found["referred"], found["refused"]) == (0.05, 0.05)
    assert "5.0% because they are unlike the images of training; of those it decides itself 10.5%" in trust.told(found)
    assert found["wrong"] == pytest.approx(0.15)
    assert found["wrong_where_decided"] == pytest.approx(20 / 190)
    json.dumps(found, allow_nan=False)


def test_a_model_that_refers_everything_has_no_share_of_wrong_decisions() -> None:
    labels = np.arange(20) % 2
    cases, method = judged(labels, labels)
    found = trust.decisions(cases, method, np.ones(20), np.ones(20, bool), np.zeros(20), None)
    assert found["wrong_where_decided"] is None
    assert found["wrong"] == 0
    assert trust.told(found).endswith("0.0% because they are unlike the images of training.")
    json.dumps(found, allow_nan=False)


def spots(there: bool) -> Prepared:
    """Images with a bright spot, and masks on it or in the corner opposite."""
    images, masks = np.full((12, 64, 64), 60, np.uint8), np.zeros((12, 64, 64), np.uint8)
    for place, image in enumerate(images):
        top = 8 + 2 * place
        image[top : top + 12, 10:22] = 255
        left = 10 if there else 50
        masks[place, top : top + 12, left : left + 12] = 1
    return Prepared(images, np.ones(12, np.int64), masks, [])


@pytest.fixture
def bright(simulated: Trained, monkeypatch: pytest.MonkeyPatch) -> Finder:
    finder = replace(simulated.finder, novelty=None)
    finder.__dict__["fast"] = [Bright()]
    monkeypatch.setattr(trust, "randomisation_check", lambda *_: {})
    return finder


def test_heat_on_the_finding_passes_and_heat_beside_it_fails(bright: Finder) -> None:
    right, wrong = trust.explain(bright, spots(True)), trust.explain(bright, spots(False))
    assert right.pointing == 1
    assert wrong.pointing == 0
    assert right.energy is not None
    assert wrong.energy is not None
    assert right.energy > 0.8 > 0.1 > wrong.energy
    assert right.chance is not None
    assert 12 * 12 / 64**2 < right.chance < 2 * 16 * 16 / 64**2  # the mask's share, widened


def test_without_masks_or_findings_there_is_nothing_to_point_at(bright: Finder) -> None:
    part = spots(True)
    none = trust.explain(bright, replace(part, masks=None))
    assert (none.pointing, none.chance, none.energy, len(none.maps)) == (None, None, None, 12)
    assert part.masks is not None
    clear = trust.explain(bright, replace(part, masks=0 * part.masks, labels=0 * part.labels))
    assert (clear.pointing, len(clear.maps)) == (None, 0)


def test_every_class_is_explained_where_none_is_healthy(bright: Finder) -> None:
    part = replace(spots(True), masks=None, labels=np.arange(12) % 2)
    for classes, shown in ((("normal", "glioma", "meningioma"), 6), (("basophil", "eosinophil", "monocyte"), 12)):
        assert len(trust.explain(replaced(bright, classes), part).places) == shown


def replaced(finder: Finder, classes: tuple[str, ...]) -> Finder:
    other = replace(finder, classes=classes)
    other.__dict__["fast"] = finder.fast
    return other


def test_a_network_forgets_all_of_its_parts_from_the_end(simulated: Trained) -> None:
    network = simulated.finder.networks[0]
    names = trust.from_the_end(network)
    assert names[:2] == ["last", "decoder"]
    assert names[2:] == [f"backbone.stages.{k}" for k in reversed(range(len(network.backbone.stages)))]
    found = simulated.metrics["trust"]["heat_maps"]["after_forgetting"]
    assert list(found) == names
    assert all(-1 <= value <= 1 for value in found.values())
    before = {name: tensor.clone() for name, tensor in simulated.finder.fast[0].state_dict().items()}
    trust.explain(simulated.finder, simulated.fits[0][0].test.take(range(4)))
    assert all(torch.equal(before[name], tensor) for name, tensor in simulated.finder.fast[0].state_dict().items())


def test_photographs_are_refused_by_what_is_usual_and_by_nothing_else(simulated: Trained) -> None:
    assert trust.refused_photographs(simulated.finder) > 0.9
    assert trust.refused_photographs(replace(simulated.finder, novelty=None)) == 0
