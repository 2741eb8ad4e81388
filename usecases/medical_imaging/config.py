"""Every knob of medical imaging."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from shared.config import RunConfig, Section
from usecases.medical_imaging.network import Model
from usecases.medical_imaging.packing import Changes


class Simulation(Section):
    """Simulated slices of brains, which train where there is nothing else. They are no patients."""

    patients: int = Field(400, ge=10, description="simulated people")
    slices: int = Field(6, ge=1, le=20, description="of each of them")
    ill: float = Field(0.5, gt=0, lt=1, description="share of people with lesions")


class Data(Section):
    """Where images come from."""

    source: str = Field("simulated", description="a folder, a manifest (CSV) or a MedMNIST file; 'simulated' makes some")
    layout: Literal["auto", "folders", "manifest", "medmnist"] = Field("auto", description="of the source")
    columns: dict[str, str] = Field(
        {}, description="manifest columns: path, label, patient, mask, split, source; where named otherwise"
    )
    classes: tuple[str, ...] = Field((), description="labels in order, the finding last; none: as they sort, healthy names first")
    patient_pattern: str = Field(
        "",
        description="regular expression whose first group in a file's path is the patient, such as 'patient(\\d+)'; none: folders tell",
    )
    simulation: Simulation = Simulation()


class Split(Section):
    """Shares of the patients. One patient's images, and images that look alike, stay together. A data set's own split is kept."""

    validation: float = Field(0.15, gt=0, lt=1, description="share for choosing")
    test: float = Field(0.2, gt=0, lt=1, description="share for judging")
    folds: int = Field(
        1, ge=1, le=20, description="cross-validation: that many models, every image judged once; 1: a single split"
    )


class Decide(Section):
    """From probabilities to what is said."""

    sensitivity: float = Field(
        0.95, gt=0, lt=1, description="of two classes: share of validation's findings that the operating point must reach"
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="of two classes: probability from which on the finding is called; null: by the sensitivity"
    )
    risk: float = Field(0.05, gt=0, lt=1, description="largest share of wrong decisions; less sure ones are referred to a human")
    unusual: float = Field(
        0.01, gt=0, lt=0.5, description="share of validation images that may be refused as unlike those of training"
    )
    area: float = Field(0.5, gt=0, lt=1, description="probability from which on a pixel belongs to the mask")


class MedicalConfig(RunConfig):
    """Medical imaging."""

    data: Data = Data()
    split: Split = Split()
    model: Model = Model()
    changes: Changes = Changes()
    decide: Decide = Decide()
