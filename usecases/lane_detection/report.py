"""The lane detector's report and model card."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import cv2
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from shared.evaluation.intervals import Interval
from shared.report import Numeral, Report, Section, Table, plots, write_card
from shared.runs import Run
from shared.training import Fitted
from usecases.lane_detection import metrics
from usecases.lane_detection.evidence import SMALL, Judged, Seen, counted, inventions
from usecases.lane_detection.lanes import Line
from usecases.lane_detection.tracking import Detected

SIMULATED = (
    "The frames are rendered, not photographed. The numbers show that everything works, and on what it fails among roads that "
    "were made up; what counts is the real road: usecases evaluate RUN --data YOUR_FRAMES."
)
INTENDED = (
    "Finding the lines between lanes in images of a forward-facing camera, for research, mapping, data selection and prototypes "
    "of driver assistance. It is no safety system: nothing may steer, brake or warn a driver on it alone."
)
LIMITS = (
    "Rain, snow, glare, road works, junctions, merging lanes and worn or contradictory paint are where it fails first.",
    "A confidence is a probability on frames like those it was calibrated on; on other roads it is a ranking.",
    "Metres need a calibrated camera. Without one they are scaled by an assumed lane width and are approximate.",
    "Lines hidden by vehicles are continued as the training labels continue them: a guess, not an observation.",
)
WORDS = {
    "accuracy": "accuracy: share of the labels' points found within 20 px",
    "fp": "false: share of the lines found that are no lines",
    "fn": "missed: share of the labelled lines",
    "f1": "F1 of lines drawn 30 px wide that overlap by half",
    "invented": "frames without any line in which lines were reported",
    "ego_found": "share found of the car's own two lines",
    "lateral_px": "error of the car's own two lines where found, px",
    "lateral_m": "error of the car's own two lines where found, metres",
    "ece": "calibration error of the confidence",
}
NONE = Numeral("–")  # the method found nothing of which the metric could be told
RIGHT, WRONG, LABEL = (90, 220, 90), (60, 60, 240), (255, 200, 60)  # blue, green, red
SHOWN, ACROSS = 12, 3


def write(run: Run, result: dict[str, Any], seen: list[Seen], judged: Mapping[str, Judged], fitted: Fitted) -> None:
    """report.html and model_card.md; `result` is the content of metrics.json."""
    name = result["name"]
    other = next(one for one in judged if one != name)
    ours = judged[name]
    parts = [
        comparison(result, other),
        frames("The worst frames", WORST, seen, ours, worst(ours)),
        frames("Frames as they came", ANY, seen, ours, list(range(min(6, len(seen))))),
        slices(result),
        trust(result, ours),
        training(fitted),
    ]
    data = result["data"]
    source = "rendered frames" if data["simulated"] else str(data["name"])
    Report(
        title=f"Lane detection on {source}",
        notice=SIMULATED if data["simulated"] else "",
        verdict=result["conclusion"],
        tiles=_tiles(result),
        findings=_findings(result, other),
        facts=_facts(result),
        sections=[part for part in parts if part],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=f"Lane detector trained on {source}",
        summary="Gives each line between lanes as points in the image, with the probability that it is right.",
        intended=INTENDED,
        limits=[*([SIMULATED] if data["simulated"] else []), *LIMITS],
        metrics=result,
    )


def _tiles(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    model, timing = result["model"], result["timing"]
    shares = {"fp": "of the lines found are no lines", "fn": "of the labelled lines are missed"}
    return [
        *((f"{model[key]['value']:.3f}", WORDS[key]) for key in ("accuracy", "f1") if key in model),
        *((f"{model[key]['value']:.1%}", words) for key, words in shares.items() if key in model),
        (f"{timing['latency_ms_p50']:.1f} ms", "for a 1280x720 image, tracking and drawing not included"),
    ]


def _findings(result: Mapping[str, Any], other: str) -> list[str]:
    found = [f"How it was measured: {result['protocol']}."]
    if told := inventions(result, result["name"], other):
        found.append(told)
    hard = [entry for entry in result["slices"] if entry["frames"] >= 20]
    if hard:
        low = min(hard, key=lambda entry: entry["accuracy"])
        found.append(
            f'It is weakest on {low["frames"]} frames of the kind "{worded(low["slice"])}": accuracy {low["accuracy"]:.3f}.'
        )
    return [*found, *result["data_findings"]]


def _facts(result: Mapping[str, Any]) -> list[tuple[str, str]]:
    frames, choice = result["data"]["frames"], result["choice"]
    return [
        ("Frames", ", ".join(f"{count:,} {part}" for part, count in frames.items())),
        ("Lines are reported from", f"a confidence of {choice['threshold']:.2f} on, the best F1 on validation"),
        ("Training", f"{result['timing']['train_s']:,.0f} s, rendering included"),
        ("Computed on", f"{result['hardware']['processor']}, {result['hardware']['precision']}"),
        ("Seed", str(result["seed"])),
    ]


def comparison(result: Mapping[str, Any], other: str) -> Section:
    """All metrics of both methods, and their differences."""
    beside = {**result["baselines"], **result["parts"]}[other]
    rows = [
        [WORDS[metric], *(_interval(table[metric]) for table in (result["model"], beside)), _signed(gap)]
        for metric, gap in result["differences"][other].items()
    ]
    for name in (result["name"], other):
        for metric, numbers in result["alone"][name].items():
            cells = [_interval(numbers), NONE] if name == result["name"] else [NONE, _interval(numbers)]
            rows.append([WORDS[metric], *cells, NONE])
    headline = result["headline"]
    intervals = {result["name"]: Interval(**result["model"][headline]), other: Interval(**beside[headline])}
    figure = plots.bars(intervals, WORDS[headline].partition(":")[0], [result["name"]])
    return Section(
        "Network and classical method",
        "Accuracy, false and missed lines are those of the TuSimple benchmark, in the pixels of an image that is 1280 wide. The "
        f"intervals are {result['intervals']}; differences are paired.",
        figures=[(figure, "Both methods with intervals.")],
        tables=[Table(["", result["name"], other, "difference"], rows)],
    )


def worded(name: str) -> str:
    """A slice's name for people: "night=True" is "night", "lines=2" is "2 lines", "weather=fog" is "weather: fog"."""
    key, _, value = name.partition("=")
    key = key.replace("_", " ")
    if value in ("True", "False"):
        return key if value == "True" else f"not {key}"
    if not value.isdecimal():
        return f"{key}: {value}"
    return f"{value} {key.removesuffix('s') if value == '1' else key}" if key.endswith("s") else f"{key} {value}"


