"""Every knob of medical imaging."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from shared.config import RunConfig, Section, Training, merge
from usecases.medical_imaging.network import Model
from usecases.medical_imaging.packing import Changes

SIMULATED = "simulated"


class Simulation(Section):
    """Simulated slices of brains, which train where there is nothing else. They are no patients."""

    patients: int = Field(
        3500, ge=10, description="simulated people to train on; besides, split's shares of as many to choose and to judge"
    )
    slices: int = Field(3, ge=1, le=20, description="of each of them")
    ill: float = Field(0.8, gt=0, lt=1, description="share of people with lesions")


class Data(Section):
    """Where images come from."""

    source: str = Field(SIMULATED, description="a folder, a manifest (CSV) or a MedMNIST file; 'simulated' makes some")
    layout: Literal["auto", "folders", "manifest", "medmnist"] = Field("auto", description="of the source")
    columns: dict[str, str] = Field(
        {}, description="manifest columns: path, label, patient, mask, split, source; where named otherwise"
    )
    classes: tuple[str, ...] = Field((), description="labels in order, the finding last; none: as they sort, healthy names first")
    patient_pattern: str = Field(
        "", description="regular expression whose first group, in a file's path, is the patient; none: folders tell"
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


FEW = Model()
MANY = Model(
    size=160,
    members=1,
    smoothing=0.0,
    training=Training(epochs=2, batch_size=16, learning_rate=1e-3, weight_decay=0.01, average=0.98),
)
MIRRORED = Changes(turn=0, zoom=0, shift=0, light=0, spoil=0)  # simulated people differ in all these already


class MedicalConfig(RunConfig):
    """Medical imaging."""

    data: Data = Data()
    split: Split = Split()
    model: Model | None = Field(
        None, description="knobs left out are by the data: images of one's own are few, simulated ones many, with masks"
    )
    changes: Changes | None = Field(None, description="knobs left out are by the data: simulated images are only mirrored")
    decide: Decide = Decide()

    @model_validator(mode="before")
    @classmethod
    def _completed(cls, given: dict[str, Any]) -> dict[str, Any]:
        """A change to one knob of a section that is by the data leaves the section's others as they suit it."""
        made = dict(given)
        for name, suited in zip(("model", "changes"), _suited(given.get("data")), strict=True):
            if isinstance(given.get(name), dict):
                made[name] = suited.model_dump()
                merge(made[name], given[name])
        return made

    @property
    def network(self) -> Model:
        """The model's knobs: as given, or what suits the data."""
        return self.model or _suited(self.data)[0]

    @property
    def augmentation(self) -> Changes:
        """The changes' knobs: as given, or what suits the data."""
        return self.changes or _suited(self.data)[1]

    def settled(self) -> Self:
        return self.model_copy(update={"model": self.network, "changes": self.augmentation})


def _suited(data: Any) -> tuple[Model, Changes]:
    """The knobs for what the section `data` says."""
    source = data.get("source", SIMULATED) if isinstance(data, dict) else getattr(data, "source", SIMULATED)
    return (MANY, MIRRORED) if source == SIMULATED else (FEW, Changes())
