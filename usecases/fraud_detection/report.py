"""The fraud detector's report and model card."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pandas as pd
import pyarrow.parquet as pq

from shared.evaluation.costs import Costs
from shared.report import Numeral, Report, Section, Table, plots, write_card
from shared.runs import Run
from shared.training import Fitted
from usecases.fraud_detection import sections
from usecases.fraud_detection.answers import FraudDecision
from usecases.fraud_detection.evidence import Method, interval
from usecases.fraud_detection.model import NAMES
from usecases.fraud_detection.sections import drift_in_words, money, probabilities_in_words, share, stopped, word

if TYPE_CHECKING:
    from usecases.fraud_detection.pipeline import Outcome

SIMULATED = (
    "The data is simulated: neither the customers nor the frauds are real. The numbers show that everything works, and how the "
    "methods compare on patterns that were made up; they say nothing about fraud at a real bank. Give your records with --data."
)
NO_LABELS = (
    "The data has no labels: nobody has told which transactions were fraud, so how much of it is found cannot be measured."
)
ALERT = {True: "alert", False: "no"}
FIRST = 10  # of the most unusual transactions, where there are no labels
INTENDED = (
    "Choosing which payments an analyst looks at first, with reasons for each. A person decides what happens to a payment or an "
    "account; the detector does not. It is not meant to judge people, to set credit terms, or to be the only control."
)
LIMITS = (
    "Labels come late and are incomplete: fraud that nobody reported counts as legitimate, in training and in these numbers.",
    "Decisions feed back: once alerts block payments or accounts, what would have happened is not seen. Let a small random "
    "share of payments pass and be reviewed, or the next model learns only from what this one noticed.",
    "Fraudsters adapt. Watch the drift of scores and inputs each week and train again when they move, at least every few months.",
    "Fairness was not assessed: whether some groups of customers are stopped more often than others must be checked before use.",
    "Threshold and savings rest on the given costs of a review and of a missed fraud; they do not count customers' annoyance.",
    "The evaluated model is the one that is saved: it has not seen the test part. Train on newer data before long.",
)
UNLABELLED = (
    "It notices what is unusual, which is not the same as fraud: most unusual payments are honest, and some fraud looks usual.",
    "How much fraud it finds is not known, because nothing was labelled. Review alerts, keep the verdicts, and train with them.",
    "The score is no probability, and the threshold follows from a share of transactions, not from costs.",
    *LIMITS[2:4],
)


def write(run: Run, result: dict[str, Any], outcome: Outcome, shown: list[FraudDecision]) -> None:
    """report.html and model_card.md; `result` is the content of metrics.json, `shown` are the first alerts."""
    moved, ours = sections.drift_of(outcome), outcome.methods[outcome.model]
    other = next((name for name in outcome.methods if NAMES[name] == result["best_baseline"]), None)
    compared = {NAMES[name]: outcome.methods[name] for name in (outcome.model, other) if name}
    parts = [
        sections.comparison(result, outcome),
        sections.curves(result, outcome),
        sections.bills(result, outcome.judge, compared),
        sections.alerts(outcome.judge, shown),
        sections.trust(result, compared),
        sections.whom(result, outcome.judge, compared),
        sections.drift(moved),
        sections.choice(result),
        sections.training(outcome.fits),
    ]
    data = result["data"]
    Report(
        title=f"Fraud detection on {_source(data)}",
        notice=SIMULATED if data["simulated"] else "",
        verdict=result["conclusion"],
        tiles=_tiles(result, ours),
        findings=_findings(result, ours, moved),
        facts=_facts(result, outcome),
        sections=[part for part in parts if part],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=f"Fraud detector trained on {_source(data)}",
        summary="Gives each transaction a probability of fraud, the loss to be expected, and, where that is worth a review, an "
        f"alert with reasons and similar past frauds. The model is: {result['name']}.",
        intended=INTENDED,
        limits=[*([SIMULATED] if data["simulated"] else []), *LIMITS],
        metrics=result,
    )


def _source(data: Mapping[str, Any]) -> str:
    return "simulated data" if data["simulated"] else str(data["name"])


def _tiles(result: dict[str, Any], ours: Method) -> list[tuple[str, str]]:
    operating, bill, judge = result["operating"], ours.bill, ours.judge
    each = f", one of {1 / operating['precision']:.1f}" if operating["precision"] else ""
    return [
        (f"{operating['alerts_per_day']:,.1f}", f"alerts a day, among {len(judge.labels) / judge.days:,.0f} transactions"),
        (share(operating["precision"]), f"of the alerts are fraud{each}"),
        (
            share(stopped(bill, judge.costs)),
            f"of the money in fraud is stopped, with {bill.caught} of {bill.caught + bill.missed} frauds "
            f"({share(operating['recall'])})",
        ),
        (money(bill.saved), f"saved in {judge.days} days: {share(bill.saved_share)} of what is possible, reviews paid"),
    ]


def _findings(result: dict[str, Any], ours: Method, moved: pd.DataFrame) -> list[str]:
    operating, bill, costs, days = result["operating"], ours.bill, ours.judge.costs, ours.judge.days
    reviews = bill.alerts * costs.alert
    saved = (
        f"Money, in the currency of the amounts: without alerts fraud takes {money(bill.nothing)} in these {days} days. With "
        f"them it takes {money(bill.cost - reviews)} and reviews cost {money(reviews)}, which saves {money(bill.saved)}. A "
        f"perfect detector would save {money(bill.nothing - bill.perfect)}; "
        f"reviewing everything would cost {money(bill.everything)}."
    )
    return [
        f"How it was measured: {result['protocol']}.",
        _meaning(operating["threshold"], costs),
        saved,
        *_weaker(result),
        probabilities_in_words(result["calibration"]),
        drift_in_words(moved),
        *(f"In the data: {finding}" for finding in result["data_findings"]),
    ]


def _meaning(threshold: float, costs: Costs) -> str:
    """What becomes an alert, with examples."""
    examples = []
    for amount in (100, 1000):
        needed = threshold / float(costs.loss(amount))
        examples.append(f"one of {amount:,} from {share(needed)} on" if needed <= 1 else f"one of {amount:,} never")
    return (
        f"What an alert means: the loss to be expected, probability times loss, is at least {money(threshold)}. So a payment "
        f"needs a higher probability the smaller it is: {', '.join(examples)}. A review costs {money(costs.alert)}, so small "
        "frauds are let pass on purpose; the threshold was the cheapest one on earlier days."
    )


def _weaker(result: dict[str, Any]) -> list[str]:
    best, found = result["best_baseline"], []
    if best is None:
        return []
    worse = [word(metric) for metric, one in result["differences"][best].items() if one["high"] < 0]
    if worse:
        found.append(f"It is reliably worse than {best} by: {', '.join(worse)}.")
    slices = result["slices"]
    lower = [s["slice"] for s in slices if s["model"] < s["baseline"] and s["model_caught"] < s["baseline_caught"]]
    if lower:
        found.append(f"Where {best} ranks better and catches more (this may be chance): {'; '.join(lower)}.")
    return found or [
        f"By no metric is it reliably worse than {best}, "
        "and for no kind of transaction does that both rank better and catch more."
    ]


def _facts(result: dict[str, Any], outcome: Outcome) -> list[tuple[str, str]]:
    timing, judge = result["timing"], outcome.judge
    return [
        ("Data", _extent(result["data"])),
        ("Judged", f"{len(judge.labels):,} transactions, {judge.labels.sum():,} of them fraud ({share(judge.labels.mean())})"),
        ("Model", f"{result['name']}, {len(outcome.inputs.names)} inputs"),
        ("Features computed in", f"{timing['features_s']:,.1f} s"),
        ("Trained in", _trained(result)),
        ("Batch speed", f"{timing['rows_per_s']:,.0f} transactions a second, features ready"),
        (
            "One request",
            f"{timing['latency_ms_p50']:.1f} ms, 99% within {timing['latency_ms_p99']:.1f} ms, features and reasons included",
        ),
        ("Seed", str(result["seed"])),
    ]


def _extent(data: Mapping[str, Any]) -> str:
    kinds = ("transactions", "accounts", "counterparties", "frauds")
    found = [f"{data[kind]:,} {kind}" for kind in kinds if data.get(kind) is not None]
    return f"{', '.join(found)}, {data['first'][:10]} to {data['last'][:10]}"


def _trained(result: dict[str, Any]) -> str:
    hardware, seconds = result["hardware"], result["timing"]["train_s"]
    return f"{seconds:,.0f} s on {hardware['threads']} {hardware['device']} threads, {hardware['precision']}"


def write_unlabelled(run: Run, result: dict[str, Any], fits: dict[str, Fitted]) -> None:
    """The same, where there are no labels."""
    data, days = result["data"], pq.read_table(run.folder / "predictions.parquet").to_pandas()
    span = max(1, round((days["time"].max() - days["time"].min()).total_seconds() / 86_400))
    alerts = int(days["alert"].sum())
    tables = {result["name"]: result["model"], **result["baselines"]}
    ranked = dict(sorted(tables.items(), key=lambda pair: -pair[1][result["headline"]]["value"]))
    values = {name: interval(table[result["headline"]]) for name, table in ranked.items()}
    chart = plots.bars(values, "AUC, exchanged values against real ones", [result["name"]])
    rows = [[name, Numeral(f"{one.value:.3f}"), f"{one.low:.3f} to {one.high:.3f}"] for name, one in values.items()]
    text = (
        "There is no fraud to find here, so something else was made to be found: transactions half of whose numbers come from "
        "other transactions. The AUC is the chance that one of these scores above a real one; 0.5 is guessing. It tells whether "
        "the model has learnt what is usual, not whether it finds fraud."
    )
    parts = [
        Section(
            "How good, against what", text, [(chart, "With 95% intervals")], [Table(["method", "AUC", "95% interval"], rows)]
        ),
        _unusual(days.head(FIRST)),
        sections.training(fits),
    ]
    Report(
        title=f"Unusual transactions in {_source(data)}",
        notice=NO_LABELS + (f" {SIMULATED}" if data["simulated"] else ""),
        verdict=result["conclusion"],
        tiles=[
            (f"{alerts / span:,.1f}", f"alerts a day, among {len(days) / span:,.0f} transactions"),
            (share(result["alert_share"]), "of the transactions are alerts"),
            ("?", "of the alerts are fraud: only a review can tell"),
        ],
        findings=[
            f"How it was measured: {result['protocol']}.",
            f"What an alert means: it is more unusual than {share(result['usual_share'])} of the training days' transactions.",
            "What to do next: review the alerts, write down the verdicts as a column of labels, and run again with them. From a "
            "few dozen frauds on, a detector that learns from labels is worth more than one that knows only what is usual.",
            *(f"In the data: {finding}" for finding in result["data_findings"]),
        ],
        facts=[
            ("Data", _extent(data)),
            ("Judged", f"{len(days):,} transactions in {span} days"),
            ("Features computed in", f"{result['timing']['features_s']:,.1f} s"),
            ("Trained in", _trained(result)),
            ("Seed", str(result["seed"])),
        ],
        sections=[part for part in parts if part],
    ).write(run.folder / "report.html")
    write_card(
        run.folder / "model_card.md",
        title=f"Model of usual transactions trained on {_source(data)}",
        summary="Gives each transaction a score of how unusual it is, and an alert to the most unusual ones, with reasons.",
        intended=INTENDED,
        limits=[*([SIMULATED] if data["simulated"] else []), *UNLABELLED],
        metrics=result,
    )


def _unusual(first: pd.DataFrame) -> Section:
    rows = [
        [
            row.transaction,
            f"{row.time:%Y-%m-%d %H:%M}",
            Numeral(f"{row.amount:,.2f}"),
            Numeral(f"{row.score:.3f}"),
            ALERT[row.alert],
        ]
        for row in first.itertuples()
    ]
    text = "The highest scores of the test days. The command “usecases predict” gives reasons for each alert."
    return Section("The most unusual transactions", text, [], [Table(["transaction", "time", "amount", "score", "alert"], rows)])