def slices(result: Mapping[str, Any]) -> Section | None:
    rows = [
        [
            worded(entry["slice"]),
            entry["frames"],
            *(float(entry[key]) for key in ("accuracy", "fp", "fn", "baseline_accuracy")),
        ]
        for entry in result["slices"]
    ]
    if not rows:
        return None
    columns = ["", "frames", "accuracy", "false", "missed", "the other's accuracy"]
    return Section("By kind of frame", "Where it can be trusted less.", tables=[Table(columns, rows)])


def trust(result: Mapping[str, Any], ours: Judged) -> Section | None:
    """Is a line of confidence p right with probability p?"""
    numbers = {**result["model"], **result["alone"][result["name"]]}
    if "ece" not in numbers:
        return None
    curve = metrics.calibration(ours.matched).reliability()
    text = f"A line is right if 85% of its label's points are found. The mean gap is {numbers['ece']['value']:.3f}."
    figure = plots.reliability({result["name"]: curve})
    return Section("Can the confidence be believed?", text, figures=[(figure, "Share of right lines over confidence.")])


def training(fitted: Fitted) -> Section:
    epochs = [entry["epoch"] for entry in fitted.history]
    drawn = plots.lines({"loss": (epochs, [entry["loss"] for entry in fitted.history])}, "epoch", "training loss")
    speed = f"{counted(fitted.epochs, 'epoch')} at {fitted.examples_per_s:.0f} frames a second"
    text = f"{speed}; epoch {fitted.best_epoch} was best on validation."
    return Section("Training", text, figures=[(drawn, "Training loss by epoch.")])


WORST = (
    "Labels are light blue, lines that are right green, wrong ones red, with their confidence. Above each frame: its accuracy."
)
ANY = "The first frames of the test part, not chosen."


def worst(ours: Judged) -> list[int]:
    """Places of the frames with the most errors."""
    errors = [
        (one.accuracy - one.fp - one.fn) if labels else -float(len(found))
        for one, labels, found in zip(ours.accuracy, ours.labels, ours.found, strict=True)
    ]
    return np.argsort(errors, kind="stable")[:SHOWN].tolist()


def frames(title: str, text: str, seen: Sequence[Seen], ours: Judged, places: Sequence[int]) -> Section | None:
    """Frames with labels and lines, side by side."""
    if not places:
        return None
    pictures = [
        (drawn(seen[place], ours.found[place], ours.matched[place].right), _caption(seen[place], ours, place)) for place in places
    ]
    down = -(-len(pictures) // ACROSS)
    with mpl.rc_context(plots.STYLE):
        figure = Figure(figsize=(10.5, 2.3 * down), layout="constrained")
        axes = figure.subplots(down, ACROSS, squeeze=False)
        for axis in axes.flat:
            axis.axis("off")
        for axis, (picture, caption) in zip(axes.flat, pictures, strict=False):
            axis.imshow(picture[..., ::-1])
            axis.set_title(caption, fontsize=8)
    return Section(title, text, figures=[(figure, title)])


def _caption(frame: Seen, ours: Judged, place: int) -> str:
    told = [name for name, value in frame.about.items() if value is True]
    score = f"{ours.accuracy[place].accuracy:.2f}" if ours.labels[place] else "no lines"
    return f"{frame.name}: {score}" + (f" ({', '.join(told)})" if told else "")


def drawn(frame: Seen, found: Sequence[Detected], right: np.ndarray) -> np.ndarray:
    """The small image with labels and lines, BGR."""
    image = cv2.imdecode(frame.small, cv2.IMREAD_COLOR)
    assert image is not None  # it was encoded here
    factor = SMALL / frame.size[0]
    for label in frame.lines:
        _stroke(image, label * factor, LABEL, 3)
    for one, good in zip(found, right, strict=True):
        _stroke(image, one.line * factor, RIGHT if good else WRONG, 1)
        x, y = (one.line[-1] * factor).round().astype(int)
        place = int(np.clip(x, 0, image.shape[1] - 24)), int(np.clip(y, 8, image.shape[0] - 3))
        cv2.putText(
            image, f"{one.confidence:.2f}", place, cv2.FONT_HERSHEY_SIMPLEX, 0.32, RIGHT if good else WRONG, 1, cv2.LINE_AA
        )
    return image


def _stroke(image: np.ndarray, line: Line, colour: tuple[int, int, int], width: int) -> None:
    cv2.polylines(image, [np.round(line * 16).astype(np.int32)], False, colour, width, cv2.LINE_AA, 4)


def _interval(numbers: Mapping[str, float]) -> Numeral:
    return Numeral(f"{numbers['value']:.3f} [{numbers['low']:.3f}, {numbers['high']:.3f}]")


def _signed(numbers: Mapping[str, float]) -> Numeral:
    return Numeral(f"{numbers['value']:+.3f} [{numbers['low']:+.3f}, {numbers['high']:+.3f}]")
