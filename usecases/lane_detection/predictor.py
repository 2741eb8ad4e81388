"""Images in; lines, the car's place in its lane and a warning out. Videos and the like go through `driver`."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
from pydantic import ValidationError

from shared import artifact, hardware
from shared.data.video import is_live
from shared.errors import UserError
from shared.evaluation.calibration import Calibrator
from shared.export import Compute, Exportable
from shared.records import Fault, RecordError, read_options
from shared.usecase import Progress
from usecases.lane_detection import answers, driver, export, simulator
from usecases.lane_detection.answers import CameraView, LaneDecision, LaneLine, LaneRequest
from usecases.lane_detection.config import LaneConfig
from usecases.lane_detection.detector import LaneDetector
from usecases.lane_detection.driving import Driving, Gauge
from usecases.lane_detection.network import LaneNetwork
from usecases.lane_detection.tracking import Tracked

NAME = "lane_detection"
VERSION = 2  # of what the artefact holds
EXAMPLE_SEED = 7
EXAMPLES = (1, 42)  # rendered frames: a lane, and a road without lines


class LanePredictor:
    """The contract's predictor. Every request is an image by itself; `process` follows lines through a video."""

    Request, Response = LaneRequest, LaneDecision
    suffix = ".lanes"  # of the folder that `usecases predict` writes

    def __init__(self, detector: LaneDetector) -> None:
        self.detector = detector
        self.candid = detector.with_threshold(0.0)  # also tells what it would not report

    @property
    def about(self) -> dict[str, Any]:
        """The artefact's metadata, once loaded."""
        return self.detector.about

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the artefact."""
        detector = self.detector
        preprocess = {
            "version": VERSION,
            "config": detector.config.model_dump(mode="json"),
            "calibrator": asdict(detector.calibrator),
            "least": detector.least,
            "method": detector.method,
        }
        artifact.save(
            folder,
            usecase=NAME,
            tensors=detector.network.state_dict(),
            preprocess=preprocess,
            request=LaneRequest,
            response=LaneDecision,
            about=about,
        )

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read and verify the artefact; see `shared.artifact.load` for what it refuses."""
        saved = artifact.load(folder, NAME)
        read = saved.preprocess
        if read.get("version") != VERSION:
            raise UserError(f"{folder} holds version {read.get('version')} of this model, not {VERSION}. Train again.")
        try:
            config = LaneConfig.model_validate_json(json.dumps(read["config"]))
            network = LaneNetwork(config.model)
            network.load_state_dict(saved.tensors)
            calibrator, least = Calibrator(**read["calibrator"]), float(read["least"])
        except (KeyError, TypeError, ValidationError, RuntimeError) as error:
            raise UserError(f"{folder} does not hold what its version promises ({type(error).__name__}). Train again.") from None
        chip = hardware.select(config.hardware.model_copy(update={"device": "cpu"}))  # where the detector computes
        return cls(LaneDetector(config, network.eval(), calibrator, least, read["method"], chip.precision, saved.metadata))

    def examples(self) -> list[LaneRequest]:
        """A rendered road with lines and one without, and the first with its camera."""
        scenes = [simulator.render(EXAMPLE_SEED, index, 480, 270) for index in EXAMPLES]
        texts = [base64.b64encode(cv2.imencode(".jpg", scene.image)[1].tobytes()).decode() for scene in scenes]
        camera = scenes[0].camera
        view = CameraView(fx=camera.focal[0], fy=camera.focal[1], cx=camera.centre[0], cy=camera.centre[1], height_m=camera.above)
        return [*(LaneRequest(image=text) for text in texts), LaneRequest(image=texts[0], camera=view)]

    def predict(self, requests: Sequence[LaneRequest]) -> list[LaneDecision]:
        """Each image by itself, one in memory at a time.

        Raises:
            RecordError: an image cannot be decoded; names the record.
        """
        return [self._decide(_image(number, request), request.camera) for number, request in enumerate(requests, 1)]

    def exportable(self, requests: Sequence[LaneRequest]) -> Exportable:
        """See `shared.export.Exportable`."""
        return export.exportable(self.detector, [_image(number, request) for number, request in enumerate(requests, 1)])

    def with_network(self, compute: Compute) -> LanePredictor:
        return LanePredictor(replace(self.detector, exported=compute))

    def accepts(self, source: str) -> bool:
        """Is it a source that is no path: a camera's number or a stream's URL?"""
        return is_live(source)

    def process(self, source: str | Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Follow lines through a video, a folder of images, a camera or a stream; see `driver`.

        Args:
            source: an image, a folder, a video file, a camera's number or a URL.
            out: the folder for frames.jsonl, summary.json, summary.html and the annotated video or images.
            options: see `driver.LaneOptions`.
        """
        return driver.process(self.candid, self.detector.least, source, out, read_options(driver.LaneOptions, options), progress)

    def _decide(self, image: np.ndarray, view: CameraView | None) -> LaneDecision:
        height, width = image.shape[:2]
        found = self.candid([image])[0]
        lines = answers.sided([one for one in found if one.confidence >= self.detector.least], width, height)
        lane = {one.side for one in lines} >= set(answers.SIDES)
        driving, notes = self._measure(lines, view, width, height)
        if not lane:
            seen = [one.side for one in lines if one.side]
            notes.insert(0, f"no lane: only its {seen[0]} line is seen" if seen else "no lane: neither of its lines is seen")
        return LaneDecision(
            lane=lane,
            confidence=round(answers.certainty(lines, found, width, height), 4),
            lines=[LaneLine(points=answers.drawn(one), confidence=round(one.confidence, 4), side=one.side) for one in lines],
            notes=notes,
            **answers.quantities(driving),
        )

    def _measure(
        self, lines: Sequence[Tracked], view: CameraView | None, width: int, height: int
    ) -> tuple[Driving | None, list[str]]:
        """The quantities that one image tells, and what it does not tell."""
        settings = self.detector.config.drive
        camera = None if view is None else view.camera(width, height)
        known = camera if view and view.angles else None
        gauge = Gauge(
            known, width, height, settings.lane_width_m, settings.car_width_m, camera, (view.height_m or 0.0) if view else 0.0
        )
        driving = answers.alone(gauge.update(lines, 0.0), known)
        if driving is None or known is not None:
            return driving, []
        missing = ["heading: the camera's pitch and yaw are not known"]
        if driving.approximate:
            what = "the camera's height is" if camera else "the camera is"
            missing.append(f"metres are approximate: {what} not known, the lane is taken to be {settings.lane_width_m:g} m wide")
        return driving, missing


def _image(number: int, request: LaneRequest) -> np.ndarray:
    try:
        return answers.image_of(request)
    except ValueError as error:
        raise RecordError([Fault(number, "image", f"{error}.")]) from None
