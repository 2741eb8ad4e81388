"""The report and model card of a model of rows without a time, in the table's own words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from shared.evaluation.calibration import Calibration
from shared.files import whole
from shared.report import Numeral, Report, Section, Table, plots, write_card
from shared.runs import Run
from shared.training import Fitted
from usecases.fraud_detection import plain_evidence, sections
from usecases.fraud_detection.evidence import Method, interval
from usecases.fraud_detection.labels import Words
from usecases.fraud_detection.model import NAMES
from usecases.fraud_detection.plain_predictor import RowDecision, RowDetector
from usecases.fraud_detection.sections import bill_row, metric, money, share, signed, word

SHOWN = 10  # flagged rows
LIMITS = (
    "It learns what went together in the past. A change of an input need not change the outcome: reasons are no causes.",
    "Rows stand for themselves here. Where things change with time, results on later data will be worse than these: judge the "
    "model on newer data (evaluate --data) before use, and train again from time to time.",
    "A label that is filled in late, or only where somebody looked, makes what is learnt follow the looking.",
    "Fairness was not assessed: whether some groups are flagged more often than others must be checked before use.",
    "The threshold rests on the given costs of a look and of a miss.",
    "The model that is kept learnt from more rows than those of the folds, which learnt in the same way and gave the numbers.",
)


def write(run: Run, result: dict[str, Any], model: RowDetector, frame: pd.DataFrame, fits: Mapping[str, Fitted]) -> None:
    """report.html, model_card.md and predictions.parquet.

    Args:
        result: the content of metrics.json.
        frame: the labelled rows of the training, in their order.
    """
    core = model.detector
    words, judge = core.source.words, plain_evidence.judge_of(core, frame)
    methods = plain_evidence.methods_of(core, judge)
    ours, best = methods["blend"], core.rival
    compared = {result["name"]: ours, **({NAMES[best.name]: methods[best.name]} if best else {})}
    order = np.argsort(-ours.at_risk, kind="stable")
    _predictions(run.folder / "predictions.parquet", frame, model.inputs, ours, order)
    first = order[ours.alerts[order]][:SHOWN]
    shown = frame.iloc[first].reset_index(drop=True)
    decided = model.decisions(shown, model.score(shown, shown["amount"].to_numpy()), [3] * len(shown), [0] * len(shown))
    parts = [
        _comparison(result, ours, words),
        _curves(methods, result, words),
        _bills(result, compared, words),
        _first(decided, ours, first, words),
        _trust(result, compared, words),
        _slices(result, words),
        sections.choice(result, CHOSEN),
        sections.training(fits),
    ]
    title = f"{_capital(words.finding)} in {result['data']['name']}"
    Report(
        title=title,
        notice="",
        verdict=result["conclusion"],
        tiles=_tiles(result, ours, words),
        findings=[
            f"How it was measured: {result['protocol']}.",
            _meaning(core.costs.alert, ours, words),
            calibrated(result["calibration"], words),
            *(f"In the data: {finding}" for finding in result["data_findings"]),
        ],
        facts=[
            ("Data", f"{len(frame):,} labelled {words.records}, {ours.judge.labels.sum():,} with {words.finding}"),
            ("Model", f"{result['name']}, {len(core.inputs.names)} inputs"),
            ("Trained and judged in", f"{result['timing']['train_s']:,.0f} s on {result['hardware']['threads']} threads"),
            ("Seed", str(result["seed"])),
        ],
        sections=[part for part in parts if part],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=title,
        summary=f"Gives each {words.record} a probability of {words.finding}, flags those that are worth a look, and gives "
        f"reasons. The model is: {result['name']}.",
        intended=f"Choosing which {words.records} somebody looks at first. A person decides what happens; the model does not.",
        limits=LIMITS,
        metrics=result,
    )


CHOSEN = (
    "Settings and weights of the model that is kept were chosen on a quarter of the rows that the methods had not seen; then all "
    "were trained again on all rows that are learnt from. In each fold the same was done with the rows of the other folds."
)


def _predictions(path: Path, frame: pd.DataFrame, inputs: Sequence[str], ours: Method, order: np.ndarray) -> None:
    """Every labelled row with what was said of it out of fold, the most to be lost first."""
    told = {
        "id": frame["transaction"].astype("str"), "score": ours.probabilities, "expected_loss": ours.at_risk,
        "flagged": ours.alerts, "label": ours.judge.labels, "amount": frame["amount"],
        **({"account": frame["account"]} if "account" in frame else {}),
    }  # fmt: skip
    own = frame[list(inputs)].add_prefix("input ")
    with whole(path) as partial:
        table = pd.concat([pd.DataFrame(told), own], axis=1).iloc[order]
        pq.write_table(pa.Table.from_pandas(table, preserve_index=False), partial)


def _tiles(result: dict[str, Any], ours: Method, words: Words) -> list[tuple[str, str]]:
    bill, operating = ours.bill, result["operating"]
    head = result["headline"]
    return [
        (f"{result['model'][head]['value']:.3f}", f"{word(head)}, of rows that the model had not seen"),
        (f"{bill.alerts:,}", f"of {len(ours.judge.labels):,} {words.records} are flagged"),
        (share(operating["precision"]), f"of the flagged have {words.finding}; of all, {share(ours.judge.labels.mean())}"),
        (
            share(operating["recall"]),
            f"of those with {words.finding} are flagged: {bill.caught:,} of {bill.caught + bill.missed:,}",
        ),
        (money(bill.saved), f"saved, looks paid: {share(bill.saved_share)} of what is possible"),
    ]


def _meaning(look: float, ours: Method, words: Words) -> str:
    costs = ours.judge.costs
    loss = f"{money(costs.miss)}" if costs.miss or not ours.judge.amounts.any() else ""
    if ours.judge.amounts.any():
        loss = f"{share(costs.miss_share)} of the amount" + (f" and {loss}" if loss else "")
    return (
        f"What flagged means: the loss to be expected, probability times what a missed {words.finding} costs ({loss}), is at "
        f"least what a look costs ({money(look)}). Both are settings: costs.alert, costs.loss_fixed, costs.loss_share."
    )


def calibrated(found: Mapping[str, float], words: Words) -> str:
    return (
        f"Probabilities: {share(found['predicted_rate'])} on average, {share(found['base_rate'])} have {words.finding}; they are "
        f"off by {100 * found['ece']:.2g} percentage points on average (expected calibration error); Brier score "
        f"{found['brier']:.4f}."
    )


def _comparison(result: dict[str, Any], ours: Method, words: Words) -> Section:
    head, tables = result["headline"], {result["name"]: result["model"], **result["baselines"], **result["parts"]}
    ranked = sorted(tables, key=lambda name: -tables[name][head]["value"])
    chart = plots.bars({name: interval(tables[name][head]) for name in ranked}, word(head), [result["name"]])
    metrics = list(result["model"])
    rows = [
        [name, *(metric(m, table[m]["value"]) for m in metrics), signed(result["differences"].get(name, {}).get(head))]
        for name, table in tables.items()
    ]
    text = (
        f"All methods score the same rows, none of which they had seen. ROC AUC is the chance that one with {words.finding} "
        f"scores above one without. Average precision is 1 at best, {ours.judge.labels.mean():.3f} by chance. Money saved is "
        f"what flagging saves of what a perfect model would. Intervals are {result['intervals']}; the differences are paired."
    )
    columns = ["method", *map(word, metrics), f"model minus it, {word(head)}"]
    return Section(
        "How good, against what", text, [(chart, f"{_capital(word(head))} with 95% intervals")], [Table(columns, rows, 0)]
    )


def _curves(methods: Mapping[str, Method], result: dict[str, Any], words: Words) -> Section:
    named = {result["name"] if name == "blend" else NAMES[name]: one.ranked.precision_recall() for name, one in methods.items()}
    chart = plots.precision_recall(named, methods["blend"].judge.labels.mean())
    text = (
        f"Each point is a threshold: further to the right more of those with {words.finding} are flagged, higher up more of the "
        f"flagged have it."
    )
    return Section("What can be found at what effort", text, [(chart, "Precision over recall")])


def _bills(result: dict[str, Any], compared: Mapping[str, Method], words: Words) -> Section:
    ours = compared[result["name"]]
    judge, costs = ours.judge, ours.judge.costs
    bills = {
        **{name: one.bill for name, one in compared.items()},
        "this model, best threshold in hindsight": costs.bill(ours.at_risk >= ours.curve.threshold, judge.labels, judge.amounts),
        "none flagged": costs.bill(np.zeros(len(judge.labels)), judge.labels, judge.amounts),
        "all flagged": costs.bill(np.ones(len(judge.labels)), judge.labels, judge.amounts),
        "a perfect model": costs.bill(
            (judge.labels == 1) & (costs.loss(judge.amounts) > costs.alert), judge.labels, judge.amounts
        ),
    }
    chart = plots.costs(
        {name: one.curve for name, one in compared.items()}, {"chosen threshold": ours.bill}, "flagged", "cost: looks and misses"
    )
    text = "What the decisions cost in all, with the costs that were given or assumed; looks at the flagged, and what is missed."
    columns = ["decisions", "flagged", f"with {words.finding}", "missed", "loss avoided", "looks", "lost", "together", "saved"]
    rows = [bill_row(name, bill, costs) for name, bill in bills.items()]
    return Section("What flagging costs and brings", text, [(chart, "Cost over the number flagged")], [Table(columns, rows, 0)])


def _first(decided: Sequence[RowDecision], ours: Method, places: np.ndarray, words: Words) -> Section:
    if not decided:
        return Section("The first flagged", f"No {words.record} is worth a look at these costs.")
    rows = [
        [
            one.id,
            "\n".join(f"• {reason.text}" for reason in one.reasons),
            Numeral(share(ours.probabilities[place])),
            Numeral(f"{ours.at_risk[place]:,.2f}"),
            words.finding if ours.judge.labels[place] else "no",
        ]
        for one, place in zip(decided, places, strict=True)
    ]
    text = (
        "Those with the largest expected loss. The probability is that of the model that had not seen them; the reasons are "
        "those of the model that is kept."
    )
    return Section("The first flagged", text, [], [Table(["id", "why", "probability", "expected loss", "it was"], rows)])


def _trust(result: dict[str, Any], compared: Mapping[str, Method], words: Words) -> Section:
    curves = {name: Calibration(one.probabilities, one.judge.labels).reliability() for name, one in compared.items()}
    ours = curves[result["name"]]
    rows = [[share(p), Numeral(share(o)), int(n)] for p, o, n in zip(ours.predicted, ours.observed, ours.rows, strict=True)]
    text = (
        f"{calibrated(result['calibration'], words)} On the dashed line, of those that are given 10%, 10% have {words.finding}."
    )
    table = Table(["predicted", f"had {words.finding}", words.records], rows)
    chart = plots.reliability(curves)
    return Section("Can the probabilities be trusted", text, [(chart, f"Share with {words.finding} over probability")], [table])


def _slices(result: dict[str, Any], words: Words) -> Section | None:
    if not result["slices"]:
        return None
    best = result["best_baseline"]
    rows = [
        [row["slice"], row["rows"], row["found"], *(Numeral(f"{row[key]:.3f}") for key in ("model", "baseline") if key in row)]
        for row in result["slices"]
    ]
    columns = ["", words.records, f"with {words.finding}", "ROC AUC", *([f"of {best}"] if best else [])]
    text = "Each value of the inputs in words that enough of both kinds have. Differences of a few hundredths are chance."
    return Section(f"For which {words.records}", text, [], [Table(columns, rows)])


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
