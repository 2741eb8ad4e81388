"""The sections of the fraud detector's report, each from what was measured."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from shared.evaluation.calibration import Calibration
from shared.evaluation.costs import Bill, Costs
from shared.evaluation.drift import MODERATE, SHIFTED, reading
from shared.report import Numeral, Section, Table, plots
from shared.training import Fitted
from usecases.fraud_detection import evidence
from usecases.fraud_detection.answers import FraudDecision
from usecases.fraud_detection.evidence import CHECKED, HEADLINE, Judge, Method, interval
from usecases.fraud_detection.metrics import card_precision_at_k
from usecases.fraud_detection.model import NAMES

if TYPE_CHECKING:
    from usecases.fraud_detection.pipeline import Outcome

WORDS = {HEADLINE: "average precision", "roc_auc": "ROC AUC", "saved_share": "money saved"}
SHARES = ("saved_share", "card_precision", "recall")  # metrics that are written as percentages
MOVED = 10  # inputs in the chart of drift
REFERENCE = 100_000  # training rows that later ones are held against
CURVES = 5
FEW = 20  # frauds: below, a share is not much more than an anecdote
SCORE = "score"


def comparison(result: dict[str, Any], outcome: Outcome) -> Section:
    judge, tables = outcome.judge, _tables(result)
    ranked = sorted(tables, key=lambda name: -tables[name][HEADLINE]["value"])
    chart = plots.bars({name: interval(tables[name][HEADLINE]) for name in ranked}, "average precision", [result["name"]])
    rows = [
        [name, *(metric(m, table[m]["value"]) for m in judge.metrics), signed(result["differences"].get(name, {}).get(HEADLINE))]
        for name, table in tables.items()
    ]
    perfect = dict.fromkeys(judge.metrics, 1.0)
    if judge.accounts is not None:
        best = card_precision_at_k(judge.part.day, judge.accounts, judge.labels, judge.labels, CHECKED).mean()
        perfect[f"card_precision@{CHECKED}"] = float(best)
    rows.append(["a perfect detector", *(metric(m, value) for m, value in perfect.items()), ""])
    cards = (
        f" Card precision@{CHECKED} is the share of the {CHECKED} accounts checked each day that had fraud that day; there are "
        f"not so many, so that even a perfect detector reaches only {share(perfect[f'card_precision@{CHECKED}'])}."
        if judge.accounts is not None
        else ""
    )
    text = (
        "All methods score the same transactions. Average precision sums up how many of the alerts are right as one goes down "
        f"the list until all fraud is found: 1 is perfect, {judge.labels.mean():.4f} is chance. ROC AUC is the chance that a "
        "fraud scores above a legitimate transaction.\n\nRecall at 0.1% false alarms is the share of frauds found while one of "
        f"1,000 legitimate transactions is an alert.{cards} Money saved is what the alerts save of what a perfect detector "
        f"would. Intervals are {result['intervals']}; the differences are paired, so that they can be"
        " sure even where the bars' lines overlap."
    )
    columns = ["method", *map(word, judge.metrics), "model minus it, average precision"]
    return Section(
        "How good, against what",
        text,
        [(chart, "Average precision on the test days, with 95% intervals")],
        [Table(columns, rows, 0)],
    )


def curves(result: dict[str, Any], outcome: Outcome) -> Section:
    methods, judge = outcome.methods, outcome.judge
    names = sorted(methods, key=lambda name: (name != outcome.model, -_tables(result)[NAMES[name]][HEADLINE]["value"]))
    chart = plots.precision_recall(
        {NAMES[name]: methods[name].ranked.precision_recall() for name in names[:CURVES]}, judge.labels.mean()
    )
    text = (
        "Each point is a threshold: further to the right more of the frauds are found, higher up more of the alerts are right. "
        "A curve that lies above another one is better wherever it does."
    )
    return Section("What can be found at what effort", text, [(chart, "Precision over recall on the test days")])


def _tables(result: Mapping[str, Any]) -> dict[str, Any]:
    return {result["name"]: result["model"], **result["baselines"], **result["parts"]}


def bills(result: dict[str, Any], judge: Judge, compared: Mapping[str, Method]) -> Section:
    costs, labels, amounts = judge.costs, judge.labels, judge.amounts
    ours, other = compared[result["name"]], [one for name, one in compared.items() if name != result["name"]]
    cheapest = costs.bill(ours.at_risk >= ours.curve.threshold, labels, amounts)
    by_rule = costs.bill(costs.expected_cost_rule(ours.probabilities, amounts), labels, amounts)
    bills = {
        "this model, chosen threshold": ours.bill,
        f"this model, alert if the expected loss exceeds {money(costs.alert)}": by_rule,
        "this model, best threshold in hindsight": cheapest,
        **{f"{result['best_baseline']}, its chosen threshold": one.bill for one in other},
        "no alerts": costs.bill(np.zeros(len(labels)), labels, amounts),
        "an alert for everything": costs.bill(np.ones(len(labels)), labels, amounts),
        "a perfect detector": costs.bill((labels == 1) & (costs.loss(amounts) > costs.alert), labels, amounts),
    }
    chart = plots.costs(
        {name: one.curve for name, one in compared.items()},
        {"chosen threshold": ours.bill, "expected-cost rule": by_rule},
        f"alerts in {judge.days} days",
        "cost: reviews and missed fraud",
    )
    gap = by_rule.cost - ours.bill.cost
    cheaper = "as much" if abs(gap) < 0.005 else f"{money(abs(gap))} {'more' if gap > 0 else 'less'}"
    text = (
        f"A review costs {money(costs.alert)}; a missed fraud costs {share(costs.miss_share)} of its amount"
        + (f" and {money(costs.miss)}" if costs.miss else "")
        + f". The threshold of {money(ours.rule.threshold)} was chosen on earlier days. If the probabilities were exactly right, "
        "the best rule would need no choice: an alert wherever the expected loss exceeds a review's cost. "
        f"Here that rule costs {cheaper}."
    )
    rows = [bill_row(name, bill, costs) for name, bill in bills.items()]
    columns = ["decisions", "alerts", "frauds caught", "missed", "money stopped", "reviews", "lost to fraud", "together", "saved"]
    return Section(
        "What alerts cost and bring",
        text,
        [(chart, "Cost over the number of alerts on the test days")],
        [Table(columns, rows, 0)],
    )


def bill_row(name: str, bill: Bill, costs: Costs) -> list[Any]:
    reviews = bill.alerts * costs.alert
    digits = 0 if bill.nothing >= 1000 else 2
    sums = [Numeral(f"{value + 0.0:,.{digits}f}") for value in (reviews, bill.cost - reviews, bill.cost, bill.saved)]
    return [name, bill.alerts, bill.caught, bill.missed, Numeral(share(stopped(bill, costs))), *sums]


def alerts(judge: Judge, shown: Sequence[FraudDecision]) -> Section:
    places = pd.Series(np.arange(len(judge.labels)), index=judge.frame["transaction"].astype("str"))
    rows = []
    for decision in shown:
        place = int(places[decision.transaction])
        alike = [f"{one.amount:,.2f} on {one.time[:10]}\n{one.scenario}".strip() for one in decision.similar]
        rows.append(
            [
                f"{decision.alert_id or ''}\n{decision.transaction}\n{_moment(judge.frame['time'][place])}",
                "\n".join(f"• {reason.text}" for reason in decision.reasons),
                Numeral(f"{judge.amounts[place]:,.2f}"),
                Numeral(share(decision.score)),
                Numeral(f"{decision.expected_loss:,.2f}"),
                "\n".join(alike),
                "fraud" if judge.labels[place] else "no",
            ]
        )
    if not rows:
        return Section("The first alerts", "No transaction of the test days is worth an alert.")
    text = (
        "What an analyst sees first: the alerts with the largest expected loss, why the model is suspicious, and the past frauds "
        "that are most like it. What it really was became known only later."
    )
    columns = ["alert", "why", "amount", "probability", "expected loss", "similar past frauds", "it was"]
    return Section("The first alerts", text, [], [Table(columns, rows)])


def _moment(time: float) -> str:
    return f"{pd.Timestamp(time, unit='ms'):%Y-%m-%d %H:%M}"


def trust(result: dict[str, Any], compared: Mapping[str, Method]) -> Section:
    found = result["calibration"]
    curves = {
        name: Calibration(one.probabilities, one.judge.labels, equal="positives").reliability() for name, one in compared.items()
    }
    ours = curves[result["name"]]
    rows = [[share(p), Numeral(share(o)), int(n)] for p, o, n in zip(ours.predicted, ours.observed, ours.rows, strict=True)]
    text = (
        f"{probabilities_in_words(found)} The expected calibration error of {found['ece']:.5f} must be held against the base "
        f"rate of {found['base_rate']:.5f}, for it can hardly exceed that. The Brier score is {found['brier']:.5f}.\n\n"
        "On the dashed line, of the transactions that are given a probability of 10%, 10% are fraud. Below it probabilities are "
        "too high, above it too low. Each bin holds as many expected frauds as the others, and with few frauds "
        "its points jump by chance."
    )
    columns = ["predicted", "were fraud", "transactions"]
    chart = plots.reliability(curves)
    return Section(
        "Can the probabilities be trusted", text, [(chart, "Share of fraud over predicted probability")], [Table(columns, rows)]
    )


def whom(result: dict[str, Any], judge: Judge, compared: Mapping[str, Method]) -> Section:
    masks, best = judge.slices(), result["best_baseline"]
    groups: dict[str, list[list[Any]]] = {}
    for row in result["slices"]:
        name = row["slice"]
        kind = "By kind of fraud" if name.startswith("fraud: ") else "By amount" if name.startswith("amounts ") else "By hour"
        mask, line = masks[name], [name.removeprefix("fraud: "), row["transactions"], row["frauds"]]
        for key, one in zip(("model", "baseline"), compared.values(), strict=False):
            bill = judge.costs.bill(one.alerts[mask], judge.labels[mask], judge.amounts[mask])
            line += [Numeral(f"{row[key]:.3f}"), *map(Numeral, (share(row[f"{key}_caught"]), share(stopped(bill, judge.costs))))]
        groups.setdefault(kind, []).append(line)
    columns = ["", "transactions", "frauds", "average precision", "frauds caught", "money stopped"]
    columns += [f"other’s {name}" for name in columns[3:]] if best else []
    text = (
        (f"The model, and beside it {best} (“other’s”), the strongest other simple method. " if best else "")
        + "A kind of fraud is set against all legitimate transactions, so that its average precision is lower the rarer it is. "
        f"Kinds with few frauds (below {FEW} or so) say little."
    )
    tables = [Table(columns, rows, None, kind) for kind, rows in groups.items()]
    return Section("For which fraud and which transactions", text, [], tables)


def drift_of(outcome: Outcome) -> pd.DataFrame:
    """[weeks, inputs and score] PSI of the judged rows against the training rows."""
    fit = outcome.part.fit
    some = fit[np.linspace(0, len(fit) - 1, min(len(fit), REFERENCE)).astype(int)]
    time = outcome.judge.frame["time"].to_numpy()
    return evidence.drift(_columns(outcome, some), _columns(outcome, outcome.part.judge), time)


def _columns(outcome: Outcome, places: np.ndarray) -> pd.DataFrame:
    rows = outcome.prepared.take(places, outcome.inputs)
    scores = outcome.rule.calibrator(outcome.blend(rows))
    return pd.DataFrame(rows.x, columns=outcome.inputs.names).assign(**{SCORE: scores})


def drift(moved: pd.DataFrame) -> Section:
    most = moved.drop(columns=SCORE).max().sort_values(ascending=False, kind="stable")
    index = moved[[SCORE, *most.index[:MOVED]]].rename(columns=plain)
    levels = [reading(value) for value in most]
    counts = ", ".join(f"{levels.count(level)} {level}" for level in ("stable", "moderate", "shifted"))
    text = (
        f"{drift_in_words(moved)} The population stability index (PSI) tells how far a week's values are from those of the "
        f"training days: below {MODERATE} is stable, above {SHIFTED} has shifted and asks for a look and, as a rule, for "
        f"training again. Of the {len(most)} inputs: {counts}.\n\nSome of it is expected: counts over a long past grow while the "
        "record is young; scores of training rows are a little more extreme than those of rows never seen; where "
        "accounts with known fraud are left out of the test days, counts of frauds fall."
    )
    return Section(
        "Has the world changed",
        text,
        [(plots.drift(index, "week from"), f"PSI by week: the score, and the {MOVED} inputs that moved most")],
    )


CHOSEN = (
    "Settings, weights and threshold were chosen on transactions of the training days that the methods had not seen; then "
    "all were trained again on all training days, and the test days were scored once."
)


def choice(result: dict[str, Any], chosen: str = CHOSEN) -> Section:
    """How settings and weights were chosen; `chosen` says on what."""
    choice = result["choice"]
    weights, grid = choice["weights"], choice.get("grid", {})
    rows = []
    for name, value in choice["validation"].items():
        settings = "{} leaves, learning rate {}, {} trees".format(*grid[name]) if name in grid else ""
        rows.append([NAMES[name], Numeral(f"{value:.3f}"), Numeral(f"{weights[name]:.2f}" if name in weights else ""), settings])
    used = (
        "The logits of all methods that come within 5% of the best are averaged."
        if len(weights) > 1
        else f"The combination was worse than {NAMES[next(iter(weights))]} there, so that alone is used."
        if choice["worse"]
        else f"No other method came within 5% of {NAMES[next(iter(weights))]}, so that alone is used."
    )
    text = f"{chosen} {used}"
    columns = ["method", "average precision on validation", "weight", "settings"]
    return Section("How it was chosen", text, [], [Table(columns, rows)])


def training(fits: Mapping[str, Fitted]) -> Section | None:
    if not fits:
        return None
    last = {NAMES[name]: one.history for name, one in fits.items() if name in NAMES}
    curves = {
        name: ([h["epoch"] for h in history], [h["loss"] / history[0]["loss"] for h in history]) for name, history in last.items()
    }
    rows = [
        [
            _fit_name(name),
            one.epochs,
            Numeral(f"{one.history[-1]['loss']:.4f}"),
            Numeral(f"{one.seconds:,.1f}"),
            round(one.examples_per_s),
        ]
        for name, one in fits.items()
    ]
    text = (
        "The networks' mean training loss in each epoch, as a share of that in the first. "
        "The trees and the regression have no epochs."
    )
    columns = ["network", "epochs", "loss at the end", "seconds", "rows a second"]
    return Section(
        "Training",
        text,
        [(plots.lines(curves, "epoch", "loss, first epoch = 1"), "Training loss by epoch")],
        [Table(columns, rows)],
    )


def _fit_name(name: str) -> str:
    plain = name.removesuffix(" (choosing)")
    return NAMES.get(plain, plain) + name.removeprefix(plain)


def probabilities_in_words(found: Mapping[str, float]) -> str:
    ratio = found["predicted_rate"] / found["base_rate"] if found["base_rate"] else math.nan
    side = "high" if ratio > 1 else "low"
    whole = "about right" if 0.8 < ratio < 1.25 else f"too {side} by a factor of {max(ratio, 1 / ratio):.1f}"
    off = found["ece"] / found["base_rate"] if found["base_rate"] else math.nan
    single = "can be read as they are" if off < 0.25 else "are rough" if off < 0.5 else "should serve for ranking only"
    return (
        f"The probabilities are {whole} on the whole ({share(found['predicted_rate'])} predicted, {share(found['base_rate'])} "
        f"were fraud) and {single}: they are off by {100 * found['ece']:.2g} percentage points on average."
    )


def drift_in_words(moved: pd.DataFrame) -> str:
    most = moved.drop(columns=SCORE).max().sort_values(ascending=False)
    shifted = most[most > SHIFTED]
    named = ", ".join(f"“{plain(name)}”" for name in shifted.index[:3])
    inputs = f"{len(shifted)} of {len(most)} inputs have shifted, most of all {named}" if len(shifted) else "no input has shifted"
    score = moved[SCORE].max()
    words = {"stable": "stable", "moderate": "moderately moved", "shifted": "shifted"}[reading(score)]
    return f"Since the training days the scores are {words} (PSI up to {score:.2f}); {inputs}."


def plain(name: str) -> str:
    return name.replace("_", " ")


def word(metric: str) -> str:
    name, _, rate = metric.partition("@fpr")
    return f"{name} at {100 * float(rate):g}% false alarms" if rate else WORDS.get(metric, plain(metric))


def metric(metric: str, value: float) -> Numeral:
    return Numeral(share(value) if metric.startswith(SHARES) else f"{value:.3f}")


def signed(numbers: Mapping[str, float] | None) -> str:
    return "" if numbers is None else f"{numbers['value']:+.3f}\n[{numbers['low']:+.3f}, {numbers['high']:+.3f}]"


def share(value: float) -> str:
    """As a percentage, with digits that matter."""
    if math.isnan(value):
        return "–"
    percent = 100 * value
    if 99 <= percent < 100:
        return f"{percent:.3g}%"
    whole = percent >= 10 or abs(percent) < 1e-6
    return f"{abs(percent):.0f}%" if whole else f"{percent:.1f}%" if percent >= 1 else f"{percent:.2g}%"


def money(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:,.2f}"


def stopped(bill: Bill, costs: Costs) -> float:
    """The share of the loss to fraud that the alerts avoid; the reviews are not counted."""
    lost = bill.cost - bill.alerts * costs.alert
    return 1 - lost / bill.nothing if bill.nothing else math.nan
