"""Train a model of medical images: the recipe, read top to bottom."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from scipy.special import softmax

from shared import hardware
from shared.errors import UserError
from shared.evaluation.segmentation import MaskScores, score_mask
from shared.files import whole
from shared.hardware import Choice
from shared.runs import Run
from shared.training import Fitted
from usecases.medical_imaging import baselines, data, evidence, fitting, report, settling, trust
from usecases.medical_imaging.cases import Picture
from usecases.medical_imaging.config import SIMULATED, MedicalConfig
from usecases.medical_imaging.data import Cases
from usecases.medical_imaging.evidence import Method
from usecases.medical_imaging.finder import Finder
from usecases.medical_imaging.found import NOTICE
from usecases.medical_imaging.frozen import Frozen, Views
from usecases.medical_imaging.packing import Packed
from usecases.medical_imaging.predictor import MedicalPredictor
from usecases.medical_imaging.prepare import Prepared, joined

TIMED, TIMED_SIDE = 40, 224
KNOWN = "trained_on"  # in the artefact's metadata: hashes of images; see `data.Cases`
MOST = 4000  # training images, drawn at random, that simple methods learn from and that tell what is usual
SETTLED = ("seed", "split", "model", "changes", "decide")  # parts of the configuration that training has used
NETWORK = {"imagenet": "fine-tuned EfficientNet-lite0", "residual": "residual network"}
MIXED = "what validation chose in each fold"
SIMPLE = "logistic regression on ImageNet features"
RIVALS: dict[str, baselines.Sees] = {SIMPLE: "features", "logistic regression on pixels": "pixels"}


@dataclass(frozen=True)
class Outcome:
    """What training gave. `unused`: the trained networks, where a simple method did better on validation and is the model."""

    finder: Finder
    fits: list[Fitted]
    choice: dict[str, Any]
    rivals: dict[str, baselines.Baseline]
    unused: Finder | None = None


@dataclass(frozen=True)
class Judged:
    """All methods on the cases of a test part, or of several put together.

    Attributes:
        scores: [cases] of the model's masks; None: it gives none, or no true ones are known.
        confidence: [cases] the chance that the model's decision is right.
        refer: bool [cases] where it asks for a human.
        novelty: [cases], from 1 on it refuses.
    """

    part: Prepared
    methods: dict[str, Method]
    scores: list[MaskScores] | None
    confidence: np.ndarray
    refer: np.ndarray
    novelty: np.ndarray

    @property
    def cases(self) -> evidence.Labelled:
        """What is known of the cases; of a case whose patient is not known the case stands for one."""
        own = self.part.cases
        patients = np.array([case.patient or case.name for case in own])
        about = [{**case.about, **({"source": case.source} if case.source else {})} for case in own]
        return evidence.Labelled([case.name for case in own], self.part.labels, patients, about)


def train(config: MedicalConfig, run: Run) -> None:
    """Fit networks on some patients, choose on others, judge on the last; write artefact and report."""
    if run.until_validated and config.split.folds > 1:
        raise UserError("With folds, a search would choose by images that are judged later. Search with split.folds=1.")
    chip = hardware.select(config.hardware)
    run.say(f"Computing on {chip}")
    run.say("Simulating images" if config.data.source == SIMULATED else "Reading images")
    started = time.monotonic()
    outcomes, judged, last = [], [], None
    for number, cases in enumerate(divisions(config, chip.threads), 1):
        if number == 1:
            announce(cases, run)
        name = f"fold {number} of {config.split.folds}" if config.split.folds > 1 else ""
        outcomes.append(fit(config, cases, run, chip, name))
        last = cases
        run.validated("log-likelihood", -float(np.mean([one.choice["loss"] for one in outcomes])))
        if run.is_main:
            run.say(f"Judging on {len(cases.test):,} images{f' ({name})' if name else ''}")
            judged.append(judge(outcomes[-1], cases.test))
    assert last is not None
    outcome, kept = outcomes[0], last
    if config.split.folds > 1:
        run.say("Training once more, on the images of all folds: this is the model that is kept")
        kept = everything(last)
        outcome = fit(config, kept, run, chip, "all")
    trained = round(time.monotonic() - started, 2)
    if not run.is_main:
        return
    together = pooled(judged)
    ours = next(iter(together.methods))
    explained = trust.explain(outcomes[-1].finder, last.test)
    result = {
        **summarise(together, ours),
        "data": last.about,
        "data_findings": [f"{found.what}. {found.fix}." for found in last.findings if found.severity != "info"],  # names no file
        "protocol": protocol(config, last.about, len(together.part)),
        "split": "patients",
        "seed": config.seed,
        "choice": outcome.choice | {"operating_point": operating_point(config, last.validation)},
        "timing": {"train_s": trained, **speed(outcome.finder)},
        "hardware": chip.describe(),
    }
    result["trust"] |= trust.inspected(explained, outcome.finder)
    predictor = MedicalPredictor(outcome.finder)
    about = {key: result[key] for key in ("data", "protocol", "seed", "model", "name")}
    predictor.save(run.artifact_dir, about | {KNOWN: kept.known, "notice": NOTICE})
    run.write_json("metrics.json", result)
    write_predictions(run.folder / "predictions.parquet", together, ours, outcome.finder.classes)
    report.write(run, result, together, last.test, outcome, explained)


def divisions(config: MedicalConfig, threads: int) -> Iterator[Cases]:
    """The data, divided once, or into each of the folds."""
    if config.split.folds > 1:
        yield from data.folds(config, config.network.size, threads)
    else:
        yield data.load(config, config.network.size, threads)


def announce(cases: Cases, run: Run) -> None:
    if cases.about["simulated"]:
        run.say("The images are simulated: numbers on them say nothing about real patients")
    for finding in cases.findings:
        run.say(f"{finding.severity}: {finding}")
    images = ", ".join(f"{count:,} {part}" for part, count in cases.about["images"].items())
    run.say(f"Classes: {', '.join(cases.classes)}; images: {images}")


def fit(config: MedicalConfig, cases: Cases, run: Run, chip: Choice, name: str) -> Outcome:
    """Train the networks and the simple methods, and settle on validation how sure the model is."""
    count = len(cases.classes)
    train, validation = cases.train, settling.packed(cases.validation, count)
    changed = Packed(train.images, train.labels, count, train.masks, config.augmentation.of(len(train)))
    networks, fits = fitting.train_networks(config.network, changed, validation, run, chip, config.seed, name)
    run.say("Choosing on validation, and fitting the simple methods")
    precision = hardware.select(config.hardware.model_copy(update={"device": "cpu"})).precision  # where the finder computes
    networks, flips, choice = fitting.choose(networks, validation, config.augmentation.mirror, precision)
    channels = 1 if train.images.ndim == 3 else 3
    frozen = Frozen.pretrained(config.network.weights)
    some = train.take(np.random.default_rng(config.seed).permutation(len(train))[:MOST])
    views = frozen(some.images)
    finder = Finder(config.settled(), cases.classes, channels, networks, frozen, flips, precision=precision)
    finder, settled = settling.settle(finder, views, some.labels, cases.validation)
    groups = pd.factorize(np.array([case.patient or case.name for case in some.cases]))[0]  # pseudonyms differ from run to run
    shown = {"features": views.pooled, "pixels": baselines.pixels(some.images)}
    rivals = {}
    for title, kind in RIVALS.items():
        rivals[title] = baselines.fit_baseline(kind, shown[kind], some.labels, count, groups, config.seed)
    outcome = Outcome(finder, fits, {**choice, **settled}, rivals)
    return outcome if cases.masks else simpler(outcome, views, some.labels, cases.validation)


def simpler(outcome: Outcome, views: Views, labels: np.ndarray, validation: Prepared) -> Outcome:
    """The outcome with logistic regression on ImageNet features as its model, if that does better on validation.

    Args:
        views: of training images, whose classes are `labels` [n].
    """
    network = outcome.finder
    alone = baselines.as_network(outcome.rivals[SIMPLE], network.config.network)
    finder = replace(network, networks=[alone], flips=False)
    finder, settled = settling.settle(finder, views, labels, validation)
    if settled["loss"] >= outcome.choice["loss"]:
        return replace(outcome, choice={**outcome.choice, "loss_of_simple": settled["loss"]})
    choice = {**settled, "members": 1, "flips": False, "loss_of_network": outcome.choice["loss"]}
    rivals = {title: one for title, one in outcome.rivals.items() if title != SIMPLE}
    return Outcome(finder, outcome.fits, choice, rivals, network)


def judge(outcome: Outcome, test: Prepared) -> Judged:
    """The model and the simple methods on cases that none of them has seen."""
    finder = outcome.finder
    seen = finder.look_through(test)
    scores = None
    if seen.masks is not None and test.masks is not None:
        scores = [score_mask(ours, true) for ours, true in zip(seen.masks, test.masks > 0, strict=True)]
    dice = None if scores is None else np.array([one.dice for one in scores])
    methods = {name_of(finder): Method(seen.probabilities, seen.decided, dice)}
    if outcome.unused is not None:
        beside = outcome.unused.look_through(test)
        methods[name_of(outcome.unused)] = Method(beside.probabilities, beside.decided)
    for name, rival in outcome.rivals.items():
        shown = baselines.pixels(test.images) if rival.sees == "pixels" else finder.frozen(test.images).pooled
        probabilities = softmax(rival(shown), axis=1)
        methods[name] = Method(probabilities, probabilities.argmax(1))
    return Judged(test, methods, scores, seen.confidence, seen.refer, seen.novelty)


def name_of(finder: Finder) -> str:
    """What the model is, in words."""
    return SIMPLE if finder.simple else NETWORK[finder.config.network.backbone]


def everything(cases: Cases) -> Cases:
    """The same division, its test part trained on as well."""
    return replace(cases, train=joined([cases.train, cases.test]), test=cases.test.take([]))


def pooled(judged: list[Judged]) -> Judged:
    """What several models said of their own test parts, as one: every case is judged by a model that did not see it."""
    if len(judged) == 1:
        return judged[0]
    used = [next(iter(one.methods)) for one in judged]
    name = used[0] if len(set(used)) == 1 else MIXED
    common = [name for name in judged[0].methods if all(name in one.methods for one in judged) and name not in used]
    methods = {}
    for title, names in {name: used, **{name: [name] * len(judged) for name in common}}.items():
        own = [one.methods[name] for one, name in zip(judged, names, strict=True)]
        dice = [method.dice for method in own if method.dice is not None]
        methods[title] = Method(
            np.concatenate([method.probabilities for method in own]),
            np.concatenate([method.decided for method in own]),
            np.concatenate(dice) if len(dice) == len(own) else None,
        )
    scores = [one.scores for one in judged if one.scores is not None]
    return Judged(
        joined([one.part for one in judged]),
        methods,
        [score for part in scores for score in part] if len(scores) == len(judged) else None,
        np.concatenate([one.confidence for one in judged]),
        np.concatenate([one.refer for one in judged]),
        np.concatenate([one.novelty for one in judged]),
    )


def evaluate(predictor: MedicalPredictor, config: MedicalConfig) -> dict[str, Any]:
    """Judge a trained model on the configuration's labelled images, but for those that it was trained or chosen on.

    Raises:
        UserError: the configuration changes what training has used, the data has other classes, or nothing of a class is left.
    """
    finder, own = predictor.finder, predictor.finder.config
    if changed := [part for part in SETTLED if getattr(config, part) not in (None, getattr(own, part))]:
        raise UserError(
            f"A trained model is judged as it is: {', '.join(changed)} would change nothing. Train again, or leave it out. "
            "What can be changed: data.*, hardware.threads."
        )
    threads = hardware.select(config.hardware).threads
    cases = data.all_of(config, own.network.size, threads, finder.about.get(KNOWN, ()))
    if cases.classes != finder.classes:
        raise UserError(
            f"The model knows the classes {', '.join(finder.classes)}; the data has {', '.join(cases.classes)}. Rename them, "
            "or give their order in data.classes."
        )
    judged = judge(Outcome(finder, [], {}, {}), cases.test)
    found = summarise(judged, name_of(finder))
    return {**found, "data": cases.about, "protocol": protocol(config, cases.about, len(judged.part))}


def summarise(judged: Judged, ours: str) -> dict[str, Any]:
    """The numbers of all methods, and whether the decisions of the one that is used can be trusted."""
    settled = judged.confidence, judged.refer, judged.novelty, judged.scores
    found = trust.decisions(judged.cases, judged.methods[ours], *settled)
    told = {"trust": found, "decisions": trust.told(found), "notice": NOTICE}
    return {**evidence.summarise(judged.cases, judged.methods, ours), **told}


def protocol(config: MedicalConfig, about: dict[str, Any], images: int) -> str:
    """In words, what the numbers were measured on."""
    if about["simulated"]:
        return f"{images:,} simulated images of people who were made with other seeds than those of training"
    if "known" in about:
        part = " of the data's own test part" if about["own_test"] else ""
        count = about["known"]
        were = f"{count:,} that it was, or that {'is' if count == 1 else 'are'} of the same patients or nearly the same"
        new = f"{images:,} images{part} that the model was not trained or chosen on, as far as equal pixels tell"
        return new + (f" (left out: {were})" if count else "")
    if config.split.folds > 1:
        return f"{images:,} images, each judged by one of {config.split.folds} models that had not seen its patient"
    return f"{images:,} images of patients that were not trained on, nor anything chosen on"


def operating_point(config: MedicalConfig, validation: Prepared) -> str:
    """In words, how the probability from which on a finding is called was chosen; see `settling.settle`."""
    if config.decide.threshold is not None:
        return "the probability that the configuration gives"
    if (validation.labels == 1).any():
        return f"the highest specificity whose sensitivity on validation was at least {config.decide.sensitivity:.0%}"
    return f"a probability of 50%: validation has no finding on which a sensitivity of {config.decide.sensitivity:.0%} is reached"


def speed(finder: Finder) -> dict[str, float]:
    """Milliseconds from one grey 224x224 picture to an opinion, without the heat map."""
    pixels = np.random.default_rng(0).random((TIMED_SIDE, TIMED_SIDE), np.float32)
    picture = Picture("timing", pixels)
    took = []
    for _ in range(TIMED + 3):
        begun = time.perf_counter()
        finder([picture], heat=False)
        took.append(1000 * (time.perf_counter() - begun))
    p50, p99 = np.quantile(took[3:], [0.5, 0.99])
    return {"rows_per_s": round(1000 / p50, 1), "latency_ms_p50": round(float(p50), 2), "latency_ms_p99": round(float(p99), 2)}


def write_predictions(path: Path, judged: Judged, ours: str, classes: tuple[str, ...]) -> None:
    """A row for each judged image: what was known, and what the model says."""
    method = judged.methods[ours]
    columns: dict[str, Any] = {
        "case": [case.name for case in judged.part.cases],
        "patient": [case.patient for case in judged.part.cases],
        "label": [classes[label] for label in judged.part.labels],
        "finding": [classes[label] for label in method.decided],
        **{f"p_{name}": method.probabilities[:, place] for place, name in enumerate(classes)},
        "refer": judged.refer,
        "novelty": judged.novelty,
    }
    if method.dice is not None:
        columns["dice"] = method.dice
    with whole(path) as partial:
        pq.write_table(pa.table(columns, metadata={"notice": NOTICE}), partial)
