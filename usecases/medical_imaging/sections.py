"""The parts of the report that are about trust."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.metrics import roc_curve

from shared.evaluation.calibration import Calibration
from shared.evaluation.operating import decision_curve
from shared.evaluation.selective import RiskCoverage
from shared.report import Numeral, Section, Table, plots
from usecases.medical_imaging import trust

if TYPE_CHECKING:
    from usecases.medical_imaging.pipeline import Judged
    from usecases.medical_imaging.prepare import Prepared
    from usecases.medical_imaging.trust import Explained

SHOWN, ACROSS = 8, 4
WARM = 0.5  # opacity of the strongest heat


def operating(result: Mapping[str, Any], judged: Judged, name: str) -> Section:
    """Sensitivity, specificity and what a positive or negative answer is worth."""
    labels = judged.part.labels
    curves = {method: roc_curve(labels, own.probabilities[:, 1])[:2] for method, own in judged.methods.items()}
    point = trust.operating_point(judged.cases, judged.methods[name])
    rows = [
        [f"{float(share):.0%} of those examined are ill", *(interval(value) for value in values)]
        for share, values in result["trust"]["operating"]["predictive_values"].items()
    ]
    text = (
        f"The operating point is {result['choice']['operating_point']}. On these patients "
        f"{point.true_positives} findings were found and {point.false_negatives} missed; {point.false_positives} of "
        f"{point.false_positives + point.true_negatives} others were called findings. What an answer is worth depends on how "
        "common the finding is."
    )
    drawn = (plots.sensitivity_specificity(curves, {"operating point": point}), "ROC curves of all methods.")
    table = Table(["where", "an answer 'finding' is right", "an answer 'no finding' is right"], rows)
    return Section("Sensitivity and specificity", text, figures=[drawn], tables=[table])


def calibration(result: Mapping[str, Any], judged: Judged) -> Section:
    """Is a finding of probability p there with probability p?"""
    curves = {}
    for method, own in judged.methods.items():
        two = own.probabilities.shape[1] == 2
        sure = own.probabilities[:, 1] if two else own.probabilities.max(1)
        right = judged.part.labels if two else own.probabilities.argmax(1) == judged.part.labels
        curves[method] = Calibration(np.clip(sure, 0, 1), right.astype(np.int64)).reliability()
    text = f"The mean gap between probability and truth is {result['model']['ece']['value']:.3f} (expected calibration error)."
    return Section("Can the probability be believed?", text, figures=[(plots.reliability(curves), "Calibration of all methods.")])


def abstention(result: Mapping[str, Any], judged: Judged) -> Section:
    """What is gained by referring the unsure ones."""
    ours = judged.methods[result["name"]]
    wrong = ours.decided != judged.part.labels
    curve = RiskCoverage.of(judged.confidence, wrong)
    rule = result["choice"]["abstention"]
    if rule is None:
        text = (
            "Validation has too few patients to guarantee any rule, so what is referred is where the probability may lie on "
            "either side of the decision (of several classes, where that of the likeliest may be below a half)."
        )
    else:
        text = (
            f"The rule was chosen on validation so that, with {rule['certainty']:.0%} certainty, at most {rule['wanted']:.0%} "
            f"of its own decisions are wrong. It refers {result['trust']['referred']:.1%} of these images, those counted that "
            "are unlike the images of training."
        )
    decided = ~judged.refer  # not all of the surest: some are unlike the images of training
    marked = {"as chosen": (float(decided.mean()), float(wrong[decided].mean()))} if decided.any() else {}
    drawn = (plots.risk_coverage({result["name"]: curve}, marked), "Wrong decisions over the share that is decided.")
    return Section("What it leaves to humans", text, figures=[drawn])


def benefit(judged: Judged) -> Section:
    """Would acting on it help?"""
    shown = {method: np.clip(own.probabilities[:, 1], 0, 1) for method, own in judged.methods.items()}
    curve = decision_curve(shown, judged.part.labels)
    text = (
        "Net benefit: findings found, minus false alarms weighed by the probability at which one would act (Vickers & Elkin "
        "2006). A model is useful where it lies above treating everyone and treating no one."
    )
    return Section("Would it help?", text, figures=[(plots.decision_curve(curve), "Decision curves of all methods.")])


def masks(result: Mapping[str, Any]) -> Section | None:
    found = result["trust"].get("masks")
    if not found:
        return None
    words = {
        "dice": "Dice, mean of images with a lesion",
        "pooled_dice": "Dice of all pixels together",
        "iou": "intersection over union, mean",
        "surface_dice": "outline within 2 pixels (surface Dice)",
        "hausdorff95": "95% Hausdorff distance, pixels",
        "lesion_sensitivity": "share of the lesions that are touched",
        "false_positives": "wrong areas per image",
        "false_alarms": "share of images without a lesion in which something is marked",
    }
    rows = [[text, Numeral(f"{found[key]:.3f}")] for key, text in words.items() if found.get(key) is not None]
    return Section("The masks", "On the network's own square, pixel by pixel.", tables=[Table(["", "value"], rows)])


def heat(result: Mapping[str, Any], test: Prepared, explained: Explained) -> Section | None:
    """Does the network look at the finding?"""
    if not len(explained.places):
        return None
    maps = result["trust"]["heat_maps"]
    text = (
        "Warm is what the probability of the finding rests on (Grad-CAM, or LayerCAM where there are masks); the outline is the "
        "true mask where there is one."
    )
    if maps["pointing_game"] is not None:
        text += (
            f" The hottest point lies in the mask in {maps['pointing_game']:.0%} of {len(explained.places)} images; a random "
            f"point would in {maps['chance']:.0%}. {maps['energy_in_mask']:.0%} of the heat lies inside."
        )
    text += (
        "\n\nA map that explains what was learnt must change when the network is made to forget, part by part from its end; "
        "the rank correlation with the true maps should fall to about 0."
    )
    rows = [[part(name), Numeral(f"{value:+.2f}")] for name, value in maps["after_forgetting"].items()]
    places = explained.places[:SHOWN]
    outlines = None if test.masks is None else test.masks[places]
    drawn = gallery(test.images[places], [""] * len(places), explained.maps[:SHOWN], outlines)
    table = Table(["made to forget, up to", "correlation"], rows)
    return Section("Where it looks", text, figures=[(drawn, "Heat maps of findings.")], tables=[table])


def part(name: str) -> str:
    """A part of the network in words."""
    if name.startswith("backbone.stages."):
        return f"stage {int(name.rpartition('.')[2]) + 1} of the backbone"
    return {"last": "last layer", "decoder": "decoder of masks", "backbone.head": "the backbone's own last convolution"}[name]


def worst(judged: Judged, name: str, classes: Sequence[str]) -> Section | None:
    """The surest wrong decisions."""
    method, labels = judged.methods[name], judged.part.labels
    wrong = np.flatnonzero(method.decided != labels)
    if not len(wrong):
        return None
    places = wrong[np.argsort(-judged.confidence[wrong], kind="stable")][:SHOWN]
    captions = [
        f"{classes[method.decided[k]]} ({method.probabilities[k, method.decided[k]]:.0%}), is {classes[labels[k]]}"
        + (", referred" if judged.refer[k] else "")
        for k in places
    ]
    outlines = None if judged.part.masks is None else judged.part.masks[places]
    drawn = gallery(judged.part.images[places], captions, None, outlines)
    rows = ", ".join(str(place + 1) for place in places)
    text = f"Of {len(labels):,} decisions {len(wrong):,} were wrong; these are the surest. Rows of predictions.parquet: {rows}."
    return Section("The worst mistakes", text, figures=[(drawn, "The surest wrong decisions.")])


def gallery(images: np.ndarray, captions: Sequence[str], maps: np.ndarray | None, outlines: np.ndarray | None) -> Figure:
    """Images side by side, with heat and outlines where given."""
    down = -(-len(images) // ACROSS)
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(10.5, 2.8 * down), layout="constrained")
        axes = figure.subplots(down, ACROSS, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for place, (axis, image) in enumerate(zip(axes.flat, images, strict=False)):
            axis.imshow(image, cmap="gray" if image.ndim == 2 else None, vmin=0, vmax=255)
            if maps is not None:
                axis.imshow(maps[place], cmap="inferno", alpha=WARM * maps[place], vmin=0, vmax=1)
            if outlines is not None and outlines[place].any():
                axis.contour(outlines[place], [0.5], colors=["#40e0ff"], linewidths=0.8)
            axis.set_title(captions[place], fontsize=8)
    return figure


def interval(numbers: Mapping[str, float] | None) -> Numeral:
    """A value over its interval: side by side several would not fit the page."""
    return Numeral(f"{numbers['value']:.3f}\n[{numbers['low']:.3f}, {numbers['high']:.3f}]" if numbers else "")


def signed(numbers: Mapping[str, float] | None) -> Numeral:
    return Numeral(f"{numbers['value']:+.3f}\n[{numbers['low']:+.3f}, {numbers['high']:+.3f}]" if numbers else "")
