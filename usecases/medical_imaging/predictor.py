"""Images in; a finding with its probability, where it is, and whether a human should decide out."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import cv2
import numpy as np
import torch
from pydantic import ValidationError

from shared import artifact, hardware
from shared.errors import UserError
from shared.evaluation.novelty import Novelty
from shared.evaluation.selective import Abstention
from shared.evaluation.temperature import Temperature
from shared.evaluation.venn_abers import VennAbers
from shared.export import Compute, Exportable
from shared.models.cnn import fuse
from shared.models.efficientnet import EfficientNetLite0
from shared.records import Fault, RecordError, read_options
from shared.usecase import Progress
from usecases.medical_imaging import anonymous, answers, export, writing
from usecases.medical_imaging.answers import MedicalDecision, MedicalOptions, MedicalRequest
from usecases.medical_imaging.baselines import bare
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.config import MedicalConfig
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.frozen import Frozen
from usecases.medical_imaging.network import FindingNetwork

NAME = "medical_imaging"
VERSION = 2  # of what the artefact holds
NOVELTY, FROZEN = "novelty.", "frozen."  # before the names of their tensors
SIDE = 160  # pixels of an example


class MedicalPredictor:
    """The contract's predictor. Every request is an image by itself; `process` goes through files, folders and volumes."""

    Request, Response = MedicalRequest, MedicalDecision
    suffix = ".findings"  # of the folder that `usecases predict` writes

    def __init__(self, finder: Finder) -> None:
        self.finder = finder

    @property
    def about(self) -> dict[str, Any]:
        """The artefact's metadata, once loaded."""
        return self.finder.about

    def save(self, folder: Path, about: Mapping[str, Any]) -> None:
        """Write the artefact. It holds no image and no name of a patient."""
        finder = self.finder
        tensors = {
            f"network-{place}.{name}": tensor
            for place, network in enumerate(finder.networks, 1)
            for name, tensor in network.state_dict().items()
        }
        preprocess = {
            "version": VERSION,
            "config": finder.config.model_dump(mode="json"),
            "classes": finder.classes,
            "channels": finder.channels,
            "networks": len(finder.networks),
            "flips": finder.flips,
            "temperature": finder.temperature.temperature,
            "bounds": [one.as_dict() for one in finder.bounds],
            "threshold": finder.threshold,
            "abstention": None if finder.abstention is None else finder.abstention.as_dict(),
            "masks": finder.networks[0].decoder is not None,
            "simple": finder.simple,
            "novelty": None if finder.novelty is None else finder.novelty.settings,
        }
        tensors |= {FROZEN + name: tensor for name, tensor in finder.frozen.network.state_dict().items()}
        if finder.novelty is not None:
            tensors |= {NOVELTY + name: torch.from_numpy(array) for name, array in finder.novelty.arrays.items()}
        artifact.save(
            folder,
            usecase=NAME,
            tensors=tensors,
            preprocess=preprocess,
            request=MedicalRequest,
            response=MedicalDecision,
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
            finder = _finder(read, saved.tensors)
        except (KeyError, TypeError, ValueError, ValidationError, RuntimeError) as error:
            raise UserError(f"{folder} does not hold what its version promises ({type(error).__name__}). Train again.") from None
        finder.about = saved.metadata
        return cls(finder)

    def examples(self) -> list[MedicalRequest]:
        """Drawn discs, no patient's images: a bright spot in one of them."""
        grey, colour = _disc(False), _disc(True)
        return [MedicalRequest(image=grey), MedicalRequest(image=colour, heat=True, mask=True)]

    def predict(self, requests: Sequence[MedicalRequest]) -> list[MedicalDecision]:
        """Each image by itself, one in memory at a time.

        Raises:
            RecordError: an image cannot be used; names the record.
        """
        decisions = []
        for number, request in enumerate(requests, 1):
            picture = _picture(number, request)
            found = self.finder([picture], heat=request.heat)[0]
            decisions.append(answers.decision(found, picture, self.finder.classes, request.heat, request.mask))
        return decisions

    def exportable(self, requests: Sequence[MedicalRequest]) -> Exportable:
        """See `shared.export.Exportable`."""
        return export.exportable(self.finder, [_picture(number, request) for number, request in enumerate(requests, 1)])

    def with_network(self, compute: Compute) -> MedicalPredictor:
        """The same with an exported network; heat maps, which need gradients, are still PyTorch's."""
        return MedicalPredictor(replace(self.finder, exported=compute))

    def process(self, source: str | Path, out: Path, options: Mapping[str, Any], progress: Progress) -> dict[str, Any]:
        """Go through a file, a folder, a volume or series; see `writing`.

        Args:
            out: the folder for findings.csv, overlays, masks, summary.json and summary.html.
            options: see `answers.MedicalOptions`.
        """
        settings = read_options(MedicalOptions, options)
        return writing.process(Path(source), out, self.finder, anonymous.salt(), settings, progress)


def _picture(number: int, request: MedicalRequest) -> Picture:
    try:
        return answers.picture_of(request)
    except ValueError as error:
        raise RecordError([Fault(number, "image", f"{error}.")]) from None


def _finder(read: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> Finder:
    config = MedicalConfig.model_validate_json(json.dumps(read["config"]))
    networks = []
    for place in range(1, read["networks"] + 1):
        network = bare(config.network, len(read["classes"])) if read["simple"] else None
        network = network or FindingNetwork(config.network, len(read["classes"]), read["masks"])
        network.load_state_dict(_below(tensors, f"network-{place}."))
        networks.append(network.eval())
    watching = fuse(EfficientNetLite0())
    watching.load_state_dict(_below(tensors, FROZEN))
    arrays = {name: tensor.numpy() for name, tensor in _below(tensors, NOVELTY).items()}
    chip = hardware.select(config.hardware.model_copy(update={"device": "cpu"}))  # where the finder computes
    return Finder(
        config,
        tuple(read["classes"]),
        int(read["channels"]),
        networks,
        Frozen(watching),
        bool(read["flips"]),
        Temperature(float(read["temperature"])),
        [VennAbers.from_dict(one) for one in read["bounds"]],
        float(read["threshold"]),
        None if read["abstention"] is None else Abstention(**read["abstention"]),
        None if read["novelty"] is None else Novelty(arrays=arrays, **read["novelty"]),
        chip.precision,
    )


def _below(tensors: Mapping[str, torch.Tensor], start: str) -> dict[str, torch.Tensor]:
    return {name[len(start) :]: tensor for name, tensor in tensors.items() if name.startswith(start)}


def _disc(spot: bool) -> str:
    """A PNG in base64: a grey disc, perhaps with a bright spot."""
    image = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(image, (SIDE // 2, SIDE // 2), (SIDE // 3, SIDE * 2 // 5), 0, 0, 360, 120, -1, cv2.LINE_AA)
    if spot:
        cv2.circle(image, (SIDE * 5 // 8, SIDE * 3 // 8), SIDE // 12, 220, -1, cv2.LINE_AA)
    return base64.b64encode(cv2.imencode(".png", image)[1].tobytes()).decode()
