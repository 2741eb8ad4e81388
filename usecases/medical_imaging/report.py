"""The report and the model card of a model of medical images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shared.evaluation.intervals import Interval
from shared.report import Numeral, Report, Section, Table, plots, write_card
from shared.runs import Run
from shared.training import Fitted
from usecases.medical_imaging import sections
from usecases.medical_imaging.found import NOTICE

if TYPE_CHECKING:
    from usecases.medical_imaging.pipeline import Judged, Outcome
    from usecases.medical_imaging.prepare import Prepared
    from usecases.medical_imaging.trust import Explained

SIMULATED = (
    "The images are simulated: brains deformed from a template, with lesions that were drawn. The numbers show that "
    "everything works, and what the methods find hard among what was made up; they say nothing about real patients. Give your "
    "own images with --data."
)
INTENDED = (
    "Research, teaching, and prototypes of a second look at images by people who are trained to read them. A person decides; the "
    "model refers to one where it is not sure."
)
LIMITS = (
    NOTICE,
    "It knows the classes it was trained on and nothing else: another disease, another organ or another view is not a finding "
    "to it. What is unlike the images of training is refused, but not all of it.",
    "Probabilities, limits and the promise of the abstention hold for patients like those of validation: the same hospitals, "
    "scanners and share of the ill. Elsewhere they must be measured anew with `usecases evaluate`.",
    "Heat maps show what the network used, roughly; they do not outline a lesion and do not explain why.",
    "Whether it does worse for some groups of people was not assessed beyond the slices in the report.",
    "Labels are taken as they are: a wrong diagnosis in the data is learnt.",
)
WORDS = {
    "roc_auc": "AUC: chance that a finding gets the higher probability",
    "average_precision": "average precision",
    "accuracy": "accuracy of the likeliest class",
    "sensitivity": "sensitivity at the operating point",
    "specificity": "specificity at the operating point",
    "ece": "calibration error of the probability",
    "brier": "Brier score",
    "dice": "Dice of the masks",
}

FACTS = {  # of simulated images, and of others with masks
    "ill": "the person is ill (1) or not (0)",
    "skull": "the skull is in the image (1) or not (0)",
    "height_mm": "height of the slice, mm",
    "lesions": "lesions in the image",
    "lesion_mm2": "area of the lesions, mm²",
    "lesion_percent": "area of the lesions, % of the image",
    "lesion_diameter_mm": "diameter of the lesions, mm",
}


def write(run: Run, result: dict[str, Any], judged: Judged, test: Prepared, outcome: Outcome, explained: Explained) -> None:
    """report.html and model_card.md; `result` is the content of metrics.json."""
    name, classes = result["name"], outcome.finder.classes
    two = len(classes) == 2
    parts = [
        comparison(result),
        sections.operating(result, judged, name) if two else None,
        sections.calibration(result, judged),
        sections.abstention(result, judged),
        sections.benefit(judged) if two else None,
        sections.masks(result),
        sections.heat(result, test, explained),
        sections.worst(judged, name, classes),
        slices(result),
        training(outcome.fits),
    ]
    data = result["data"]
    source = "simulated brain MRI" if data["simulated"] else str(data["name"])
    Report(
        title=f"Medical imaging on {source}",
        notice=f"{NOTICE} {SIMULATED}" if data["simulated"] else NOTICE,
        verdict=result["conclusion"],
        tiles=tiles(result, two),
        findings=findings(result),
        facts=facts(result, outcome),
        sections=[part for part in parts if part],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=f"{name[0].upper()}{name[1:]} trained on {source}",
        summary=f"Gives an image the calibrated probabilities of {', '.join(classes)}; refers to a human where it is not sure.",
        intended=INTENDED,
        limits=[*([SIMULATED] if data["simulated"] else []), *LIMITS],
        metrics=result,
    )


def tiles(result: Mapping[str, Any], two: bool) -> list[tuple[str, str]]:
    model = result["model"]
    found = [(f"{model['roc_auc']['value']:.3f}", "AUC: chance that a finding gets the higher probability")]
    if two:
        found.append((f"{model['sensitivity']['value']:.0%}", "of the findings are found (sensitivity)"))
        found.append((f"{model['specificity']['value']:.0%}", "of the others are left in peace (specificity)"))
    if "dice" in model:
        found.append((f"{model['dice']['value']:.2f}", "Dice: overlap of its masks with the true ones"))
    found.append((f"{result['trust']['referred']:.0%}", "of the images are referred to a human"))
    return found


def findings(result: Mapping[str, Any]) -> list[str]:
    told = [f"How it was measured: {result['protocol']}.", result["decisions"]]
    if result["choice"]["novelty"] is None:
        told.append("Too few images to tell what is usual: nothing is refused as unlike them.")
    else:
        told.append(f"Of pieces of ordinary photographs {result['trust']['photographs_refused']:.0%} are refused.")
    if hard := [entry for entry in result["slices"] if entry["cases"] >= 20 and "roc_auc" in entry]:  # of all classes
        low = min(hard, key=lambda entry: entry["right"])
        told.append(
            f"It is weakest where {_slice(low).replace(': ', ' is ')}: {low['right']:.0%} right of {low['cases']} images."
        )
    return [*told, *result["data_findings"]]


def facts(result: Mapping[str, Any], outcome: Outcome) -> list[tuple[str, str]]:
    data, choice = result["data"], result["choice"]
    looks = f"{choice['members']} of {len(outcome.fits)} network(s){', also looking at mirror images' if choice['flips'] else ''}"
    if outcome.finder.simple:
        looks = f"{result['name']}, not a trained network"
    return [
        ("Classes", ", ".join(data["classes"])),
        ("Images", ", ".join(f"{count:,} {part}" for part, count in data["images"].items())),
        ("Patients", ", ".join(f"{count:,} {part}" for part, count in data["patients"].items() if count) or "not known"),
        ("Predicts with", f"{looks}: chosen on validation"),
        ("Training", f"{result['timing']['train_s']:,.0f} s"),
        ("One image", f"{result['timing']['latency_ms_p50']:.1f} ms, without its heat map"),
        ("Computed on", f"{result['hardware']['processor']}, {result['hardware']['precision']}"),
        ("Seed", str(result["seed"])),
    ]


def comparison(result: Mapping[str, Any]) -> Section:
    """All metrics of all methods, and the paired differences from the best simple one."""
    name, best = result["name"], result["best_baseline"]
    tables = {name: result["model"], **result["baselines"]}
    gaps = result["differences"][best] if best else {}
    rows = [
        [WORDS[metric], *(sections.interval(table.get(metric)) for table in tables.values()), sections.signed(gaps.get(metric))]
        for metric in result["model"]
    ]
    bars = {method: Interval(**table["roc_auc"]) for method, table in tables.items()}
    text = f"The same patients for all. Intervals are {result['intervals']}."
    columns = ["", *tables, f"minus {best}"]
    drawn = (plots.bars(bars, "AUC", [name]), "AUC of all methods with intervals.")
    return Section("Against simple methods", text, figures=[drawn], tables=[Table(columns, rows)])


def slices(result: Mapping[str, Any]) -> Section | None:
    entries: Sequence[Mapping[str, Any]] = result["slices"]
    if not entries:
        return None
    masks = any("dice" in entry for entry in entries)
    rows = [
        [_slice(entry), entry["cases"], Numeral(f"{entry['right']:.1%}"), _number(entry, "roc_auc")]
        + ([_number(entry, "dice")] if masks else [])
        for entry in entries
    ]
    columns = ["", "images", "right", "AUC", *(["Dice"] if masks else [])]
    return Section("By kind of image", "Where it can be trusted less.", tables=[Table(columns, rows)])


def _slice(entry: Mapping[str, Any]) -> str:
    """Its fact in words, where it has some."""
    fact, _, value = str(entry["slice"]).partition(": ")
    return f"{FACTS.get(fact, fact)}: {value}"


def _number(entry: Mapping[str, Any], key: str) -> Numeral:
    return Numeral(f"{entry[key]:.3f}" if key in entry else "")


def training(fits: Sequence[Fitted]) -> Section:
    lines = {
        f"network {number}": ([entry["epoch"] for entry in one.history], [entry["loss"] for entry in one.history])
        for number, one in enumerate(fits, 1)
    }
    best = ", ".join(str(one.best_epoch) for one in fits)
    text = f"{fits[0].examples_per_s:.0f} images a second; the best epochs on validation: {best}."
    return Section("Training", text, figures=[(plots.lines(lines, "epoch", "training loss"), "Training loss by epoch.")])
