"""Small runs that tests share: each is trained once."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from shared.config import resolve
from shared.runs import Run
from usecases.medical_imaging import evidence, pipeline
from usecases.medical_imaging.config import MedicalConfig
from usecases.medical_imaging.data import Cases
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.pipeline import Outcome

TINY = (
    "model.backbone=residual", "model.size=64", "model.widths=[8,16]", "model.blocks=[1,1]", "model.masks=[8]",
    "model.members=1", "model.training.epochs=1", "model.training.batch_size=8", "model.training.average=0", "model.steps=1",
)  # fmt: skip
PEOPLE = ("data.simulation.patients=10", "data.simulation.slices=3")


@dataclass(frozen=True)
class Trained:
    """A finished run, and what was in memory: the data and the outcome of each fit, the kept one last."""

    folder: Path
    config: MedicalConfig
    fits: list[tuple[Cases, Outcome]]

    @property
    def finder(self) -> Finder:
        return self.fits[-1][1].finder

    @property
    def metrics(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.folder / "metrics.json").read_text("utf-8"))
        return found


def train(folder: Path, *overrides: str) -> Trained:
    """A run with tiny networks, and few resamples."""
    config = resolve(MedicalConfig, [], [*TINY, *overrides])
    run, fits, fit = Run.create("medical_imaging", config, folder), [], pipeline.fit
    with pytest.MonkeyPatch.context() as patch:

        def kept(config: MedicalConfig, cases: Cases, *rest: Any) -> Outcome:
            fits.append((cases, fit(config, cases, *rest)))
            return fits[-1][1]

        patch.setattr(pipeline, "fit", kept)
        patch.setattr(evidence, "RESAMPLES", 40)
        patch.setattr(pipeline, "TIMED", 2)
        pipeline.train(config, run)
    run.finish()
    return Trained(folder, config, fits)


@pytest.fixture(scope="session")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """On simulated people, with masks."""
    return train(tmp_path_factory.mktemp("simulated") / "run", *PEOPLE)


def body(number: int, kind: int, height: int = 80, width: int = 64, colour: bool = False) -> np.ndarray:
    """uint8 image of an ellipse of its own; kind 0 is plain, 1 is striped, 2 has a bright spot."""
    random = np.random.default_rng(1000 * kind + number)
    image = np.full((height, width), 20.0)
    centre = (width // 2 + int(random.integers(-6, 7)), height // 2 + int(random.integers(-6, 7)))
    axes = (int(random.integers(width // 4, width * 2 // 5)), int(random.integers(height // 4, height * 2 // 5)))
    cv2.ellipse(image, centre, axes, float(random.uniform(-30, 30)), 0, 360, 110, -1)
    if kind == 2:
        cv2.circle(image, (centre[0] + int(random.integers(-4, 5)), centre[1]), int(random.integers(5, 9)), 230, -1)
    if kind == 1:
        image[:, (np.arange(width) + int(random.integers(16))) % 16 < 6] += 90
    image += cv2.GaussianBlur(random.normal(0, 60, image.shape), (0, 0), 3)
    shown = image + random.normal(0, 5, image.shape)
    if colour:
        shown = shown[..., None] * np.array([0.5, 0.8, 1.0])  # blue, green, red as OpenCV writes them
    return np.asarray(shown.round().clip(0, 255), np.uint8)


def images(root: Path, counts: dict[str, int], colour: bool = False, each: int = 1, first: int = 0) -> Path:
    """A folder for each class, in the order of their kinds, with a folder for each patient and `each` images of one.

    The same number, from `first` on, is always the same image.
    """
    for kind, (name, count) in enumerate(counts.items()):
        for number in range(first, first + count):
            path = root / name / f"{name}-{number // each}" / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), body(number, kind, colour=colour))
    return root


@pytest.fixture(scope="session")
def folded(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Cross-validated on a folder of two classes that differ plainly, without masks."""
    place = tmp_path_factory.mktemp("folded")
    source = images(place / "data", {"healthy": 18, "striped": 18}, each=2)
    return train(place / "run", f"data.source={source}", "split.folds=3", "model.size=32")
