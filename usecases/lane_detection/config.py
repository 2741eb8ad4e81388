"""Every knob of lane detection."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator
from pydantic_core import PydanticCustomError

from shared.config import RunConfig, Section, Training


class Simulation(Section):
    """Rendered frames, which train the network where there are no others, or beside others."""

    frames: int = Field(8000, ge=0, description="rendered for training; beside own frames only with data.simulated_too")
    validation: int = Field(400, ge=1, description="rendered for choosing")
    test: int = Field(600, ge=1, description="rendered for judging")
    width: int = Field(640, ge=64, description="of a rendered frame, pixels")
    height: int = Field(360, ge=64, description="of a rendered frame, pixels")


class Data(Section):
    """Where labelled frames come from."""

    source: str = Field(
        "simulated", description="a file or folder of labelled frames; 'simulated' renders some, which are not real"
    )
    layout: Literal["auto", "tusimple", "culane", "polylines", "labelme", "cvat"] = Field("auto", description="of the source")
    names: tuple[str, ...] = Field((), description="labels of the polylines that are lines of lanes; none: all of them")
    simulated_too: bool = Field(True, description="whether rendered frames train beside one's own")
    simulation: Simulation = Simulation()

    @field_validator("simulation")
    @classmethod
    def _some_to_train_on(cls, simulation: Simulation, info: ValidationInfo) -> Simulation:
        if info.data.get("source") == "simulated" and not simulation.frames:
            raise PydanticCustomError("none", "frames is 0: there is nothing to train on without own frames (--data)")
        return simulation


class Split(Section):
    """Shares of one's own clips. Frames of one clip, and frames that look alike, stay together."""

    validation: float = Field(0.15, gt=0, lt=1, description="share for choosing")
    test: float = Field(0.2, gt=0, lt=1, description="share for judging")

    @field_validator("test")
    @classmethod
    def _some_left(cls, test: float, info: ValidationInfo) -> float:
        if test + info.data.get("validation", 0) >= 1:
            raise PydanticCustomError("all", "with split.validation it takes all clips: let both together be below 1")
        return test


class Model(Section):
    """The network."""

    width: int = Field(416, ge=64, multiple_of=32, description="of the network's input, pixels")
    height: int = Field(192, ge=64, multiple_of=32, description="of the network's input, pixels")
    top: float = Field(0.2, ge=0, lt=0.9, description="share of an image's height, from its top, that is not looked at")
    widths: tuple[Annotated[int, Field(ge=1)], ...] = Field(
        (32, 64, 128, 256), min_length=2, description="channels of each stage; the last is a multiple of 4"
    )
    blocks: tuple[Annotated[int, Field(ge=1)], ...] = Field((2, 2, 2, 2), description="residual blocks of each stage")
    features: int = Field(64, ge=8, description="channels of the finest features")
    training: Training = Training(epochs=6, batch_size=16, learning_rate=1.5e-3, weight_decay=0.01)

    @field_validator("widths")
    @classmethod
    def _for_four_heads(cls, widths: tuple[int, ...]) -> tuple[int, ...]:
        if widths[-1] % 4:
            raise PydanticCustomError("heads", "the last is no multiple of 4, of which the network's attention has need")
        return widths

    @field_validator("blocks")
    @classmethod
    def _one_a_stage(cls, blocks: tuple[int, ...], info: ValidationInfo) -> tuple[int, ...]:
        stages = len(info.data.get("widths", blocks))
        if len(blocks) != stages:
            raise PydanticCustomError("stages", f"model.widths has {stages} stages: give as many numbers")
        return blocks


class Decide(Section):
    """From the network's numbers to lines."""

    least: float | None = Field(
        None, ge=0, le=1, description="confidence from which on a line is reported; null: chosen on validation"
    )
    row: float = Field(0.3, gt=0, lt=1, description="probability from which on a line is in a row")
    rows: int = Field(4, ge=2, description="rows of cells that a line has at least")
    apart: float = Field(0.015, ge=0, description="of lines closer than this share of the width the surer one is kept")


class Drive(Section):
    """What is measured on the road."""

    lane_width_m: float = Field(3.65, gt=0, description="of lanes, metres; it scales a camera that is not calibrated")
    car_width_m: float = Field(1.8, gt=0, description="between the outer edges of the wheels, metres")


class LaneConfig(RunConfig):
    """Lane detection."""

    data: Data = Data()
    split: Split = Split()
    model: Model = Model()
    decide: Decide = Decide()
    drive: Drive = Drive()
