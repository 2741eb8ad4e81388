"""Every knob of medical imaging."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.config import RunConfig, Section, Training


class Simulation(Section):
    """Simulated slices of brains, which train where there is nothing else. They are no patients."""

    patients: int = Field(400, ge=10, description="simulated people")
    slices: int = Field(6, ge=1, le=20, description="of each of them")
    ill: float = Field(0.5, gt=0, lt=1, description="share of people with lesions")


class Data(Section):
    """Where images come from."""

    source: str = Field("simulated", description="a folder, a manifest (CSV) or a MedMNIST file; 'simulated' makes some")
    layout: Literal["auto", "folders", "manifest", "medmnist"] = Field("auto", description="of the source")
    columns: dict[str, str] = Field({}, description="manifest columns: path, label, patient, mask, split, source; where named otherwise")
    classes: tuple[str, ...] = Field((), description="labels in order, the finding last; none: as they sort, healthy names first")
    simulation: Simulation = Simulation()


class Split(Section):
    """Shares of the patients. One patient's images, and images that look alike, stay together. A data set's own split is kept."""

    validation: float = Field(0.15, gt=0, lt=1, description="share for choosing")
    test: float = Field(0.2, gt=0, lt=1, description="share for judging")
    folds: int = Field(1, ge=1, le=20, description="cross-validation: that many models, every image judged once; 1: a single split")
